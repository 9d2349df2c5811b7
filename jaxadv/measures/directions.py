"""Directions in a layer's activations: its units, and others (sec. 3).

A natural direction is a unit of the layer, e_i; a random one is a vector of independent standard
normal numbers, both as in the paper. Others are of what has since been compared with units
(arXiv 1704.05796, 1803.06959, 2310.11431):

- principal components of the activations, each with both its signs;
- a rotation of the units: orthonormal vectors, of which each alone is, but for its length, a random
  direction. Their mean is another estimate of that of random directions.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.datasets.photographs import Images
from jaxadv.measures.layers import Layer, activations

KINDS = ("natural", "random", "components", "rotated")
SAMPLE = 1000  # images that components are found from
NUMBERS = 2**26  # of activations of a layer in memory, 256 MB; of larger layers, fewer images


class Directions(NamedTuple):
    """Directions in a layer of n units."""

    units: jax.Array | np.ndarray  # (d,) ints, those of the natural basis
    vectors: dict[str, jax.Array | np.ndarray]  # (D, n) float32 each, by kind, of the others


@functools.partial(jax.jit, static_argnames=("size", "count"))
def draw(key: jax.Array, size: int, count: int) -> Directions:
    """Draws units, random directions, and a rotation, in a layer of `size` units.

    Args:
      key: the vector of each random direction is drawn from it, folded by the direction's index.
      size: n.
      count: of each kind; where there are fewer units, all of them are drawn, in random order, and
        as many rotated ones.
    """
    units = jax.random.permutation(jax.random.fold_in(key, 0), size)[:count]
    fold = functools.partial(jax.random.fold_in, jax.random.fold_in(key, 1))
    vector = functools.partial(jax.random.normal, shape=(size,), dtype=jnp.float32)
    random = jax.vmap(vector)(jax.vmap(fold)(jnp.arange(count)))
    rotated = _orthonormal(jax.random.fold_in(key, 2), size, len(units))
    return Directions(units, {"random": random, "rotated": rotated})


def _orthonormal(key, size, count):
    """(count, size), uniformly distributed: the signs take out a habit of the factorisation."""
    q, r = jnp.linalg.qr(jax.random.normal(key, (size, count), jnp.float32))
    return (q * jnp.sign(jnp.diagonal(r))).T


def components(layer: Layer, images: Images, count: int) -> Float[np.ndarray, "D n"]:
    """The principal components of a layer's activations, those of most variance first.

    Each is followed by its negative, as the sign of a component says nothing.

    Args:
      layer: φ.
      images: of which the first 1,000 are fed, and fewer where n is above 67 thousand.
      count: D at most: components without variance are left out.
    """
    most = max(2, min(SAMPLE, NUMBERS // layer.size))
    fed = activations(layer, images, most=most)
    h = np.concatenate([np.asarray(phi[:used]) for phi, used in fed])
    least = 1e-12 * np.square(h).sum()  # more than roundings make of a constant
    h -= np.float32(h.mean(axis=0, dtype=np.float64))
    variances, weights = np.linalg.eigh(np.float64(h @ h.T))  # of the smaller of the two products
    largest = np.argsort(-variances)[: -(-count // 2)]
    largest = largest[variances[largest] > max(1e-6 * variances[-1], least)]
    vectors = (h.T @ np.float32(weights[:, largest])).T
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.stack([vectors, -vectors], axis=1).reshape(-1, layer.size)[:count]
