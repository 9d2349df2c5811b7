"""Operator norms of linear layers: section 4.3 of arXiv 1312.6199, mended.

The paper's ‖W‖ = sup_ξ ‖A(ξ)‖ of a convolution holds on a torus, with three corrections. As
printed, the factor Δ⁻² of A(ξ) gives less than the norm, by the stride Δ, in two dimensions: Δ⁻¹ is
right. The exponents are over N, not N², where N is the side of the image and not of the kernel.
Max-pooling is contractive only where its stride is at least its window: otherwise the constant of a
square window k is ⌈k / stride⌉, 2 for each of AlexNet's pools.

Here, no factor is needed: C channels on a grid of side N = Δ M are C · Δ² channels on a grid of
side M (the polyphase components), and on these the convolution has stride 1.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxadv.spectral.arguments import checked_array, checked_options, pads_per_axis, per_axis
from jaxadv.spectral.singular_values import (
    gram_iteration,
    gram_matrix,
    largest_singular_value,
    power_iteration,
    scaled,
)

MARGIN = 100  # of certified bounds, in units of the rounding of 1; measured errors are below 4
SAMPLES_PER_TAP = 8  # frequencies of a bound over all sizes: at most 4 % high per axis, odd: 2 %
FREQUENCIES_AT_ONCE = 64  # of Gram and power iteration

PerAxis = Any  # an int, or one per axis; checked here


def dense_operator_norm(
    matrix: Any, *, method: str = "exact", iterations: int | None = None
) -> Float[jax.Array, ""]:
    """Returns the largest singular value of a matrix.

    Differentiable once; where the largest singular value is multiple, the gradient is one of its
    subgradients.

    >>> print(dense_operator_norm([[3.0, 0.0], [0.0, -4.0]]))
    4.0

    Args:
      matrix: (m, n) real numbers, of float32, or float64 with jax_enable_x64.
      method: "exact", up to rounding, or "gram", an upper bound; see `conv_operator_norm`.
      iterations: of "gram", at least 1; by default 8.

    Raises:
      ValueError: not a matrix, empty, complex, or not finite; or another method.
    """
    matrix = checked_array("matrix", matrix, (2,))
    if method == "power":
        raise ValueError('method must be "exact" or "gram", got "power"')
    _, method, iterations = checked_options(matrix, 1, method, iterations)
    return _dense_norm(matrix, method, iterations)


def conv_operator_norm(
    kernel: Any,
    grid: PerAxis,
    *,
    strides: PerAxis = 1,
    dilation: PerAxis = 1,
    groups: int = 1,
    method: str = "exact",
    iterations: int | None = None,
) -> Float[jax.Array, ""]:
    """Returns the operator norm (ℓ2 to ℓ2) of a convolution on a torus, in 1-D or 2-D.

    It is the largest singular value of the convolution's transfer matrices, one per frequency and
    group (Sedghi et al., arXiv 1805.10408, for stride 1). A kernel larger than the grid wraps. A
    transposed convolution with a kernel (*size, in, out) has the norm of the convolution that it
    transposes, whose kernel is `jnp.swapaxes(kernel, -1, -2)`, on the grid of its *output*.

    All methods are differentiable once, and can be jitted; then, NaN or infinity give NaN:

    - "exact", up to rounding. The largest eigenvalue of a Gram matrix is computed only where a
      Cholesky factorisation does not prove it to be below the largest found before.
    - "gram", an upper bound: Gram iteration (Delattre et al., arXiv 2305.16173). It squares the
      singular values each time: for n × n matrices, 8 iterations are at most by a factor n^(1/512)
      too high, mostly by less than 1e-5. It is made of matrix products, as suits accelerators.
    - "power", a LOWER bound: power iteration from a fixed vector. Never a certificate.

    >>> kernel = jnp.ones((3, 3, 1, 1))
    >>> print(conv_operator_norm(kernel, (28, 28)))
    9.0

    Args:
      kernel: (*size, in / groups, out) as in flax, real, of float32, or float64 with
        jax_enable_x64.
      grid: sides of the input; the same for all axes if an int. Multiples of the strides, without
        which there is no such convolution on the torus.
      strides: from 1 to the grid's sides.
      dilation: of the kernel, at least 1.
      groups: divides `out`; the g-th of as many groups of input channels gives the g-th of outputs.
      method: see above.
      iterations: of "gram" (by default 8) or "power" (30), at least 1.

    Raises:
      ValueError: any of these is not as described, or the kernel is not finite.
    """
    kernel = checked_array("kernel", kernel, (3, 4))
    axes = kernel.ndim - 2
    strides = per_axis("strides", strides, axes)
    grid = per_axis("grid", grid, axes)
    if any(side % stride for side, stride in zip(grid, strides, strict=True)):
        raise ValueError(f"grid must be a multiple of strides {strides} on each axis, got {grid}")
    periods = tuple(side // stride for side, stride in zip(grid, strides, strict=True))
    dilation = per_axis("dilation", dilation, axes)
    options = checked_options(kernel, groups, method, iterations)
    return _conv_norm(kernel, periods, strides, dilation, *options)


def conv_operator_bound(
    kernel: Any,
    input_shape: PerAxis | None,
    *,
    strides: PerAxis = 1,
    padding: Any = "SAME",
    dilation: PerAxis = 1,
    groups: int = 1,
    method: str = "exact",
    iterations: int | None = None,
) -> Float[jax.Array, ""]:
    """Returns an upper bound of the operator norm of a zero-padded convolution, in 1-D or 2-D.

    The convolution is part of one on a torus of side stride · ⌈(n + max(padding)) / stride⌉: no
    window meets both ends of the input, nor do two of them coincide on the torus, unless they
    hold nothing but padding. The bound is that norm, and 1e-5 of it for rounding (2e-14 in
    float64).

    Args:
      kernel: as for `conv_operator_norm`.
      input_shape: n, the sides of the input without its padding, each at least 1; the same for all
        axes if an int. None for a bound over all sizes and paddings: the norms at finitely many
        frequencies, times 1/cos(π (k − 1) / 2 M) (odd k) or 1/√cos(π (k − 1) / M) (even k) for each
        axis, where k is the size of a polyphase component and M the number of frequencies. A
        trigonometric polynomial of degree d exceeds its M samples by at most 1/cos(π d / M).
      strides: at least 1.
      padding: "SAME" or "VALID" as in flax, or for each axis, or all, the number of zeros at each
        end, or of those (before, after). Not used if input_shape is None.
      dilation: as for `conv_operator_norm`.
      groups: as for `conv_operator_norm`.
      method: "exact" or "gram", of `conv_operator_norm`.
      iterations: as for `conv_operator_norm`.

    Raises:
      ValueError: any of these is not as described, or the kernel is not finite.
    """
    kernel = checked_array("kernel", kernel, (3, 4))
    size = kernel.shape[:-2]
    strides = per_axis("strides", strides, len(size))
    dilation = per_axis("dilation", dilation, len(size))
    if method == "power":
        raise ValueError('method must be "exact" or "gram", as "power" is no upper bound')
    options = checked_options(kernel, groups, method, iterations)
    if input_shape is None:
        periods, dilation, factor = _sampled(size, strides, dilation)
    else:
        input_shape = per_axis("input_shape", input_shape, len(size))
        pads = pads_per_axis(padding, input_shape, size, strides, dilation)
        periods = tuple(
            -(-(n + max(pad)) // s) for n, pad, s in zip(input_shape, pads, strides, strict=True)
        )
        factor = 1.0
    norm = _conv_norm(kernel, periods, strides, dilation, *options)
    return norm * (factor * (1 + MARGIN * float(jnp.finfo(norm.dtype).eps)))


def _sampled(size, strides, dilation):
    """Numbers of frequencies, dilation, and what bounds of all frequencies are above those."""
    # All frequencies of a dilated kernel are all frequencies of the kernel.
    dilation = tuple(1 if s == 1 else d for s, d in zip(strides, dilation, strict=True))
    taps = [(d * (k - 1)) // s + 1 for k, s, d in zip(size, strides, dilation, strict=True)]
    periods = tuple(SAMPLES_PER_TAP * count for count in taps)
    return periods, dilation, math.prod(map(_sampling_factor, taps, periods))


def _sampling_factor(taps, samples):
    if taps % 2:
        return 1 / math.cos(math.pi * (taps - 1) / (2 * samples))
    return 1 / math.sqrt(math.cos(math.pi * (taps - 1) / samples))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _dense_norm(matrix, method, iterations):
    with jax.default_matmul_precision("highest"):
        matrix, peak = scaled(matrix)
        matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        if method == "exact":
            return peak * largest_singular_value(matrix)
        return peak * gram_iteration(matrix, iterations, lambda q: q @ q.mT, (0, 1))


@functools.partial(jax.jit, static_argnums=range(1, 7))
def _conv_norm(kernel, periods, strides, dilation, groups, method, iterations):
    """The largest norm of the transfer matrices at `periods` frequencies per axis."""
    transfer, frequencies = _transfer(kernel.shape, periods, strides, dilation, groups)
    kernel, peak = scaled(kernel)
    fixed = functools.partial(transfer, jax.lax.stop_gradient(kernel))
    with jax.default_matmul_precision("highest"):
        if method == "exact":
            frequency = _best_frequency(fixed, frequencies)
            norms = largest_singular_value(jax.lax.complex(*transfer(kernel, frequency)))
        else:
            gram = functools.partial(gram_iteration, square=gram_matrix, axes=(0, 2, 3))
            iteration = {"gram": gram, "power": power_iteration}[method]
            batches = _batches(frequencies)
            estimates = jax.lax.map(
                jax.vmap(lambda frequency: iteration(fixed(frequency), iterations).max()), batches
            )
            frequency = batches.reshape(-1, len(periods))[estimates.argmax()]
            # Once more where it is largest, for a gradient that does not need all of them.
            norms = iteration(transfer(kernel, frequency), iterations)
    return peak * norms.max()


def _transfer(shape, periods, strides, dilation, groups):
    """The transfer matrices, as a function of kernel and frequency, and the frequencies.

    The tap at the position Δ q + r is the q-th of the polyphase component r. Half of the
    frequencies will do, as the others' matrices are complex conjugates.
    """
    *size, channels, features = shape
    positions = [d * np.arange(k) for k, d in zip(size, dilation, strict=True)]
    positions = np.stack(np.meshgrid(*positions, indexing="ij")).reshape(len(size), -1)
    delays, components = np.divmod(positions, np.array(strides)[:, None])
    used, component = np.unique(components, axis=1, return_inverse=True)
    selection = np.arange(used.shape[1])[:, None] == component.ravel()
    rows = used.shape[1] * channels
    periods = np.where(delays.any(axis=1), periods, 1)  # without a delay, all frequencies are one
    frequencies = np.indices((*periods[:-1], periods[-1] // 2 + 1)).reshape(len(size), -1).T

    def transfer(kernel, frequency):
        """(axes,) ints -> (2, groups, a, b), real and imaginary part, a ≤ b."""
        turns = frequency[:, None] * delays % periods[:, None] / periods[:, None]
        angles = 2 * jnp.pi * turns.sum(axis=0).astype(kernel.dtype)
        waves = jnp.stack([jnp.cos(angles), jnp.sin(angles)])
        taps = kernel.reshape(-1, channels, groups, features // groups)
        matrix = jnp.einsum("pt,rt,tcgd->pgrcd", waves, selection.astype(kernel.dtype), taps)
        matrix = matrix.reshape(2, groups, rows, -1)
        return matrix if rows <= matrix.shape[-1] else matrix.swapaxes(-1, -2)

    return transfer, jnp.asarray(frequencies)


def _best_frequency(transfer, frequencies):
    """The frequency with the largest singular value, of any group.

    In random order, one of n frequencies is expected to be above all before it ln n times; only
    then are eigenvalues computed. Cholesky's factorisation of λ I − G proves those of G below λ.
    """
    dtype = jax.eval_shape(transfer, frequencies[0]).dtype
    eps = float(jnp.finfo(dtype).eps)

    def visit(best, frequency):
        gram = jax.lax.complex(*gram_matrix(transfer(frequency)))
        limit = best[0] * (1 + 16 * eps) * jnp.eye(gram.shape[-1], dtype=dtype)
        factor = jax.lax.linalg.cholesky(limit - gram, symmetrize_input=False)

        def compare():
            largest = jnp.linalg.eigvalsh(gram)[:, -1].max()
            larger = largest > best[0]
            return jax.tree.map(functools.partial(jnp.where, larger), (largest, frequency), best)

        return jax.lax.cond(jnp.isnan(factor).any(), compare, lambda: best), None

    order = np.random.default_rng(0).permutation(len(frequencies))
    start = jnp.asarray(eps**2, dtype), frequencies[0]
    (_, best), _ = jax.lax.scan(visit, start, frequencies[order])
    return best


def _batches(frequencies):
    """(n, axes) -> (batches, size, axes), the last filled up with the first: the maximum stays."""
    count = -(-len(frequencies) // FREQUENCIES_AT_ONCE)
    size = -(-len(frequencies) // count)
    axes = frequencies.shape[1]
    return jnp.resize(frequencies, (count, size, axes))
