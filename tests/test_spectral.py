"""Operator norms against singular values of the whole operator as a matrix, in float64."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.spectral.operators import conv_operator_bound, conv_operator_norm, dense_operator_norm

METHODS = ["exact", "gram", "power"]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def matrix_norm(function, shape):
    """The largest singular value of a linear function of (B, *shape) arrays."""
    units = np.eye(np.prod(shape)).reshape(-1, *shape)
    return np.linalg.norm(np.asarray(function(units)).reshape(len(units), -1), 2)


def zero_padded(kernel, strides, padding, dilation=None, groups=1):
    axes = kernel.ndim - 2
    letters = "HW"[:axes]
    return lambda x: jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        feature_group_count=groups,
    )


def circular(kernel, strides, dilation, groups):
    """The input is continued periodically for as long as the last window needs."""
    more = [(0, d * (k - 1)) for k, d in zip(kernel.shape[:-2], dilation, strict=True)]
    inner = zero_padded(kernel, strides, "VALID", dilation, groups)
    return lambda x: inner(np.pad(x, [(0, 0), *more, (0, 0)], "wrap"))


@pytest.mark.parametrize(
    "shape, stride, dilation, grid, norm",
    [
        ((3, 2, 3, 3), 1, 1, (6, 6), 9.546247461376),
        ((3, 2, 3, 3), 2, 1, (6, 6), 5.523740804632),
        ((3, 2, 3, 3), 3, 1, (6, 9), 4.781646082167),
        ((4, 3, 5, 5), 2, 1, (8, 6), 12.056378122329),
        ((5, 2, 4, 4), 4, 1, (8, 12), 7.133789939860),
        ((3, 2, 3, 3), 2, 2, (8, 8), 9.546247461376),
        ((3, 2, 5, 5), 2, 1, (4, 4), 9.390174396736),
    ],
)
def test_reference_values(shape, stride, dilation, grid, norm):
    kernel = gaussian(*shape).transpose(2, 3, 1, 0)
    got = conv_operator_norm(kernel, grid, strides=stride, dilation=dilation)
    assert got.dtype == jnp.float64
    np.testing.assert_allclose(got, norm, rtol=1e-9)


@st.composite
def convolutions(draw):
    """A kernel, and strides, dilation, groups and the sides of a grid."""
    axes = draw(st.integers(1, 2))

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    size, strides, dilation = per_axis(1, 5), per_axis(1, 3), per_axis(1, 2)
    groups, channels, features = (draw(st.integers(1, 3)) for _ in range(3))
    kernel = gaussian(*size, channels, groups * features, seed=draw(st.integers(0, 99)))
    sides = tuple(s * m for s, m in zip(strides, per_axis(1, 4), strict=True))
    return kernel, strides, dilation, groups, sides


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(convolutions())
def test_norm_on_a_torus_is_that_of_the_matrix(convolution):
    kernel, strides, dilation, groups, sides = convolution
    got = conv_operator_norm(kernel, sides, strides=strides, dilation=dilation, groups=groups)
    operator = circular(kernel, strides, dilation, groups)
    expected = matrix_norm(operator, (*sides, groups * kernel.shape[-2]))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(convolutions(), st.data())
def test_bound_is_not_below_the_norm_of_the_matrix(convolution, data):
    kernel, strides, dilation, groups, sides = convolution
    pads = st.tuples(st.integers(0, 6), st.integers(0, 6))
    padding = data.draw(
        st.one_of(st.sampled_from(["SAME", "VALID"]), st.tuples(*[pads] * len(sides)))
    )
    sides = tuple(side + data.draw(st.integers(0, 3)) for side in sides)
    operator = zero_padded(kernel, strides, padding, dilation, groups)
    norm = matrix_norm(operator, (*sides, groups * kernel.shape[-2]))
    bound = conv_operator_bound(
        kernel, sides, strides=strides, padding=padding, dilation=dilation, groups=groups
    )
    assert bound >= norm


@pytest.mark.parametrize(
    "stride, padding, norm",
    [
        (1, "VALID", 8.192845),
        (1, "SAME", 8.770614),
        (1, 2, 8.893187),
        (2, "VALID", 5.170874),
        (2, "SAME", 5.270458),
        (2, (2, (2, 2)), 5.313118),
    ],
)
def test_bound_is_near_the_reference_norms_with_zero_padding(stride, padding, norm):
    kernel = gaussian(3, 2, 3, 3).transpose(2, 3, 1, 0)
    bound = conv_operator_bound(kernel, 6, strides=stride, padding=padding)
    assert norm < bound < 1.2 * norm


@pytest.mark.parametrize(
    "size, stride, dilation",
    [((3, 3), 1, 1), ((3, 3), 1, 3), ((2, 4), 1, 1), ((5, 3), 2, 1), ((5,), 2, 3)],
)
def test_bound_over_all_sizes(size, stride, dilation):
    kernel = gaussian(*size, 3, 4)
    settings = {"strides": stride, "dilation": dilation}
    bound = conv_operator_bound(kernel, None, **settings)
    large = conv_operator_norm(kernel, 60 * stride, **settings)
    assert large <= bound < 1.05 * large
    for side, padding in itertools.product((1, 4, 7, 10), ((0, 0), (1, 2), (3, 0))):
        operator = zero_padded(
            kernel, [stride] * len(size), [padding] * len(size), [dilation] * len(size)
        )
        assert matrix_norm(operator, (*[side] * len(size), 3)) <= bound


SHAPES = [  # kernel, grid, stride, groups
    ((3, 3, 5, 7), 8, 1, 1),
    ((11, 11, 3, 16), 32, 4, 1),
    ((5, 5, 6, 16), 12, 1, 2),
    ((3, 3, 1, 24), 9, 1, 24),
    ((1, 1, 20, 10), 7, 1, 1),
    ((7, 4, 6), 10, 2, 1),
]


@pytest.mark.parametrize("shape, grid, stride, groups", SHAPES)
def test_gram_is_above_and_power_below_exact(shape, grid, stride, groups):
    kernel = gaussian(*shape)
    exact, gram, power = (
        conv_operator_norm(kernel, grid, strides=stride, groups=groups, method=method)
        for method in METHODS
    )
    assert exact <= gram * (1 + 1e-14) <= 1.0001 * exact
    assert 0.99 * exact <= power <= exact * (1 + 1e-14)


def test_more_iterations_are_nearer():
    kernel = gaussian(3, 4, 6)
    for method, sign in (("gram", -1), ("power", 1)):
        norms = [conv_operator_norm(kernel, 8, method=method, iterations=n) for n in (1, 4)]
        assert np.diff(norms) * sign > 0


@pytest.mark.parametrize("method", ["exact", "gram"])
@pytest.mark.parametrize("shape, grid, stride, groups", SHAPES[:3])
def test_float32_bound_holds(shape, grid, stride, groups, method):
    kernel = gaussian(*shape).astype(np.float32)
    settings = {"strides": stride, "groups": groups}
    bound = conv_operator_bound(kernel, grid, **settings, method=method, padding="VALID")
    assert bound.dtype == jnp.float32
    exact = conv_operator_norm(kernel.astype(float), grid, **settings)
    assert exact <= bound <= exact * (1.0001 if method == "gram" else 1 + 1.5e-5)


@functools.cache
def norm_and_gradient(method, grid, stride, groups):
    settings = {"strides": stride, "groups": groups, "method": method}
    return jax.jit(jax.value_and_grad(lambda kernel: conv_operator_norm(kernel, grid, **settings)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape, grid, stride, groups", [SHAPES[2], SHAPES[-1]])
def test_gradient_is_the_slope(shape, grid, stride, groups, method):
    kernel, direction = gaussian(*shape), gaussian(*shape, seed=1)
    direction /= np.linalg.norm(direction)
    function = norm_and_gradient(method, grid, stride, groups)
    _, gradient = function(kernel)
    (above, _), (below, _) = (function(kernel + h * direction) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(np.vdot(gradient, direction), (above - below) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_zero_kernel(method):
    shape, *settings = SHAPES[-1]
    value, gradient = norm_and_gradient(method, *settings)(np.zeros(shape))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_gives_nan_under_jit(method, bad):
    shape, *settings = SHAPES[-1]
    kernel = gaussian(*shape)
    kernel[0, 1, 2] = bad
    assert np.isnan(norm_and_gradient(method, *settings)(kernel)[0])


def test_zero_matrix():
    assert dense_operator_norm(np.zeros((7, 4))) == 0


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (7, 4), (4, 7), (60, 60)])
def test_dense_norm_and_gradient(shape):
    matrix = gaussian(*shape)
    u, s, vt = np.linalg.svd(matrix)
    norm, gradient = jax.value_and_grad(dense_operator_norm)(matrix)
    np.testing.assert_allclose(norm, s[0], rtol=1e-13)
    np.testing.assert_allclose(gradient, np.outer(u[:, 0], vt[0]), atol=1e-10)


def test_transposed_convolution_has_the_norm_of_its_forward_one():
    kernel = gaussian(5, 3, 2, 4)
    layer = nn.ConvTranspose(4, (5, 3), (2, 3), padding="CIRCULAR", use_bias=False)
    norm = matrix_norm(lambda x: layer.apply({"params": {"kernel": kernel}}, x), (4, 3, 2))
    forward = conv_operator_norm(kernel.swapaxes(-1, -2), (8, 9), strides=(2, 3))
    np.testing.assert_allclose(forward, norm, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter_in_float32(scale, method):
    kernel = gaussian(3, 3, 5, 7).astype(np.float32)
    norm = conv_operator_norm(kernel, 8, method=method)
    scaled = conv_operator_norm(kernel * np.float32(scale), 8, method=method)
    np.testing.assert_allclose(scaled / scale, norm, rtol=1e-5)


def test_frequencies_and_singular_values_that_tie():
    orthogonal = np.linalg.qr(gaussian(30, 30))[0]
    kernel = np.zeros((3, 3, 30, 30), np.float32)
    kernel[0, 2] = orthogonal
    np.testing.assert_allclose(conv_operator_norm(kernel, 12), 1, rtol=1e-6)


def test_wrapped_kernel_that_cancels():
    assert conv_operator_norm(np.array([1.0, 0, -1]).reshape(3, 1, 1), 2) < 1e-15


def test_vmap_and_jit_agree_with_single_calls():
    kernels = gaussian(3, 3, 3, 5, 7)
    norms = jax.jit(jax.vmap(lambda kernel: conv_operator_norm(kernel, 8)))(kernels)
    np.testing.assert_allclose(norms, [conv_operator_norm(k, 8) for k in kernels], rtol=1e-13)
    bound = jax.jit(lambda kernel: conv_operator_bound(kernel, (6, 7), strides=2))(kernels[0])
    assert bound == conv_operator_bound(kernels[0], (6, 7), strides=2)


def test_halves_and_integers_are_computed_in_float32():
    kernel = np.ones((3, 3, 1, 1))
    for dtype in (np.float16, jnp.bfloat16):
        norm = conv_operator_norm(kernel.astype(dtype), 6)
        assert norm.dtype == jnp.float32
        np.testing.assert_allclose(norm, 9, rtol=1e-6)
    np.testing.assert_allclose(conv_operator_norm(kernel.astype(int), 6), 9, rtol=1e-12)


KERNEL = np.ones((3, 3, 2, 4))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kernel": np.ones((3, 3))}, r"kernel must have the shape .*, got \(3, 3\)"),
        ({"kernel": np.ones((0, 3, 2, 4))}, "not empty"),
        ({"kernel": KERNEL * 1j}, "kernel must be real, got complex128"),
        ({"kernel": KERNEL * np.nan}, "kernel must be finite"),
        ({"kernel": KERNEL * np.inf}, "kernel must be finite"),
        ({"strides": 0}, "strides must be at least 1, one integer or 2, got 0"),
        ({"strides": (1, -1)}, r"strides must be at least 1.* got \(1, -1\)"),
        ({"strides": 1.5}, "strides must be .* got 1.5"),
        ({"strides": (1, 1, 1)}, "strides must be .* one integer or 2"),
        ({"dilation": 0}, "dilation must be at least 1"),
        ({"groups": 3}, "groups must divide the 4 features, got 3"),
        ({"groups": 0}, "groups must divide the 4 features, got 0"),
        ({"method": "svd"}, r"method must be one of \['exact', 'gram', 'power'\], got 'svd'"),
        ({"method": "gram", "iterations": 0}, "iterations must be .* got 0"),
    ],
)
@pytest.mark.parametrize("function", [conv_operator_norm, conv_operator_bound])
def test_bad_input(function, changes, message):
    changes = {"kernel": KERNEL} | changes
    with pytest.raises(ValueError, match=message):
        function(changes.pop("kernel"), 6, **changes)


@pytest.mark.parametrize(
    "grid, strides, message",
    [
        (0, 1, "grid must be at least 1"),
        ((6, 6, 6), 1, "grid must be .* one integer or 2"),
        (2, 3, r"grid must be a multiple of strides \(3, 3\) on each axis, got \(2, 2\)"),
        ((6, 7), 2, r"grid must be a multiple .* got \(6, 7\)"),
    ],
)
def test_bad_grid(grid, strides, message):
    with pytest.raises(ValueError, match=message):
        conv_operator_norm(KERNEL, grid, strides=strides)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"input_shape": 0}, "input_shape must be at least 1"),
        ({"padding": "FULL"}, 'padding must be "SAME", "VALID", .* got \'FULL\''),
        ({"padding": -1}, "padding must be .* got -1"),
        ({"padding": (1, (2, -1))}, "padding must be .* got"),
        ({"padding": (1, 1, 1)}, "padding must be .* got"),
        ({"method": "power"}, '"power" is no upper bound'),
    ],
)
def test_bad_settings_of_a_bound(changes, message):
    with pytest.raises(ValueError, match=message):
        conv_operator_bound(**{"kernel": KERNEL, "input_shape": 6} | changes)


@pytest.mark.parametrize("matrix", [np.ones(3), np.ones((2, 0)), np.ones((2, 2, 2))])
def test_bad_matrix(matrix):
    with pytest.raises(ValueError, match=r"matrix must have the shape \(m, n\), not empty"):
        dense_operator_norm(matrix)
