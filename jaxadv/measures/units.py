"""Which images maximise a direction in a layer's activations, and how alike they are (sec. 3).

A natural direction is a unit of the layer, e_i; a random one is a vector of independent standard
normal numbers. The images that maximise <φ(x), v> are found in one pass over a held-out set of any
size, of which memory holds a batch at a time.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jaxadv.datasets.tfds import IMAGE_SHAPE
from jaxadv.networks.network import Network, Params
from jaxadv.zoo.kept import Model

RESAMPLES = 9999  # of the bootstrap and of the permutation test
CONFIDENCE = 0.95


class Layer(NamedTuple):
    """φ, the first `depth` layers of a network; the raw pixels where there are none."""

    model: str
    name: str
    network: Network
    params: Params
    depth: int

    @property
    def title(self) -> str:
        """The names of network and layer."""
        return f"{self.model} {self.name}".lstrip()

    @property
    def size(self) -> int:
        """n, the number of units."""
        image = jax.ShapeDtypeStruct((1, *IMAGE_SHAPE), "float32")
        phi = functools.partial(self.network.between, start=0, stop=self.depth)
        return math.prod(jax.eval_shape(phi, self.params, image).shape[1:])


PIXELS = Layer("", "pixels", Network((), IMAGE_SHAPE), {}, 0)


class Directions(NamedTuple):
    """Directions in a layer of n units."""

    units: jax.Array  # (d,) int32, those of the natural basis
    vectors: jax.Array  # (D, n) float32, those of the random basis


class Top(NamedTuple):
    """The images that maximise each of D directions, the best first."""

    index: np.ndarray  # (D, K) int32, positions in the held-out set
    value: np.ndarray  # (D, K) <φ(x), v>


class Maximisers(NamedTuple):
    """The images that maximise the directions of a layer."""

    layer: Layer
    units: np.ndarray  # (d,) those of the natural basis
    natural: Top
    random: Top


class Comparison(NamedTuple):
    """Label agreement of natural less that of random directions."""

    difference: float  # of the means
    interval: tuple[float, float]
    effect: float | None  # Hedges' g; None where nothing varies
    effect_error: float | None  # half the length of its interval
    p: float


def layers(models: Sequence[Model], names: Sequence[str] = ()) -> list[Layer]:
    """The pixels, then the layers of each model that are among `names`: see `layer_names`."""
    return [PIXELS] + [
        Layer(model.name, name, model.network, model.params, depth)
        for model in models
        for name, depth in layer_names(model.network, names).items()
    ]


def layer_names(network: Network, names: Sequence[str] = ()) -> dict[str, int]:
    """Name and depth of those layers that are among `names`; of all but the logits without them."""
    depths = {layer.name: depth for depth, layer in enumerate(network.layers, start=1)}
    wanted = names or list(depths)[:-1]
    return {name: depth for name, depth in depths.items() if name in wanted}


def draw(key: jax.Array, size: int, count: int) -> Directions:
    """Draws directions in a layer of `size` units.

    Args:
      key: the vector of each random direction is drawn from it, folded by the direction's index.
      size: n.
      count: of each kind; where there are fewer units, all of them are drawn, in random order.
    """
    units = jax.random.permutation(jax.random.fold_in(key, 0), size)[:count]
    fold = functools.partial(jax.random.fold_in, jax.random.fold_in(key, 1))
    vector = functools.partial(jax.random.normal, shape=(size,), dtype=jnp.float32)
    return Directions(units, jax.vmap(vector)(jax.vmap(fold)(jnp.arange(count))))


def maximisers(
    layer: Layer,
    directions: Directions,
    images: np.ndarray,
    count: int,
    *,
    batch_size: int = 200,
    progress: Callable[[int], None] | None = None,
) -> Maximisers:
    """Finds the images with the largest <φ(x), v>; of equal ones, the first.

    Args:
      layer: φ.
      directions: v.
      images: (N, 28, 28[, 1]) floating-point numbers in [0, 1], or uint8; may be memory-mapped.
      count: K, from 1 to N.
      batch_size: images at a time; up to rounding, the result does not depend on it.
      progress: told how many images have just been fed.

    Raises:
      ValueError: <φ(x), v> is NaN or infinite among the best.
    """
    units, rows = len(directions.units), len(directions.units) + len(directions.vectors)
    best = Top(
        jnp.zeros((rows, count), jnp.int32),
        jnp.full((rows, count), -jnp.inf, jnp.float32),
    )
    params = jax.tree.map(jnp.asarray, layer.params)
    batch_size = min(batch_size, len(images))
    for first in range(0, len(images), batch_size):
        part = images[first : first + batch_size]
        best = _merged(
            *(layer.network, layer.depth, params, directions, best),
            *(_padded(part, batch_size), first, len(part)),
        )
        if progress:
            progress(len(part))
    top = Top(*map(np.asarray, best))
    if not np.isfinite(top.value).all():
        raise ValueError(f"activations of {layer.title} must be finite, got NaN or infinity")
    natural, random = zip(*(np.split(array, [units]) for array in top), strict=True)
    return Maximisers(layer, np.asarray(directions.units), Top(*natural), Top(*random))


def _padded(part, batch_size):
    """Up to `batch_size` images as float32 in [0, 1], then black ones."""
    x = np.zeros((batch_size, *IMAGE_SHAPE), np.float32)
    x[: len(part)] = part.reshape(len(part), *IMAGE_SHAPE)
    return x / np.float32(255) if part.dtype == np.uint8 else x


@functools.partial(jax.jit, static_argnums=(0, 1))
def _merged(network, depth, params, directions, best, x, first, count):
    """The best of those so far and of the first `count` images of a batch.

    Those so far come first, as `top_k` prefers the first of equal values.
    """
    phi = network.between(params, x, 0, depth).reshape(len(x), -1)
    random = jnp.matmul(phi, directions.vectors.T, precision="highest")
    values = jnp.concatenate([phi[:, directions.units], random], axis=1).T
    values = jnp.where(jnp.isnan(values), jnp.inf, values)  # wins, so that it is seen
    real = jnp.arange(len(x)) < count
    candidates = jnp.concatenate([best.value, jnp.where(real, values, -jnp.inf)], axis=1)
    value, position = jax.lax.top_k(candidates, best.value.shape[1])
    index = jnp.broadcast_to(first + jnp.arange(len(x)), values.shape)
    index = jnp.concatenate([best.index, index], axis=1)
    return Top(jnp.take_along_axis(index, position, axis=1), value)


def distinct(top: Top, k: int) -> np.ndarray:
    """Which of D directions have k best images, for k < K: (D,) bool.

    The others have the same value at k and k + 1, so that some of the images are best only by
    their place in the held-out set: a dead ReLU, a saturated sigmoid, a pixel that is white or
    black in many images.
    """
    return top.value[:, k - 1] > top.value[:, k]


def label_agreement(labels: np.ndarray) -> np.ndarray:
    """Fraction of the pairs of k images that have the same label: (…, k) int -> (…), for k ≥ 2.

    Of all N images: Σ_c n_c (n_c − 1) / (N (N − 1)), which is the mean of the label agreement of k
    images drawn at random, for every k.
    """
    k = labels.shape[-1]
    classes, labels = np.unique(labels, return_inverse=True)
    rows = labels.reshape(-1, k)
    cells = rows + len(classes) * np.arange(len(rows))[:, None]
    counts = np.bincount(cells.ravel(), minlength=len(rows) * len(classes))
    same = (counts * (counts - 1)).reshape(*labels.shape[:-1], len(classes)).sum(axis=-1)
    return same / (k * (k - 1))


def compare(natural: np.ndarray, random: np.ndarray, seed: int) -> Comparison | None:
    """Whether single units and random directions differ in mean label agreement.

    The permutation test (two-sided, Monte Carlo) exchanges directions: under its null hypothesis,
    which directions are units says nothing of their label agreement. It holds for this network,
    as it was trained once, and for these images: neither is resampled. Units that respond to the
    same images, as neighbours in a convolutional layer do, count as independent, so that there the
    interval is too short and p too small. The interval of the difference is the percentile
    bootstrap's, over directions. That of Hedges' g is ± its normal approximation (Hedges and
    Olkin, Statistical Methods for Meta-Analysis, 1985).

    Args:
      natural: (d,) label agreements.
      random: (D,) label agreements.
      seed: of the resamples.

    Returns:
      The comparison, or None where there are fewer than two of either.
    """
    if min(len(natural), len(random)) < 2:
        return None
    pair = natural, random
    options = {"vectorized": True, "n_resamples": RESAMPLES, "batch": 1000}
    interval = scipy.stats.bootstrap(
        pair,
        _difference,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
        **options,
    ).confidence_interval
    test = scipy.stats.permutation_test(
        pair, _difference, rng=np.random.default_rng(seed), **options
    )
    difference = float(test.statistic)
    return Comparison(
        difference, tuple(map(float, interval)), *_effect(natural, random), float(test.pvalue)
    )


def _difference(natural, random, axis=-1):
    return np.mean(natural, axis=axis) - np.mean(random, axis=axis)


def _effect(natural, random):
    """Hedges' g, and half the length of its interval."""
    if np.ptp(natural) == np.ptp(random) == 0:
        return None, None
    d, total = len(natural), len(natural) + len(random)
    degrees = total - 2
    variance = ((d - 1) * natural.var(ddof=1) + (total - d - 1) * random.var(ddof=1)) / degrees
    g = (1 - 3 / (4 * degrees - 1)) * _difference(natural, random) / math.sqrt(variance)
    error = math.sqrt(total / (d * (total - d)) + g**2 / (2 * total))
    return float(g), float(scipy.stats.norm.ppf((1 + CONFIDENCE) / 2) * error)


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values of several tests, adjusted for their number (Holm, 1979): (m,) -> (m,)."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    factors = len(p) - np.arange(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * np.asarray(p)[order]))
    return adjusted
