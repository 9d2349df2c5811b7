"""The networks, as pure functions of plain-dict parameters."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

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


class Convolution(nn.Module):
    """φ(h) = activation(h ∗ W + b) without padding, then the maximum of each pool × pool square.

    The kernel, (height, width, in, out), is drawn from Glorot's uniform distribution. The sides of
    the activations must be multiples of `pool`. The convolution is a matrix product of the patches:
    within a loop, where training and attacks are, the gradients of XLA's own were 2 times (in h)
    and 16 times (in W) slower on a CPU.
    """

    features: int
    activation: Callable[[jax.Array], jax.Array] = identity
    size: int = 3
    pool: int = 1

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        """(B, height, width, channels) -> (B, (height − size + 1) / pool, …, features)."""
        shape = (self.size, self.size, h.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        h = _patches(h, self.size) @ kernel.reshape(-1, self.features) + bias
        return _max_pool(self.activation(h), self.pool)


def _patches(h, size):
    """(B, height, width, channels) -> (B, height − size + 1, …, size · size · channels)."""
    height, width = h.shape[1] - size + 1, h.shape[2] - size + 1
    offsets = itertools.product(range(size), repeat=2)
    shifted = [h[:, i : i + height, j : j + width] for i, j in offsets]
    return jnp.concatenate(shifted, axis=-1)


def _max_pool(h, side):
    """Reshape and max: its gradient is much faster on CPU than that of XLA's reduce_window."""
    if side == 1:
        return h
    batch, height, width, channels = h.shape
    blocks = h.reshape(batch, height // side, side, width // side, side, channels)
    return blocks.max(axis=(2, 4))


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
            variables = layer.init(jax.random.fold_in(key, index), jnp.zeros(h.shape))
            params[layer.name] = variables.get("params", {})
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


def cnn(
    *features: int,
    units: int = 128,
    classes: int = 10,
    input_shape: tuple[int, ...] = (28, 28, 1),
) -> Network:
    """3 × 3 convolutions, the last with 2 × 2 max-pooling, and a hidden layer, all with ReLU."""
    layers = [
        Convolution(count, nn.relu, pool=2 if index == len(features) else 1, name=f"conv{index}")
        for index, count in enumerate(features, start=1)
    ]
    hidden = FullyConnected(units, nn.relu, name="hidden")
    return Network((*layers, hidden, FullyConnected(classes, name="softmax")), input_shape)


def lenet(*, classes: int = 10, input_shape: tuple[int, ...] = (28, 28, 1)) -> Network:
    """LeNet-5 (LeCun et al., 1998) with ReLU and max-pooling."""
    layers = (
        Convolution(6, nn.relu, size=5, pool=2, name="conv1"),
        Convolution(16, nn.relu, size=5, pool=2, name="conv2"),
        FullyConnected(120, nn.relu, name="hidden1"),
        FullyConnected(84, nn.relu, name="hidden2"),
        FullyConnected(classes, name="softmax"),
    )
    return Network(layers, input_shape)


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
