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
import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ITERATIONS = {"exact": 0, "gram": 8, "power": 30}  # by default, of each method
MARGIN = 100  # of certified bounds, in units of the rounding of 1; measured errors are below 4
SAMPLES_PER_TAP = 8  # frequencies of a bound over all sizes: at most 4 % high per axis, odd: 2 %
FREQUENCIES_AT_ONCE = 64  # of Gram and power iteration

PerAxis = int | Sequence[int]


def dense_operator_norm(
    matrix: Any, *, method: str = "exact", iterations: int | None = None
) -> jax.Array:
    """Returns the largest singular value of a matrix.

    Differentiable once; where the largest singular value is multiple, the gradient is one of its
    subgradients.

    Args:
      matrix: (m, n) real numbers, of float32, or float64 with jax_enable_x64.
      method: "exact", up to rounding, or "gram", an upper bound; see `conv_operator_norm`.
      iterations: of "gram", at least 1; by default 8.

    Raises:
      ValueError: not a matrix, empty, complex, or not finite; or another method.
    """
    matrix = _checked("matrix", matrix, (2,))
    if method == "power":
        raise ValueError('method must be "exact" or "gram", got "power"')
    _, method, iterations = _options(matrix, 1, method, iterations)
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
) -> jax.Array:
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
    kernel = _checked("kernel", kernel, (3, 4))
    axes = kernel.ndim - 2
    strides = _per_axis("strides", strides, axes)
    grid = _per_axis("grid", grid, axes)
    if any(side % stride for side, stride in zip(grid, strides, strict=True)):
        raise ValueError(f"grid must be a multiple of strides {strides} on each axis, got {grid}")
    periods = tuple(side // stride for side, stride in zip(grid, strides, strict=True))
    dilation = _per_axis("dilation", dilation, axes)
    options = _options(kernel, groups, method, iterations)
    return _conv_norm(kernel, periods, strides, dilation, *options)


def conv_operator_bound(
    kernel: Any,
    input_shape: PerAxis | None,
    *,
    strides: PerAxis = 1,
    padding: str | int | Sequence[int | tuple[int, int]] = "SAME",
    dilation: PerAxis = 1,
    groups: int = 1,
    method: str = "exact",
    iterations: int | None = None,
) -> jax.Array:
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
    kernel = _checked("kernel", kernel, (3, 4))
    size = kernel.shape[:-2]
    strides = _per_axis("strides", strides, len(size))
    dilation = _per_axis("dilation", dilation, len(size))
    if method == "power":
        raise ValueError('method must be "exact" or "gram", as "power" is no upper bound')
    options = _options(kernel, groups, method, iterations)
    if input_shape is None:
        # All frequencies of a dilated kernel are all frequencies of the kernel.
        dilation = tuple(1 if s == 1 else d for s, d in zip(strides, dilation, strict=True))
        taps = [(d * (k - 1)) // s + 1 for k, s, d in zip(size, strides, dilation, strict=True)]
        periods = tuple(SAMPLES_PER_TAP * count for count in taps)
        factor = math.prod(map(_sampling_factor, taps, periods))
    else:
        input_shape = _per_axis("input_shape", input_shape, len(size))
        pads = _pads(padding, input_shape, size, strides, dilation)
        periods = tuple(
            -(-(n + max(pad)) // s) for n, pad, s in zip(input_shape, pads, strides, strict=True)
        )
        factor = 1.0
    norm = _conv_norm(kernel, periods, strides, dilation, *options)
    return norm * (factor * (1 + MARGIN * float(jnp.finfo(norm.dtype).eps)))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _dense_norm(matrix, method, iterations):
    with jax.default_matmul_precision("highest"):
        matrix, peak = _scaled(matrix)
        matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        if method == "exact":
            return peak * _singular_value(matrix)
        return peak * _gram_iteration(matrix, iterations, lambda q: q @ q.mT, (0, 1))


@functools.partial(jax.jit, static_argnums=range(1, 7))
def _conv_norm(kernel, periods, strides, dilation, groups, method, iterations):
    """The largest norm of the transfer matrices at `periods` frequencies per axis."""
    transfer, frequencies = _transfer(kernel.shape, periods, strides, dilation, groups)
    kernel, peak = _scaled(kernel)
    fixed = functools.partial(transfer, jax.lax.stop_gradient(kernel))
    with jax.default_matmul_precision("highest"):
        if method == "exact":
            frequency = _best_frequency(fixed, frequencies)
            norms = _singular_value(jax.lax.complex(*transfer(kernel, frequency)))
        else:
            gram_iteration = functools.partial(_gram_iteration, square=_gram, axes=(0, 2, 3))
            iteration = {"gram": gram_iteration, "power": _power_iteration}[method]
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
        gram = jax.lax.complex(*_gram(transfer(frequency)))
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


def _singular_value(matrix):
    """(…, a, b), a ≤ b -> (…,): the largest singular value, differentiable once."""
    fixed = jax.lax.stop_gradient(matrix)
    _, vectors = jnp.linalg.eigh(fixed @ fixed.conj().mT)
    return _norm(vectors[..., None, :, -1].conj() @ matrix, (-2, -1))


def _batches(frequencies):
    """(n, axes) -> (batches, size, axes), the last filled up with the first: the maximum stays."""
    count = -(-len(frequencies) // FREQUENCIES_AT_ONCE)
    size = -(-len(frequencies) // count)
    axes = frequencies.shape[1]
    return jnp.resize(frequencies, (count, size, axes))


def _gram_iteration(matrix, iterations, square, axes):
    """σ ≤ Π ‖G_k‖_F^(1/2^k), where G_k+1 = (G_k / ‖G_k‖_F)² and ‖ ‖_F is over the axes."""

    def step(_, state):
        gram, bound, exponent = state
        norm = _nonzero(_norm(gram, axes, keepdims=True))
        return square(gram / norm), bound * norm**exponent, exponent / 2

    gram = square(matrix)
    start = gram, jnp.ones_like(_norm(gram, axes, keepdims=True)), jnp.asarray(0.5, gram.dtype)
    gram, bound, exponent = jax.lax.fori_loop(1, iterations, step, start)
    norm = _norm(gram, axes, keepdims=True)
    return jnp.where(norm == 0, 0, bound * _nonzero(norm) ** exponent).squeeze(axes)


def _power_iteration(matrix, iterations):
    """(2, groups, a, b) -> (groups,): ‖uᴴ Q‖, where u is a unit vector."""
    matrix = jax.lax.complex(*matrix)
    start = np.random.default_rng(0).standard_normal((*matrix.shape[:2], 1))

    def step(_, u):
        u = matrix @ (matrix.conj().mT @ u)
        return u / _nonzero(_norm(u, (1, 2)))[:, None, None]

    u = jax.lax.fori_loop(0, iterations, step, jnp.asarray(start, matrix.dtype))
    return _norm(u.conj().mT @ matrix, (1, 2))


def _gram(matrix):
    """(2, groups, a, b) -> (2, groups, a, a): Q Qᴴ, by real products: 3 times faster."""
    real, imag = matrix
    cross = imag @ real.mT
    return jnp.stack([real @ real.mT + imag @ imag.mT, cross - cross.mT])


def _norm(array, axes, keepdims=False):
    """The Euclidean norm; where it is 0, so is its gradient."""
    squares = jnp.square(array.real) + jnp.square(array.imag)
    squares = jnp.sum(squares, axis=axes, keepdims=keepdims)
    return jnp.where(squares == 0, 0, jnp.sqrt(_nonzero(squares)))


def _nonzero(values):
    """1 in place of 0, which neither divides nor has a root with a gradient."""
    return jnp.where(values == 0, 1, values)


def _scaled(array):
    """The array over its largest absolute value, and that, so that no square leaves the range."""
    peak = _nonzero(jax.lax.stop_gradient(jnp.abs(array).max()))
    return array / peak, peak


def _sampling_factor(taps, samples):
    if taps % 2:
        return 1 / math.cos(math.pi * (taps - 1) / (2 * samples))
    return 1 / math.sqrt(math.cos(math.pi * (taps - 1) / samples))


def _checked(name, array, ranks):
    """The array in a floating-point type of at least 32 bits, or ValueError."""
    array = jnp.asarray(array)
    if array.ndim not in ranks or array.size == 0:
        described = {(2,): "(m, n)", (3, 4): "(length, in, out) or (height, width, in, out)"}[ranks]
        raise ValueError(f"{name} must have the shape {described}, not empty, got {array.shape}")
    if jnp.iscomplexobj(array):
        raise ValueError(f"{name} must be real, got {array.dtype}")
    if not isinstance(array, jax.core.Tracer) and not jnp.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _per_axis(name, value, axes):
    """A tuple of ints of at least 1, one per axis."""
    values = (value,) * axes if isinstance(value, numbers.Integral) else value
    if not _are_integers(values, axes, least=1):
        raise ValueError(f"{name} must be at least 1, one integer or {axes}, got {value!r}")
    return tuple(map(int, values))


def _are_integers(values, count, least):
    return (
        isinstance(values, Sequence | np.ndarray)
        and len(values) == count
        and all(isinstance(value, numbers.Integral) and value >= least for value in values)
    )


def _options(kernel, groups, method, iterations):
    if not _are_integers([groups], 1, least=1) or kernel.shape[-1] % groups:
        raise ValueError(f"groups must divide the {kernel.shape[-1]} features, got {groups!r}")
    if method not in ITERATIONS:
        raise ValueError(f"method must be one of {list(ITERATIONS)}, got {method!r}")
    iterations = ITERATIONS[method] if iterations is None else iterations
    if method != "exact" and not _are_integers([iterations], 1, least=1):
        raise ValueError(f"iterations must be an integer of at least 1, got {iterations!r}")
    return groups, method, iterations


def _pads(padding, input_shape, size, strides, dilation):
    """((before, after), …) for each axis."""
    if padding in ("SAME", "VALID"):
        window = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
        return jax.lax.padtype_to_pads(input_shape, window, strides, padding)
    pads = [padding] * len(size) if isinstance(padding, numbers.Integral) else padding
    if isinstance(pads, Sequence) and not isinstance(pads, str) and len(pads) == len(size):
        pads = [(pad, pad) if isinstance(pad, numbers.Integral) else pad for pad in pads]
        if all(_are_integers(pad, 2, least=0) for pad in pads):
            return pads
    raise ValueError(
        'padding must be "SAME", "VALID", or for each axis an integer of at least 0 or a pair'
        f" of them, got {padding!r}"
    )
