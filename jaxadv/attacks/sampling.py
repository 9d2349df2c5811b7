"""Random choices per image, each from the seed and the image's global index alone."""

import functools

import jax
import numpy as np
from jaxtyping import Float, Int, Int32


def wrong_targets(
    labels: Int[np.ndarray, " N"], classes: int, seed: int, *, first: int = 0
) -> Int32[np.ndarray, " N"]:
    """Draws for each image a class other than its label, uniformly.

    Args:
      labels: in [0, classes).
      classes: at least 2.
      seed: of the draws.
      first: global index of the first image.

    Raises:
      ValueError: there is no other class, or a label is none.

    Example:
      >>> wrong_targets(np.array([0, 1]), classes=2, seed=0)
      array([1, 0], dtype=int32)
    """
    if classes < 2:
        raise ValueError(f"there must be at least 2 classes, got {classes}")
    if not np.all((labels >= 0) & (labels < classes)):
        raise ValueError(
            f"labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    offset = np.asarray(_offsets(_keys(seed, len(labels), first), classes))
    return ((labels + offset) % classes).astype(np.int32)


def gaussian_noise(
    images: Float[np.ndarray, "N *image"], stddev: float, seed: int, *, first: int = 0
) -> Float[np.ndarray, "N *image"]:
    """Adds noise to (N, …) images, independent per pixel; the result may leave [0, 1].

    `first` is the global index of the first image.
    """
    draw = functools.partial(jax.random.normal, shape=images.shape[1:])
    return np.asarray(images + stddev * jax.vmap(draw)(_keys(seed, len(images), first)))


def _keys(seed, count, first=0):
    return _folded(jax.random.key(seed, impl="threefry2x32"), first + np.arange(count))


@jax.jit
def _folded(key, numbers):
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)


@jax.jit
def _offsets(keys, classes):
    return jax.vmap(lambda key: jax.random.randint(key, (), 1, classes))(keys)
