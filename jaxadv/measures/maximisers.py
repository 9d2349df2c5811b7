"""Which images maximise a direction in a layer's activations (sec. 3).

The images that maximise <φ(x), v> are found in one pass over a held-out set of any size, of which
memory holds a batch at a time.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.attacks.types import Progress
from jaxadv.datasets.photographs import Images
from jaxadv.measures.directions import KINDS, Directions, components, draw
from jaxadv.measures.layers import Layer, activations
from jaxadv.storage.errors import InputError
from jaxadv.zoo.attack import NamedProgress


class Top(NamedTuple):
    """The images that maximise each of D directions, the best first."""

    positions: np.ndarray | jax.Array  # (D, K) int32, in the held-out set
    value: np.ndarray | jax.Array  # (D, K) <φ(x), v>


class Maximisers(NamedTuple):
    """The images that maximise the directions of a layer."""

    layer: Layer
    units: np.ndarray  # (d,) those of the natural basis
    top: dict[str, Top]  # by kind: "natural" are single units


def of_layers(
    layers: Sequence[Layer],
    images: Images,
    others: Images,
    directions: int,
    count: int,
    seed: int,
    *,
    progress: NamedProgress | None = None,
) -> list[Maximisers]:
    """`maximisers` of so many directions of each kind, of each layer.

    Args:
      layers: φ.
      images: as for `maximisers`.
      others: that principal components are found from.
      directions: of each kind.
      count: of images per direction.
      seed: of the directions; layers of the same depth have the same.
      progress: told a layer's title, and how many images have just been fed.
    """
    found = []
    for layer in layers:
        key = jax.random.fold_in(jax.random.key(seed), layer.depth)
        drawn = draw(key, layer.size, directions)
        drawn.vectors["components"] = components(layer, others, directions)
        report = progress and functools.partial(progress, layer.title)
        found.append(maximisers(layer, drawn, images, count, progress=report))
    return found


def maximisers(
    layer: Layer,
    directions: Directions,
    images: Images,
    count: int,
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Maximisers:
    """Finds the images with the largest <φ(x), v>; of equal ones, the first.

    Args:
      layer: φ.
      directions: v.
      images: (N, *input_shape) floating-point numbers in [0, 1], or uint8; may be memory-mapped.
      count: K, from 1 to N.
      batch_size: images at a time; up to rounding, the result does not depend on it.
      progress: told how many images have just been fed.

    Raises:
      ValueError: <φ(x), v> is NaN or infinite among the best.
    """
    kinds = [kind for kind in KINDS if kind in directions.vectors]
    vectors = [directions.vectors[kind] for kind in kinds]
    rows = [len(directions.units), *map(len, vectors)]
    shape = sum(rows), count
    best = Top(np.zeros(shape, np.int32), np.full(shape, -np.inf, np.float32))
    vectors, best = jax.device_put((vectors, best))
    first = 0
    for phi, used in activations(layer, images, batch_size):
        best = _merged(phi, directions.units, vectors, best, first, used)
        first += used
        if progress:
            progress(used)
    top = Top(*map(np.asarray, best))
    if not np.isfinite(top.value).all():
        raise InputError(f"activations of {layer.title} must be finite, got NaN or infinity")
    parts = zip(*(np.split(array, np.cumsum(rows)[:-1]) for array in top), strict=True)
    by_kind = dict(zip(["natural", *kinds], (Top(*part) for part in parts), strict=True))
    return Maximisers(layer, np.asarray(directions.units), by_kind)


@jax.jit
def _merged(phi, units, vectors, best, first, count):
    """The best of those so far and of the first `count` images of a batch.

    Those so far come first, as `top_k` prefers the first of equal values.
    """
    products = [jnp.matmul(phi, kind.T, precision="highest") for kind in vectors]
    values = jnp.concatenate([phi[:, units], *products], axis=1).T
    values = jnp.where(jnp.isnan(values), jnp.inf, values)  # wins, so that it is seen
    real = jnp.arange(len(phi)) < count
    candidates = jnp.concatenate([best.value, jnp.where(real, values, -jnp.inf)], axis=1)
    value, position = jax.lax.top_k(candidates, best.value.shape[1])
    index = jnp.broadcast_to(first + jnp.arange(len(phi)), values.shape)
    index = jnp.concatenate([best.positions, index], axis=1)
    return Top(jnp.take_along_axis(index, position, axis=1), value)


def distinct(top: Top, k: int) -> np.ndarray:
    """Which of D directions have k best images, for k < K: (D,) bool.

    The others have the same value at k and k + 1, so that some of the images are best only by
    their place in the held-out set: a dead ReLU, a saturated sigmoid, a pixel that is white or
    black in many images.
    """
    value = np.asarray(top.value)
    return value[:, k - 1] > value[:, k]
