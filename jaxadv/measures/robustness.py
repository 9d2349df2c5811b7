"""How robust adversarial examples are themselves: to noise and to rounding (sec. 4)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxadv.attacks.sampling import gaussian_noise
from jaxadv.attacks.stored import chunks
from jaxadv.datasets import Dataset
from jaxadv.measures.transfer import Examples, TransferResult, feed
from jaxadv.zoo import Model

LEVELS = 255  # of 8-bit images


class Robustness(NamedTuple):
    """Fractions of images that a model misclassifies after a change."""

    unchanged: float
    rounded: float  # to 8 bits, after clipping to [0, 1]
    noise: list[float]  # per standard deviation


def robustness(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    found: Examples,
    *,
    amplification: float,
    noise_stddevs: Sequence[float],
    seed: int,
) -> dict[str, Robustness]:
    """Misclassified fractions of a model's own adversarial examples after noise and rounding.

    Memory holds the images of one file at a time. Noise is not clipped to [0, 1], and is the same
    for all three kinds.

    Args:
      model: trained network.
      images: (N, …) float32 in [0, 1].
      labels: (N,) true classes.
      found: adversarial examples for the model, made from these images.
      amplification: factor by which "amplified" examples are farther from the originals.
      noise_stddevs: standard deviations of Gaussian noise.
      seed: of the noise.

    Returns:
      For "originals", "examples" and "amplified".
    """

    def originals():
        return (images[part] for part in chunks(images))

    def amplified():
        for x, x_adv in zip(originals(), found.images(), strict=True):
            yield x + np.float32(amplification) * (x_adv - x)

    def measured(kind):
        def error(change: Callable[[np.ndarray, int], np.ndarray]) -> float:
            return feed([model], images, labels, _changed(kind(), change)).error[0]

        return Robustness(
            error(lambda x, first: x),
            error(lambda x, first: rounded(x)),
            [
                error(lambda x, first, s=stddev: gaussian_noise(x, s, seed, first=first))
                for stddev in noise_stddevs
            ],
        )

    kinds = {"originals": originals, "examples": found.images, "amplified": amplified}
    return {name: measured(kind) for name, kind in kinds.items()}


def robustness_of_all(
    result: TransferResult, dataset: Dataset, **settings: Any
) -> dict[str, dict[str, Robustness]]:
    """`robustness` of each network's own examples, by its name; the settings are of that."""
    return {
        model.name: robustness(model, *dataset, found, **settings)
        for model, found in zip(result.models, result.examples, strict=True)
    }


def rounded(x: np.ndarray) -> np.ndarray:
    """Images as an 8-bit file holds them: clipped to [0, 1], in steps of 1/255."""
    return np.rint(LEVELS * np.clip(x, 0, 1)) / np.float32(LEVELS)


def _changed(parts: Iterator[np.ndarray], change) -> Iterator[np.ndarray]:
    first = 0
    for x in parts:
        yield change(x, first)
        first += len(x)
