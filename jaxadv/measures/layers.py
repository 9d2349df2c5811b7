"""Layers whose activations are looked into, and these activations, a batch at a time."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxadv.datasets.photographs import Images
from jaxadv.networks import Network, Params
from jaxadv.networks.evaluate import output
from jaxadv.zoo import Model

BATCH = 200  # images at a time, of small ones
PIXELS = 2**22  # of larger ones, numbers in as many


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


def activations(
    layer: Layer, images: Images, batch_size: int | None = None, *, most: int | None = None
) -> Iterator[tuple[Float[jax.Array, "B n"], int]]:
    """φ of all images, in order: batches of B, and how many of each are images.

    Args:
      layer: φ.
      images: (N, *input_shape) floating-point numbers in [0, 1], or uint8; may be memory-mapped.
      batch_size: B; by default 200, and fewer of images of more than 21 thousand numbers.
      most: of the images; by default all.
    """
    count = min(len(images), most or len(images))
    image_shape = layer.network.input_shape
    batch_size = batch_size or max(1, min(BATCH, PIXELS // math.prod(image_shape)))
    batch_size = min(batch_size, len(images))  # of the most, too, so as to compile once
    params = jax.device_put(layer.params)
    for first in range(0, count, batch_size):
        part = images[first : min(first + batch_size, count)]
        x = _padded(part, batch_size, image_shape)
        found = output(layer.network, layer.depth, params, x)
        yield found.reshape(len(x), -1), len(part)


def _padded(part, batch_size, image_shape):
    """Up to `batch_size` images as float32 in [0, 1], then black ones."""
    x = np.zeros((batch_size, *image_shape), np.float32)
    x[: len(part)] = part.reshape(len(part), *image_shape)
    return x / np.float32(255) if part.dtype == np.uint8 else x
