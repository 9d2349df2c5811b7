"""Proven lower bounds on the minimum distortion, beside the distortions that attacks find."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxadv.attacks.options import AttackOptions
from jaxadv.certify import Mlp, affine_layers, crown, eclipse_fast, from_lipschitz, pair_products
from jaxadv.datasets import Dataset
from jaxadv.networks import predictions
from jaxadv.storage.errors import InputError
from jaxadv.zoo import Model
from jaxadv.zoo.attack import NamedProgress, attack_all_targets

# Lower bounds of D(x, l) from a network, images and the number of balls that CROWN may try.
METHODS: Mapping[str, Callable[[Mlp, np.ndarray, int], np.ndarray]] = {
    "pair product": lambda mlp, x, _: from_lipschitz(mlp, x, pair_products(mlp)),
    "ECLipsE-Fast": lambda mlp, x, _: from_lipschitz(mlp, x, eclipse_fast(mlp)),
    "CROWN": lambda mlp, x, balls: crown(mlp, x, box=False, balls=balls),
    "CROWN in the box": lambda mlp, x, balls: crown(mlp, x, balls=balls),
}
TIGHTEST = "CROWN in the box"
ATTACK = "distortion found"


class Bounds(NamedTuple):
    """Bounds of D(x, l) for a network, N images and all k classes l, root mean squares."""

    model: Model
    classes: np.ndarray  # (N,) that the network takes the images for
    found: np.ndarray  # (N, k) by the attack, from above; infinite where it found none
    proven: Mapping[str, np.ndarray]  # method -> (N, k), from below
    per_second: Mapping[str, int]  # method -> bounds towards other classes, without compilation


def found_distortions(
    models: Sequence[Model],
    images: Float[np.ndarray, "N *image"],
    *,
    options: AttackOptions,
    cache_dir: Path,
    progress: NamedProgress | None = None,
) -> list[Float[np.ndarray, "N k"]]:
    """Distortions found towards every class, in float64, per network; infinite where none was.

    Args:
      models: the networks.
      images: in [0, 1].
      options: settings of the attack.
      cache_dir: where attacks are kept.
      progress: told a network's name and a number of images.
    """
    found = []
    for model in models:
        results = attack_all_targets(model, images, options, cache_dir, progress)
        pairs = zip(results.x_adv, images, strict=True)
        rms = np.stack([_rms(np.subtract(x_adv, x, dtype=float)) for x_adv, x in pairs])
        found.append(np.where(results.success, rms, np.inf))
    return found


def _rms(r):
    """(k, …) -> (k,) root mean squares."""
    return np.sqrt(np.square(r).mean(axis=tuple(range(1, r.ndim))))


def certify(
    models: Sequence[Model],
    images: Float[np.ndarray, "N *image"],
    found: Sequence[Float[np.ndarray, "N k"]],
    balls: int,
    *,
    methods: Sequence[str] | None = None,
    progress: NamedProgress | None = None,
) -> list[Bounds]:
    """Proves lower bounds of the distortions, per network.

    Args:
      models: of FullyConnected layers; see `jaxadv.certify.check`.
      images: in [0, 1].
      found: `found_distortions` of the networks.
      balls: that CROWN tries per image.
      methods: names in `METHODS`, by default all.
      progress: told a network's name and a number of images, once per method.

    Raises:
      ValueError: a lower bound is NaN or above the distortion found.
    """
    bounds = []
    for model, upper in zip(models, found, strict=True):
        mlp = affine_layers(model.layered, model.params)
        proven, per_second = {}, {}
        for name in METHODS if methods is None else methods:
            method = METHODS[name]
            method(mlp, images[:1], balls)  # compiles
            start = time.perf_counter()
            proven[name] = method(mlp, images, balls)
            count = len(images) * (upper.shape[1] - 1)
            per_second[name] = round(count / (time.perf_counter() - start))
            if progress:
                progress(model.name, len(images))
        classes = predictions(model.network.logits, model.params, images)
        bounds.append(Bounds(model, classes, upper, proven, per_second))
        verify(bounds[-1])
    return bounds


def verify(bounds: Bounds) -> None:
    """Raises ValueError where a lower bound is NaN or above the distortion that was found."""
    for method, proven in bounds.proven.items():
        wrong = ~(proven <= bounds.found)  # true of NaN
        if wrong.any():
            image, target = np.argwhere(wrong)[0]
            raise InputError(
                f"{method} is wrong for {bounds.model.name}: the lower bound for image {image} and"
                f" target {target} is {proven[image, target]}, but"
                f" {bounds.found[image, target]} was found"
            )


def ratios(bounds: Bounds) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Lower bound over distortion found, of all pairs of an image and another class."""
    classes = np.arange(bounds.found.shape[1])
    pairs = (classes != bounds.classes[:, None]) & np.isfinite(bounds.found)
    return {name: proven[pairs] / bounds.found[pairs] for name, proven in bounds.proven.items()}


def nearest(bounds: Bounds, dataset: Dataset) -> dict[str, Float[np.ndarray, " correct"]]:
    """The smallest bound towards a wrong class, for each correctly classified image.

    Those found are named `ATTACK`, others by their method.
    """
    correct = bounds.classes == dataset.labels
    return {name: values[correct] for name, values in nearest_wrong(bounds, dataset).items()}


def nearest_wrong(bounds: Bounds, dataset: Dataset) -> dict[str, Float[np.ndarray, " N"]]:
    """As `nearest`, for all images, whatever the network takes them for."""
    wrong = np.arange(bounds.found.shape[1]) != dataset.labels[:, None]
    return {
        name: np.where(wrong, values, np.inf).min(axis=1)
        for name, values in {ATTACK: bounds.found, **bounds.proven}.items()
    }
