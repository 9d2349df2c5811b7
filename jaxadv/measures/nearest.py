"""The nearest adversarial examples of correctly classified images, and the span of directions."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import AttackResult
from jaxadv.datasets import Dataset
from jaxadv.networks import predictions
from jaxadv.storage.errors import InputError
from jaxadv.zoo import Model
from jaxadv.zoo.attack import NamedProgress, attack_all_targets

DEPENDENT = 1e-3  # singular values of unit vectors, relative to the largest, that count as zero


class Nearest(NamedTuple):
    """The adversarial examples of N images that perturbations are compared with.

    Where no attack succeeded, `found` is False, and D and the basis are zero.
    """

    x_adv: np.ndarray  # (N, …) the nearest example
    distance: np.ndarray  # (N,) D = ‖x_adv − x‖
    basis: np.ndarray  # (N, d, n) orthonormal rows that span the nearest directions, then zeros
    dimension: np.ndarray  # (N,) of the span, at most d

    @property
    def found(self) -> np.ndarray:
        """(N,) bool: whether there is an example."""
        return self.dimension > 0


def correctly_classified(model: Model, dataset: Dataset, count: int) -> Dataset:
    """The first `count` images that the network classifies correctly.

    Raises:
      ValueError: there are fewer.
    """
    classes = predictions(model.network.logits, model.params, dataset.images)
    right = np.flatnonzero(classes == dataset.labels)
    if len(right) < count:
        raise InputError(
            f"images must be at most {len(right)}, as many as {model.name} classifies correctly,"
            f" got {count}"
        )
    return dataset.part(right[:count])


def nearest_examples(
    models: Sequence[Model],
    chosen: Sequence[Dataset],
    directions: int,
    *,
    options: AttackOptions,
    cache_dir: Path,
    progress: NamedProgress | None = None,
) -> list[Nearest]:
    """Attacks each network on images of its own, towards all classes; see `nearest`.

    Args:
      models: the networks.
      chosen: of each network, images that it classifies correctly.
      directions: as for `nearest`.
      options: settings of the attack.
      cache_dir: where attacks are kept.
      progress: told a network's name and a number of images.

    Raises:
      ValueError: no example was found for a network.
    """
    examples = []
    for model, (x, label) in zip(models, chosen, strict=True):
        results = attack_all_targets(model, x, options, cache_dir, progress)
        examples.append(nearest(x, label, results, directions))
        if not examples[-1].found.any():
            raise InputError(
                f"found no adversarial example for {model.name}, of {len(x)} images: there is no"
                " distance to compare perturbations with"
            )
    return examples


def nearest(x: np.ndarray, label: np.ndarray, results: AttackResult, directions: int) -> Nearest:
    """Finds the nearest example of each image, and the span of the directions to the nearest few.

    The basis is made of right singular vectors of the directions. A direction that depends on the
    others, or is missing because attacks failed, lowers the dimension of the span. (The QR
    decomposition would put an arbitrary vector in its place.)

    Args:
      x: (N, …) images.
      label: (N,) their classes, which are no targets.
      results: of `all_targets`, of shape (N, k, …).
      directions: d, the number of targets, nearest first, whose x_adv − x span the space.
    """
    usable = results.success & (results.target != label[:, None])
    order = np.argsort(np.where(usable, results.distortion, np.inf), axis=1, kind="stable")
    rows, order = np.arange(len(x))[:, None], order[:, :directions]
    r = np.asarray(results.x_adv[rows, order] - x[:, None], float).reshape(*order.shape, -1)
    norms = np.where(usable[rows, order], np.linalg.norm(r, axis=2), 0)
    unit = np.where(norms > 0, 1 / np.where(norms > 0, norms, 1), 0)[..., None] * r
    _, values, basis = np.linalg.svd(unit, full_matrices=False)
    spans = (values > DEPENDENT * values[:, :1]) & (norms[:, :1] > 0)
    return Nearest(
        x_adv=results.x_adv[np.arange(len(x)), order[:, 0]],
        distance=norms[:, 0],
        basis=np.where(spans[..., None], basis, 0).astype(x.dtype),
        dimension=spans.sum(axis=1),
    )
