"""Layers, each with a bound of its Lipschitz constant."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.networks.convolutions import convolve
from jaxadv.spectral.arguments import pads_per_axis
from jaxadv.spectral.lipschitz import (
    LayerBound,
    activation_constant,
    local_response_constant,
    pooling_constant,
)
from jaxadv.spectral.operators import conv_operator_bound, dense_operator_norm

RESPONSE_SIZE, RESPONSE_K, RESPONSE_ALPHA, RESPONSE_BETA = 5, 2.0, 1e-4, 0.75
GLOROT_UNIFORM = 1.0, "fan_avg", "uniform"  # arguments of variance_scaling
HE_NORMAL = 2.0, "fan_in", "truncated_normal"
ROUNDING = 1e-5  # that a norm may be too small by in float32


class FullyConnected(nn.Module):
    """φ(h) = activation(h W + b), on activations flattened to (B, n).

    The kernel is drawn from Glorot's uniform distribution, scaled by `kernel_gain`.
    """

    units: int
    activation: Callable[[jax.Array], jax.Array] = jax.nn.identity
    kernel_gain: float = 1.0

    @nn.compact
    def __call__(self, h: Float[jax.Array | np.ndarray, "B *shape"]) -> Float[jax.Array, "B units"]:
        """Applies the layer."""
        h = jnp.reshape(h, (len(h), -1))
        kernel_init = nn.initializers.variance_scaling(self.kernel_gain**2, "fan_avg", "uniform")
        kernel = self.param("kernel", kernel_init, (h.shape[1], self.units))
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        return self.activation(h @ kernel + bias)

    @nn.nowrap
    def lipschitz(
        self,
        params: dict[str, Any],
        input_shape: tuple[int, ...],
        method: str = "exact",
        iterations: int | None = None,
    ) -> LayerBound:
        """Bounds the layer's Lipschitz constant; see `jaxadv.networks.lipschitz.layer_bounds`."""
        norm = dense_operator_norm(params["kernel"], method=method, iterations=iterations)
        slope = activation_constant(str(self.name), self.activation)
        return LayerBound(str(self.name), norm * (1 + ROUNDING), slope)


class Convolution(nn.Module):
    """φ(h) = pool(respond(activation(h ∗ W + b))), with zero padding.

    The kernel is (size, size, channels / groups, features). `padding` is the number of zeros at
    each end, or "SAME" as in flax. `normalise` is for `local_response`. Pooling takes the maximum
    of windows of `pool` × `pool`, `pool_stride` apart, by default `pool`; a window of 1 is none.
    """

    features: int
    activation: Callable[[jax.Array], jax.Array] = jax.nn.identity
    size: int = 3
    stride: int = 1
    padding: int | Literal["SAME"] = 0
    groups: int = 1
    normalise: bool = False
    pool: int = 1
    pool_stride: int | None = None
    kernel_scaling: tuple[float, Any, Any] = GLOROT_UNIFORM

    @nn.compact
    def __call__(
        self, h: Float[jax.Array | np.ndarray, "B height width channels"]
    ) -> Float[jax.Array, "B _ _ features"]:
        """Applies the layer."""
        shape = (self.size, self.size, h.shape[-1] // self.groups, self.features)
        kernel_init = nn.initializers.variance_scaling(*self.kernel_scaling)
        kernel = self.param("kernel", kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        sides = (self.size,) * 2, (self.stride,) * 2
        pads = pads_per_axis(self.padding, h.shape[1:3], *sides, dilation=(1, 1))
        h = convolve(h, kernel, self.stride, tuple(pads), self.groups)
        h = self.activation(h + bias)
        if self.normalise:
            h = local_response(h)
        return _max_pool(h, self.pool, self.pool_stride or self.pool)

    @nn.nowrap
    def lipschitz(
        self,
        params: dict[str, Any],
        input_shape: tuple[int, ...],
        method: str = "exact",
        iterations: int | None = None,
    ) -> LayerBound:
        """Bounds the layer's Lipschitz constant; see `jaxadv.networks.lipschitz.layer_bounds`."""
        norm = conv_operator_bound(
            params["kernel"],
            input_shape[:2],
            strides=self.stride,
            padding=self.padding,
            groups=self.groups,
            method=method,
            iterations=iterations,
        )
        slope = activation_constant(str(self.name), self.activation)
        response = local_response_constant(RESPONSE_SIZE, RESPONSE_K, RESPONSE_BETA)
        normalisation = response if self.normalise else 1.0
        pooling = pooling_constant(self.pool, self.pool_stride or self.pool)
        return LayerBound(str(self.name), norm, slope, normalisation, pooling)


class Standardise(nn.Module):
    """φ(h) = (h − mean) / std per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @nn.compact
    def __call__(
        self, h: Float[jax.Array | np.ndarray, "*batch channels"]
    ) -> Float[jax.Array, "*batch channels"]:
        """Applies the layer."""
        h = jnp.asarray(h)
        return (h - jnp.array(self.mean, h.dtype)) / jnp.array(self.std, h.dtype)

    @nn.nowrap
    def lipschitz(
        self,
        params: dict[str, Any],
        input_shape: tuple[int, ...],
        method: str = "exact",
        iterations: int | None = None,
    ) -> LayerBound:
        """The layer's Lipschitz constant, which depends on none of the arguments."""
        return LayerBound(str(self.name), jnp.asarray(1 / min(self.std)))


class GlobalAverage(nn.Module):
    """φ(h) = the mean of h over all positions, per channel."""

    @nn.compact
    def __call__(
        self, h: Float[jax.Array | np.ndarray, "B height width channels"]
    ) -> Float[jax.Array, "B channels"]:
        """Applies the layer."""
        return jnp.mean(h, axis=(1, 2))

    @nn.nowrap
    def lipschitz(
        self,
        params: dict[str, Any],
        input_shape: tuple[int, ...],
        method: str = "exact",
        iterations: int | None = None,
    ) -> LayerBound:
        """The layer's Lipschitz constant, which depends on the shape alone."""
        height, width, _ = input_shape
        return LayerBound(str(self.name), jnp.asarray((height * width) ** -0.5))


def local_response(
    h: Float[jax.Array | np.ndarray, "B height width channels"],
) -> Float[jax.Array, "B height width channels"]:
    """h_i / (k + α Σ_j h_j²)^β, j the 5 channels around i (Krizhevsky et al., 2012, sec. 3.3)."""
    half = RESPONSE_SIZE // 2
    squares = jax.lax.reduce_window(
        *(h**2, 0.0, jax.lax.add, (1, 1, 1, RESPONSE_SIZE), (1, 1, 1, 1)),
        padding=((0, 0), (0, 0), (0, 0), (half, half)),
    )
    return h / (RESPONSE_K + RESPONSE_ALPHA * squares) ** RESPONSE_BETA


def _max_pool(h, window, stride):
    """Reshape and max where it can: on CPU, much faster in the gradient than reduce_window."""
    if window == 1:
        return h
    batch, height, width, channels = h.shape
    if stride != window or height % window or width % window:
        return nn.max_pool(h, (window,) * 2, (stride,) * 2)
    blocks = h.reshape(batch, height // window, window, width // window, window, channels)
    return blocks.max(axis=(2, 4))
