"""Which images maximise a direction in a layer's activations (sec. 3).

A natural direction is a unit of the layer, e_i; a random one is a vector of independent standard
normal numbers. The images that maximise <φ(x), v> are found in one pass over a held-out set of any
size, of which memory holds a batch at a time.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.attacks.types import Progress
from jaxadv.networks import Network, Params
from jaxadv.storage.errors import InputError
from jaxadv.zoo import Model
from jaxadv.zoo.attack import NamedProgress


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
        image = jax.ShapeDtypeStruct((1, *self.network.input_shape), "float32")
        phi = functools.partial(self.network.between, start=0, stop=self.depth)
        return math.prod(jax.eval_shape(phi, self.params, image).shape[1:])


def pixels(image_shape: tuple[int, ...]) -> Layer:
    """The raw pixels, as a layer."""
    return Layer("", "pixels", Network((), image_shape), {}, 0)


class Directions(NamedTuple):
    """Directions in a layer of n units."""

    units: jax.Array  # (d,) int32, those of the natural basis
    vectors: jax.Array  # (D, n) float32, those of the random basis


class Top(NamedTuple):
    """The images that maximise each of D directions, the best first."""

    positions: np.ndarray | jax.Array  # (D, K) int32, in the held-out set
    value: np.ndarray | jax.Array  # (D, K) <φ(x), v>


class Maximisers(NamedTuple):
    """The images that maximise the directions of a layer."""

    layer: Layer
    units: np.ndarray  # (d,) those of the natural basis
    natural: Top  # of single units
    random: Top


def layers(models: Sequence[Model], names: Sequence[str] = ()) -> list[Layer]:
    """The pixels, then the layers of each model that are among `names`: see `layer_names`."""
    return [pixels(models[0].layered.input_shape)] + [
        Layer(model.name, name, model.layered, model.params, depth)
        for model in models
        for name, depth in layer_names(model.layered, names).items()
    ]


def layer_names(network: Network, names: Sequence[str] = ()) -> dict[str, int]:
    """Name and depth of those layers that are among `names`; of all but the logits without them."""
    depths = {layer.name: depth for depth, layer in enumerate(network.layers, start=1)}
    wanted = names or list(depths)[:-1]
    return {name: depth for name, depth in depths.items() if name in wanted}


def check_layer_names(networks: Mapping[str, Network], names: Sequence[str]) -> None:
    """Raises ValueError unless networks have layers to look at, and each name is one of theirs.

    Args:
      networks: by name.
      names: of layers; if there are none, all layers but the logits.
    """
    known = []
    for name, network in networks.items():
        if not names and not layer_names(network):
            raise ValueError(
                f"{name} has no layers but the logits: name them, --layer {network.layers[0].name}"
            )
        known += [layer.name for layer in network.layers]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"no network has layers {unknown}, expected some of {sorted(set(known))}")


def of_layers(
    layers: Sequence[Layer],
    images: np.ndarray,
    directions: int,
    count: int,
    seed: int,
    *,
    progress: NamedProgress | None = None,
) -> list[Maximisers]:
    """`maximisers` of so many units and random directions of each layer.

    Args:
      layers: φ.
      images: as for `maximisers`.
      directions: of each kind.
      count: of images per direction.
      seed: of the directions; layers of the same depth have the same.
      progress: told a layer's title, and how many images have just been fed.
    """
    found = []
    for layer in layers:
        key = jax.random.fold_in(jax.random.key(seed), layer.depth)
        drawn = draw(key, layer.size, directions)
        report = progress and functools.partial(progress, layer.title)
        found.append(maximisers(layer, drawn, images, count, progress=report))
    return found


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
            *(_padded(part, batch_size, layer.network.input_shape), first, len(part)),
        )
        if progress:
            progress(len(part))
    top = Top(*map(np.asarray, best))
    if not np.isfinite(top.value).all():
        raise InputError(f"activations of {layer.title} must be finite, got NaN or infinity")
    natural, random = zip(*(np.split(array, [units]) for array in top), strict=True)
    return Maximisers(layer, np.asarray(directions.units), Top(*natural), Top(*random))


def _padded(part, batch_size, image_shape):
    """Up to `batch_size` images as float32 in [0, 1], then black ones."""
    x = np.zeros((batch_size, *image_shape), np.float32)
    x[: len(part)] = part.reshape(len(part), *image_shape)
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
