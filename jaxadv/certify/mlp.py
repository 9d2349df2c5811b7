"""Fully connected networks as weights and biases in float64."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.certify.relaxation import ACTIVATIONS, Function
from jaxadv.networks.layers import FullyConnected
from jaxadv.networks.network import Params

ROUNDING = 1e-9  # of the terms of a sum, more than float64 loses on thousands of them


class Mlp(NamedTuple):
    """A fully connected network: layers h -> activation(W h + b), the last without activation."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # (W (out, in), b (out,)) in float64
    activations: tuple[Function, ...]  # between the layers: keys of `relaxation.ACTIVATIONS`

    def logits(self, x: Float[jax.Array | np.ndarray, " n"]) -> Float[jax.Array, " k"]:
        """The logits of one image, flattened."""
        h = jnp.asarray(x)
        activations = *self.activations, jax.nn.identity
        for (weights, bias), activation in zip(self.layers, activations, strict=True):
            h = activation(jnp.matmul(weights, h) + bias)
        return h


def check(network: Any) -> None:
    """Raises ValueError unless the network is one that `affine_layers` takes."""
    _checked_layers(network)


def affine_layers(network: Any, params: Params) -> Mlp:
    """The weights and activations of a `Network` of FullyConnected layers.

    Raises:
      ValueError: other layers, or activations other than sigmoid, tanh and ReLU.
    """
    layers = _checked_layers(network)
    arrays = [params[str(layer.name)] for layer in layers]
    return Mlp(
        tuple((np.array(a["kernel"], float).T, np.array(a["bias"], float)) for a in arrays),
        tuple(layer.activation for layer in layers[:-1]),
    )


def _checked_layers(network):
    layers: list[FullyConnected] = []
    for layer in getattr(network, "layers", [network]):  # a user's own may have none
        if not isinstance(layer, FullyConnected):
            raise ValueError(f"lower bounds need FullyConnected layers, got {type(layer).__name__}")
        layers.append(layer)
    *hidden, last = (layer.activation for layer in layers)
    if last is not jax.nn.identity or not set(hidden) <= set(ACTIVATIONS):
        raise ValueError(
            "lower bounds need sigmoid, tanh or ReLU between the layers and nothing after the"
            f" last, got {[layer.activation.__name__ for layer in layers]}"
        )
    return layers
