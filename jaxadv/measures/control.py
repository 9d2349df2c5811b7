"""What control of the layers' norms changes, from networks that were trained several times."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxadv.datasets import Dataset
from jaxadv.measures.certificates import ATTACK, TIGHTEST, Bounds, nearest_wrong
from jaxadv.networks import predictions
from jaxadv.zoo import Model


class Trainings(NamedTuple):
    """S trainings of a network with the same control, each from a seed of its own.

    Distortions, root mean squares to the nearest wrong class, are NaN for images not compared.
    """

    models: Sequence[Model]
    test_error: np.ndarray  # (S, n) 1 where a test image is misclassified, else 0
    found: np.ndarray  # (S, N) by the attack
    certified: np.ndarray  # (S, N) that no adversarial example is below


def trainings(bounds: Sequence[Sequence[Bounds]], test: Dataset) -> list[Trainings]:
    """Gathers for each control what its trainings gave.

    The images compared are, per seed, those that all of the seed's networks classify correctly, and
    on which the attack succeeded for all of them: differences within a seed and image are paired.

    Args:
      bounds: per seed and control, of the first N test images, with those of `TIGHTEST`.
      test: n images to count errors on.
    """
    attacked = test.part(slice(len(bounds[0][0].classes)))
    distortions = np.array([_comparable(of_seed, attacked) for of_seed in bounds])
    gathered = []
    for index, of_control in enumerate(zip(*bounds, strict=True)):
        models = [each.model for each in of_control]
        classes = [predictions(m.network.logits, m.params, test.images) for m in models]
        wrong = np.not_equal(classes, test.labels).astype(float)
        gathered.append(Trainings(models, wrong, *distortions[:, index].swapaxes(0, 1)))
    return gathered


def _comparable(bounds, dataset):
    """Distortions found and certified per network of a seed, NaN but for the images compared."""
    nearest = [nearest_wrong(each, dataset) for each in bounds]
    compared = np.all(
        [
            (each.classes == dataset.labels) & np.isfinite(values[ATTACK])
            for each, values in zip(bounds, nearest, strict=True)
        ],
        axis=0,
    )
    return [
        [np.where(compared, values[kind], np.nan) for kind in (ATTACK, TIGHTEST)]
        for values in nearest
    ]
