"""Convolutions in the forms that are fast within loops on a CPU, where training and attacks are.

XLA's own takes longer there, with its gradient in h up to 5 times where there is one group, up to
17 times with a group per channel; with that in W, 16 times.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

Pads = tuple[tuple[int, int], ...]  # rows of zeros (before, after), and columns


def convolve(
    h: Float[jax.Array | np.ndarray, "B height width channels"],
    kernel: Float[jax.Array | np.ndarray, "size size _ features"],
    stride: int,
    pads: Pads,
    groups: int = 1,
) -> Float[jax.Array, "B _ _ features"]:
    """(h ∗ W)_yx = Σ_ij W_ij h_(stride · y + i, stride · x + j), of zero-padded h.

    Args:
      h: activations.
      kernel: (size, size, channels / groups, features).
      stride: between windows, on both axes.
      pads: rows of zeros (before, after), and columns.
      groups: of channels, each of which gives as many of the features.
    """
    if groups == 1:
        return _as_product(h, kernel, stride, pads)
    if groups == h.shape[-1] == kernel.shape[-1]:
        return depthwise(h, kernel, stride, pads)
    return _grouped(h, kernel, stride, pads, groups)


def _as_product(h, kernel, stride, pads):
    """A matrix product of patches; with a stride, of blocks of stride × stride pixels."""
    size, _, channels, features = kernel.shape
    h = jnp.pad(h, ((0, 0), *pads, (0, 0)))
    if stride > 1:
        blocks = -(-size // stride)
        out = [(side - size) // stride + 1 for side in h.shape[1:3]]
        sides = [stride * (n + blocks - 1) for n in out]
        h = h[:, : sides[0], : sides[1]]
        more = [(0, side - given) for side, given in zip(sides, h.shape[1:3], strict=True)]
        h = jnp.pad(h, ((0, 0), *more, (0, 0)))
        h = h.reshape(len(h), sides[0] // stride, stride, sides[1] // stride, stride, channels)
        h = h.transpose(0, 1, 3, 2, 4, 5).reshape(*h.shape[:2], h.shape[3], -1)
        kernel = jnp.pad(kernel, ((0, blocks * stride - size),) * 2 + ((0, 0),) * 2)
        kernel = kernel.reshape(blocks, stride, blocks, stride, channels, features)
        kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
        size = blocks
    return _patches(h, size) @ kernel.reshape(-1, features)


def _patches(h, size):
    """(B, height, width, channels) -> (B, height − size + 1, …, size · size · channels)."""
    height, width = h.shape[1] - size + 1, h.shape[2] - size + 1
    offsets = itertools.product(range(size), repeat=2)
    shifted = [h[:, i : i + height, j : j + width] for i, j in offsets]
    return jnp.concatenate(shifted, axis=-1)


def _grouped(h, kernel, stride, pads, groups):
    return jax.lax.conv_general_dilated(
        *(h, kernel, (stride,) * 2, pads),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    h: Float[jax.Array | np.ndarray, "B height width channels"],
    kernel: Float[jax.Array | np.ndarray, "size size 1 channels"],
    stride: int,
    pads: Pads,
) -> Float[jax.Array, "B _ _ channels"]:
    """`convolve` with a group per channel: on a CPU, a sum of shifted multiples.

    It has no derivatives in forward mode.
    """
    return jax.lax.platform_dependent(
        *(h, kernel),
        cpu=lambda h, kernel: _shifted(h, kernel, stride, pads),
        default=lambda h, kernel: _grouped(h, kernel, stride, pads, h.shape[-1]),
    )


def _forward(h, kernel, stride, pads):
    return depthwise(h, kernel, stride, pads), (h, kernel)


def _backward(stride, pads, residuals, cotangent):
    def grouped(h, kernel, cotangent):
        primal = functools.partial(_grouped, stride=stride, pads=pads, groups=h.shape[-1])
        return jax.vjp(primal, h, kernel)[1](cotangent)

    def shifted(h, kernel, cotangent):
        in_h = _transposed(kernel, cotangent, stride, pads, h.shape[1:3])
        windows = _windows(h, len(kernel), stride, pads)
        in_kernel = jnp.stack([(window * cotangent).sum((0, 1, 2)) for window in windows])
        return in_h, in_kernel.reshape(kernel.shape)

    return jax.lax.platform_dependent(*residuals, cotangent, cpu=shifted, default=grouped)


depthwise.defvjp(_forward, _backward)


def _shifted(h, kernel, stride, pads):
    return _weighted(kernel, _windows(h, len(kernel), stride, pads))


def _weighted(kernel, windows) -> Any:
    taps = kernel.reshape(-1, kernel.shape[-1])
    return sum(tap * window for tap, window in zip(taps, windows, strict=True))


def _windows(h: jax.Array, size: int, stride: int, pads: Pads) -> Iterator[jax.Array]:
    """Of each tap of a kernel, in its order, what it is multiplied with."""
    h = _pad(h, pads)
    rows, columns = ((n - size) // stride * stride + 1 for n in h.shape[1:3])
    for i, j in itertools.product(range(size), repeat=2):
        yield h[:, i : i + rows : stride, j : j + columns : stride]


def _pad(h: jax.Array, pads: Sequence[tuple[int, int]]) -> jax.Array:
    """With the barrier, since XLA would pad anew for each window otherwise, element by element."""
    return jax.lax.optimization_barrier(jnp.pad(h, ((0, 0), *pads, (0, 0))))


def _transposed(kernel, cotangent, stride, pads, sides):
    """The gradient with respect to h, by its phases: its rows and columns modulo the stride.

    To a phase, the cotangent contributes by every stride-th tap alone, and shifted by one for each.
    """
    batch, *given, channels = cotangent.shape
    before = [pad[0] for pad in pads]
    most = (len(kernel) - 1) // stride
    out = [-(-side // stride) for side in sides]
    ends = [n + (stride - 1 + first) // stride for n, first in zip(out, before, strict=True)]
    cotangent = _pad(
        cotangent, [(most, max(0, end - n)) for end, n in zip(ends, given, strict=True)]
    )
    phases = []
    for phase in itertools.product(range(stride), repeat=2):
        (y, i), (x, j) = (divmod(p + first, stride) for p, first in zip(phase, before, strict=True))
        taps = kernel[i::stride, j::stride]
        corners = itertools.product(*(range(n) for n in taps.shape[:2]))
        corners = [(most + y - m, most + x - n) for m, n in corners]
        windows = [cotangent[:, a : a + out[0], b : b + out[1]] for a, b in corners]
        nothing = jnp.zeros((batch, *out, channels), cotangent.dtype)  # if the stride is longer
        phases.append(_weighted(taps, windows) + nothing)
    blocks = jnp.stack(phases).reshape(stride, stride, batch, *out, channels)
    h = blocks.transpose(2, 3, 0, 4, 1, 5).reshape(batch, out[0] * stride, -1, channels)
    return h[:, : sides[0], : sides[1]]
