"""QuocNet: stages of local receptive fields without weight sharing (Le et al., 2012, 1112.6209)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxadv.networks.local import L2Pool, LocalContrast, LocallyConnected
from jaxadv.networks.network import Network, Params
from jaxadv.storage.devices import placed

LAYERS = 3  # of a stage
UNTIED = 3  # axes of a kernel: locations, inputs, features


@dataclasses.dataclass(frozen=True)
class Stage:
    """Receptive fields of size × size × all maps, ℓ2 pooling of each map, contrast normalisation.

    The fields are `stride` apart; pooling has stride 1.
    """

    features: int
    size: int
    stride: int = 1
    pool: int = 5
    contrast: int = 5
    epsilon: float = 1e-2  # of the contrast normalisation


SMALL = Stage(8, 7, pool=3), Stage(16, 5, pool=3), Stage(32, 5, pool=3)  # a laptop's
PUBLISHED_SIDE, PUBLISHED = 200, (Stage(8, 18),) * 3


def quocnet(
    side: int = 25, channels: int = 1, stages: Sequence[Stage] = SMALL, shards: int = 1
) -> Network:
    """The encoder, on (side, side, channels) images in [0, 1]; its output are the top features.

    The layers of the stages are "local1", "pool1", "contrast1", "local2" and so on.

    >>> network = quocnet()
    >>> network.shapes(jax.eval_shape(network.init, jax.random.key(0)))[-1]
    (5, 5, 32)

    Args:
      side: of the images.
      channels: of the images.
      stages: from the first to the last.
      shards: of the locations of each stage: the number of devices to spread them over.
    """
    layers = []
    for number, stage in enumerate(stages, start=1):
        shape = stage.features, stage.size, stage.stride, shards
        layers += [
            LocallyConnected(*shape, name=f"local{number}"),
            L2Pool(stage.pool, name=f"pool{number}"),
            LocalContrast(stage.contrast, stage.epsilon, name=f"contrast{number}"),
        ]
    return Network(tuple(layers), (side, side, channels))


class Cost(NamedTuple):
    """What an encoder takes, in float32; operations are those of the products with weights."""

    weights: int  # of the kernels, without biases
    bytes: int  # of weights and biases
    adam_bytes: int  # of these, their gradient, and Adam's two moments
    forward: int  # floating-point operations per image
    training: int  # the same, for one gradient of an encoder with a decoder of the same size


def cost(network: Network) -> Cost:
    """The cost of an encoder, from shapes alone: nothing is allocated.

    Each weight is used once per image, for a multiplication and an addition; a gradient takes
    three times the operations of encoding and decoding.

    >>> published = cost(quocnet(PUBLISHED_SIDE, 3, PUBLISHED))
    >>> f"{published.weights:.3e} weights, {published.forward / 1e9:.1f} GFLOP"
    '1.217e+09 weights, 2.4 GFLOP'
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    weights = sum(layer["kernel"].size for layer in shapes.values() if "kernel" in layer)
    size = 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes))
    return Cost(weights, size, 4 * size, 2 * weights, 3 * 2 * 2 * weights)


def spread(params: Params, devices: Sequence[Any]) -> Params:
    """Untied weights on the devices, each of which has some of the locations.

    What is jitted works on all of them. Other parameters, as a classifier's, stay as they are.

    Args:
      params: of a `quocnet` with a multiple of as many shards, or of a network that begins with it.
      devices: of jax.
    """
    return {
        name: placed(layer, devices) if np.ndim(layer.get("kernel", 0)) == UNTIED else layer
        for name, layer in params.items()
    }
