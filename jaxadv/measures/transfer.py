"""How adversarial examples made for one model fare on others (sec. 4.2, Tables 1 to 4)."""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult
from jaxadv.attacks.sampling import gaussian_noise
from jaxadv.attacks.stored import chunks
from jaxadv.datasets import Dataset
from jaxadv.networks import error_rate
from jaxadv.zoo import Model
from jaxadv.zoo.attack import NamedProgress, attack


class Fed(NamedTuple):
    """What the models make of changed images."""

    distortion: float  # root mean square over all pixels of all images
    error: list[float]  # per model


class Examples(NamedTuple):
    """Adversarial examples for one model; the images themselves are left in files."""

    distortion: np.ndarray  # (N,) root mean square
    success: np.ndarray  # (N,) bool
    evaluations: np.ndarray  # (N,) gradients of the network
    cost: np.ndarray  # (N,) the same, with a share of those of idle lanes
    files: list[Path]

    @classmethod
    def of(cls, parts: Iterable[tuple[Path, AttackResult]]) -> "Examples":
        """Those of `attack`: files and the results in them, of which no images are held."""
        files, fields = [], {name: [] for name in cls._fields if name != "files"}
        for path, result in parts:
            files.append(path)
            for name, arrays in fields.items():
                arrays.append(getattr(result, name))
        return cls(**{name: np.concatenate(each) for name, each in fields.items()}, files=files)

    def images(self) -> Iterator[np.ndarray]:
        """The (n, …) adversarial images, file by file."""
        for path in self.files:
            with np.load(path) as file:
                yield file["x_adv"]


class TransferResult(NamedTuple):
    """The tables for `models`, and what they were computed from."""

    models: Sequence[Model]
    targets: np.ndarray
    examples: Sequence[Examples]  # per model
    error: np.ndarray  # (rows: made for, columns: fed to), fractions of all attacked images
    controls: dict[str, Fed]  # other rows, by name: noise, amplified examples


def transfer(
    models: Sequence[Model],
    dataset: Dataset,
    targets: np.ndarray,
    *,
    options: AttackOptions,
    noise_stddevs: Sequence[float],
    amplifications: Sequence[tuple[float, bool]] = (),
    seed: int,
    cache_dir: Path,
    progress: NamedProgress | None = None,
) -> TransferResult:
    """Attacks every model on the same images and targets, and feeds the results to all of them.

    Memory holds the adversarial images of one file at a time.

    Args:
      models: trained networks.
      dataset: N images and their true classes.
      targets: (N,) wrong classes to reach.
      options: settings of the attack.
      noise_stddevs: one row of Gaussian noise for each; the noise is not clipped to [0, 1].
      amplifications: for each (distortion, clip), a row per model of its examples, `amplified`.
      seed: of the noise.
      cache_dir: where adversarial examples are kept.
      progress: called with a model's name and the number of images just completed.
    """
    images, labels = dataset
    examples = [
        Examples.of(attack(model, images, targets, options, cache_dir, progress))
        for model in models
    ]
    feed_all = functools.partial(feed, models, images, labels)
    error = np.array([feed_all(found.images()).error for found in examples])
    controls = {}
    for distortion, clip in amplifications:
        for model, found in zip(models, examples, strict=True):
            label = f"{model.name} to {distortion:g}{' clipped' if clip else ''}"
            moved = amplified(images, found.images(), distortion, clip=clip)
            controls[label] = feed_all(moved)
    for stddev in noise_stddevs:
        controls[f"noise {stddev:g}"] = feed_all(noisy(images, stddev, seed))
    return TransferResult(models, targets, examples, error, controls)


def feed(
    models: Sequence[Model],
    images: np.ndarray,
    labels: np.ndarray,
    changed: Iterator[np.ndarray],
) -> Fed:
    """The models' errors on changed versions of (N, …) images, which come in chunks, in order."""
    wrong, squares, done = np.zeros(len(models)), 0.0, 0
    for x in changed:
        part = slice(done, done := done + len(x))
        errors = [error_rate(m.network.logits, m.params, x, labels[part]) for m in models]
        wrong += len(x) * np.array(errors)
        squares += float(np.sum(np.square(x - images[part], dtype=np.float64)))
    return Fed(math.sqrt(squares / images.size), (wrong / len(images)).tolist())


def noisy(images: np.ndarray, stddev: float, seed: int) -> Iterator[np.ndarray]:
    """The images with Gaussian noise, in chunks."""
    for part in chunks(images):
        yield gaussian_noise(images[part], stddev, seed, first=part.start)


def amplified(
    images: np.ndarray, examples: Iterator[np.ndarray], distortion: float, *, clip: bool
) -> Iterator[np.ndarray]:
    """Examples moved along the line from their originals to a given distortion (Table 4).

    x + distortion √n (x' − x)/‖x' − x‖, with n pixels; the paper's formula lacks the √n, without
    which the root mean square over the pixels is not what its rows are labelled with. Such images
    may leave [0, 1], unless they are clipped. Where x' = x, they stay there.
    """
    first = 0
    for x_adv in examples:
        x = images[first : first + len(x_adv)]
        first += len(x_adv)
        rms = np.sqrt(np.mean((x_adv - x) ** 2, axis=tuple(range(1, x.ndim)), keepdims=True))
        moved = x + distortion * (x_adv - x) / np.where(rms > 0, rms, 1)
        yield np.clip(moved, 0, 1) if clip else moved
