"""The networks, as pure functions of plain-dict parameters."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

Params = dict[str, Any]


def identity(h: jax.Array) -> jax.Array:
    """The activation of a layer of logits."""
    return h


class FullyConnected(nn.Module):
    """φ(h) = activation(h W + b), on activations flattened to (B, n).

    The kernel is drawn from Glorot's uniform distribution, scaled by `kernel_gain`.
    """

    units: int
    activation: Callable[[jax.Array], jax.Array] = identity
    kernel_gain: float = 1.0

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        """(B, …) -> (B, units)."""
        h = h.reshape(len(h), -1)
        kernel_init = nn.initializers.variance_scaling(self.kernel_gain**2, "fan_avg", "uniform")
        kernel = self.param("kernel", kernel_init, (h.shape[1], self.units))
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        return self.activation(h @ kernel + bias)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as a sequence of named layers φ_K ∘ … ∘ φ_1.

    Hashable, so that its methods can be static under jit. `params` is a dict with one entry per
    layer, named as the layer.
    """

    layers: tuple[nn.Module, ...]
    input_shape: tuple[int, ...] = (28, 28, 1)

    def init(self, key: jax.Array) -> Params:
        """Draws parameters, each layer's from the key folded by its index."""
        params, h = {}, jax.ShapeDtypeStruct((1, *self.input_shape), "float32")
        for index, layer in enumerate(self.layers):
            variables = layer.init(jax.random.fold_in(key, index), jax.numpy.zeros(h.shape))
            params[layer.name] = variables["params"]
            h = jax.eval_shape(layer.apply, variables, h)
        return params

    def logits(self, params: Params, x: jax.Array) -> jax.Array:
        """(B, *input_shape) images in [0, 1] -> (B, k) logits."""
        return self.between(params, x, 0, len(self.layers))

    def between(self, params: Params, h: jax.Array, start: int, stop: int) -> jax.Array:
        """Applies the layers start … stop − 1 to the activations h, with leading axis B."""
        for layer in self.layers[start:stop]:
            h = layer.apply({"params": params[layer.name]}, h)
        return h


def mlp(*hidden: int, classes: int = 10, input_shape: tuple[int, ...] = (28, 28, 1)) -> Network:
    """Fully connected network with sigmoid hidden layers; without any, softmax regression."""
    layers = [
        FullyConnected(units, nn.sigmoid, name=f"hidden{index}")
        for index, units in enumerate(hidden, start=1)
    ]
    return Network((*layers, FullyConnected(classes, name="softmax")), input_shape)


def autoencoder(units: int, input_shape: tuple[int, ...] = (28, 28, 1)) -> Network:
    """Sigmoid encoder, and a decoder to the logits of the pixels."""
    features = FullyConnected(units, nn.sigmoid, kernel_gain=0.1, name="features")
    return Network((features, FullyConnected(math.prod(input_shape), name="decoder")), input_shape)


def autoencoder_classifier(
    units: int, classes: int = 10, input_shape: tuple[int, ...] = (28, 28, 1)
) -> Network:
    """The encoder of `autoencoder`, and softmax on its codes."""
    features = autoencoder(units, input_shape).layers[0]
    return Network((features, FullyConnected(classes, name="softmax")), input_shape)
