"""Layers of local receptive fields: untied weights, ℓ2 pooling, local contrast normalisation."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.spectral.lipschitz import LayerBound, contrast_constant, pooling_constant
from jaxadv.spectral.operators import dense_operator_norm

ROUNDING = 1e-5  # that a norm may be too small by in float32
KERNEL = nn.initializers.variance_scaling(
    1.0, "fan_in", "truncated_normal", in_axis=1, out_axis=2, batch_axis=0
)


def positions(side: int, size: int, stride: int = 1) -> int:
    """Windows of a size, a stride apart, along a side.

    >>> positions(200, 18), positions(10, 3, 2)
    (183, 4)

    Raises:
      ValueError: the window is longer than the side.
    """
    if size > side:
        raise ValueError(f"windows of {size} do not fit into a side of {side}")
    return (side - size) // stride + 1


def receptive_fields(
    h: Float[jax.Array | np.ndarray, "B height width channels"], size: int, stride: int = 1
) -> Float[jax.Array, "B locations inputs"]:
    """The windows of size × size, row by row, each flattened as (row, column, channel)."""
    rows, columns = (positions(side, size, stride) for side in h.shape[1:3])
    last = stride * (rows - 1) + 1, stride * (columns - 1) + 1
    taps = [
        h[:, i : i + last[0] : stride, j : j + last[1] : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.stack(taps, axis=3).reshape(len(h), rows * columns, -1)


class LocallyConnected(nn.Module):
    """φ(h)_l = h_l W_l + b_l for each location l, whose window h_l has weights of its own.

    Windows are size × size pixels, of all channels, `stride` apart, without padding. The kernel is
    (locations, size² · channels, features), the bias (locations, features); along their first axis
    they can be spread over devices: see `jaxadv.networks.quocnet.spread`. For that, locations that
    there are not, with weights that are not used, make up a multiple of `shards`.
    """

    features: int
    size: int
    stride: int = 1
    shards: int = 1

    @nn.compact
    def __call__(
        self, h: Float[jax.Array | np.ndarray, "B height width channels"]
    ) -> Float[jax.Array, "B _ _ features"]:
        """Applies the layer."""
        grid = self.grid(h.shape[1:])
        locations = math.prod(grid)
        kept = -(-locations // self.shards) * self.shards
        shape = kept, self.size**2 * h.shape[-1], self.features
        kernel = self.param("kernel", KERNEL, shape)
        bias = self.param("bias", nn.initializers.zeros, (kept, self.features))
        fields = receptive_fields(h, self.size, self.stride)
        fields = jnp.pad(fields, ((0, 0), (0, kept - locations), (0, 0)))
        out = jnp.einsum("bli,lif->blf", fields, kernel) + bias
        return out[:, :locations].reshape(len(h), *grid, self.features)

    @nn.nowrap
    def grid(self, input_shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of locations in images of this shape."""
        rows, columns = (positions(side, self.size, self.stride) for side in input_shape[:2])
        return rows, columns

    @nn.nowrap
    def lipschitz(
        self,
        params: dict[str, Any],
        input_shape: tuple[int, ...],
        method: str = "exact",
        iterations: int | None = None,
    ) -> LayerBound:
        """Bounds the layer's Lipschitz constant; see `jaxadv.networks.lipschitz.layer_bounds`.

        Σ_l ‖W_l h_l‖² ≤ Σ_l ‖W_l‖² ‖h_l‖² = Σ_p h_p² Σ_(l ∋ p) ‖W_l‖²: at most the largest sum of
        ‖W_l‖² over the windows l of a pixel p, which is at most max ‖W_l‖² times the windows.
        """
        kernel = params["kernel"][: math.prod(self.grid(input_shape))]

        def norm(matrix):
            return dense_operator_norm(matrix, method=method, iterations=iterations)

        def of_windows(h):  # their sums
            return receptive_fields(h, self.size, self.stride).sum(axis=(0, 2))

        image = jnp.zeros((1, *input_shape[:2], 1), kernel.dtype)
        sums = jax.vjp(of_windows, image)[1](jax.vmap(norm)(kernel) ** 2)[0]
        return LayerBound(str(self.name), jnp.sqrt(sums.max()) * (1 + ROUNDING))


class L2Pool(nn.Module):
    """φ(h) = √(ε + Σ h²) over windows of size × size, `stride` apart, of each map alone."""

    size: int
    stride: int = 1
    epsilon: float = 1e-4

    @nn.compact
    def __call__(
        self, h: Float[jax.Array | np.ndarray, "B height width maps"]
    ) -> Float[jax.Array, "B _ _ maps"]:
        """Applies the layer."""
        ones = np.ones(self.size, np.float32)
        return jnp.sqrt(self.epsilon + weighted_sums(jnp.square(h), ones, self.stride))

    @nn.nowrap
    def lipschitz(
        self,
        params: dict[str, Any],
        input_shape: tuple[int, ...],
        method: str = "exact",
        iterations: int | None = None,
    ) -> LayerBound:
        """The layer's Lipschitz constant, which depends on none of the arguments.

        That of a window is 1, and an input is in at most ⌈size / stride⌉² of them.
        """
        pooling = pooling_constant(self.size, self.stride)
        return LayerBound(str(self.name), jnp.asarray(1.0), pooling=pooling)


class LocalContrast(nn.Module):
    """φ(h) = g / √(ε + A(g²)), g = h − A(h), A the mean over maps and a window (Jarrett, 2009).

    The window is size × size pixels, with binomial weights; images are continued by reflection. The
    published networks have max(c, √A(g²)) below the line: here it is smooth, with ε = c².
    """

    size: int = 5
    epsilon: float = 1e-4

    @nn.compact
    def __call__(
        self, h: Float[jax.Array | np.ndarray, "B height width maps"]
    ) -> Float[jax.Array, "B height width maps"]:
        """Applies the layer."""
        g = jnp.asarray(h) - self._means(h)
        return g * jax.lax.rsqrt(self.epsilon + self._means(g**2))

    @nn.nowrap
    def _means(self, h):
        pads = (0, 0), (self.size // 2,) * 2, (self.size // 2,) * 2, (0, 0)
        mean = jnp.pad(h.mean(axis=-1, keepdims=True), pads, mode="symmetric")
        return weighted_sums(mean, binomial(self.size))

    @nn.nowrap
    def lipschitz(
        self,
        params: dict[str, Any],
        input_shape: tuple[int, ...],
        method: str = "exact",
        iterations: int | None = None,
    ) -> LayerBound:
        """(1 + w^−½) ε^−½, w the weight of a pixel in its own mean at the least.

        As a matrix, A is symmetric, its rows have the sum 1, and its eigenvalues are in [0, 1]:
        those of binomial weights on a reflected line of n pixels are cos(π k / 2n)^(size − 1). So
        ‖I − A‖ ≤ 1. With s² = ε + A(g²), the Jacobian of g / s is diag(1 / s) − M, where M_ik =
        g_i A_ik g_k / s_i³. By Cauchy and Schwarz, (M v)_i² ≤ g_i² / s_i⁶ · Σ_k A_ik g_k² ·
        Σ_k A_ik v_k², which is at most Σ_k A_ik v_k² / (w ε), as Σ_k A_ik g_k² and w g_i² are at
        most s_i². Summed over i, that is ‖v‖² / (w ε).
        """
        weight = binomial(self.size).max() ** 2 / input_shape[-1]
        constant = (1 + weight**-0.5) * contrast_constant(self.epsilon, 0.5)
        return LayerBound(str(self.name), jnp.asarray(1.0), normalisation=float(constant))


def binomial(size: int) -> Float[np.ndarray, " size"]:
    """Binomial coefficients over their sum.

    >>> binomial(5) * 16
    array([1., 4., 6., 4., 1.], dtype=float32)

    Raises:
      ValueError: the size is even, or not positive.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the size of a window must be odd, got {size}")
    weights = [math.comb(size - 1, k) / 2 ** (size - 1) for k in range(size)]
    return np.array(weights, np.float32)


def weighted_sums(
    h: Float[jax.Array | np.ndarray, "B height width maps"],
    weights: Float[np.ndarray, " size"],
    stride: int = 1,
) -> Float[jax.Array, "B _ _ maps"]:
    """Σ_ij w_i w_j h_(stride · y + i, stride · x + j), without padding."""
    sums: Any = h
    for axis in (1, 2):
        last = stride * (positions(h.shape[axis], len(weights), stride) - 1) + 1
        sums = sum(
            weight * jax.lax.slice_in_dim(sums, i, i + last, stride, axis)
            for i, weight in enumerate(weights)
        )
    return sums
