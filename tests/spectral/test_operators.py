"""Operator norms against singular values of the whole operator as a matrix, in float64."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.spectral.operators import conv_operator_bound, conv_operator_norm


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def matrix_norm(function, shape):
    """The largest singular value of a linear function of (B, *shape) arrays."""
    units = np.eye(np.prod(shape)).reshape(-1, *shape)
    matrix = np.asarray(function(units)).reshape(len(units), -1)
    gram = matrix @ matrix.T  # the norm is its largest eigenvalue's root
    return np.sqrt(np.linalg.eigvalsh(gram)[-1].clip(0))


def windows(x, size, strides, dilation):
    """(B, *sides, channels) -> (B, *outputs, channels, *size), by NumPy."""
    axes = range(1, x.ndim - 1)
    spans = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    x = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(axes))
    steps = [slice(None, None, s) for s in strides], [slice(None, None, d) for d in dilation]
    return x[(slice(None), *steps[0], slice(None), *steps[1])]


def convolve(x, kernel, strides, dilation, groups):
    """A convolution without padding."""
    *size, channels, features = kernel.shape
    patches = windows(x, size, strides, dilation)
    patches = patches.reshape(*patches.shape[: len(size) + 1], groups, channels, *size)
    kernel = np.moveaxis(kernel.reshape(*size, channels, groups, -1), (-2, -3), (0, 1))
    axes = "hw"[: len(size)]
    out = np.einsum(f"b...gc{axes},gc{axes}f->b...gf", patches, kernel, optimize=True)
    return out.reshape(*out.shape[:-2], features)


def zero_padded(kernel, strides, padding, dilation=None, groups=1):
    """The convolution as a function, with SAME or VALID, or zeros (before, after) each axis."""
    size = kernel.shape[:-2]
    dilation = dilation or (1,) * len(size)
    spans = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]

    def operator(x):
        pads = padding
        if isinstance(padding, str):
            pads = jax.lax.padtype_to_pads(x.shape[1:-1], spans, strides, padding)
        x = np.pad(x, [(0, 0), *pads, (0, 0)])
        if any(side < span for side, span in zip(x.shape[1:], spans, strict=False)):
            return np.zeros((len(x), 0))
        return convolve(x, kernel, strides, dilation, groups)

    return operator


def circular(kernel, strides, dilation, groups):
    """The input is continued periodically for as long as the last window needs."""
    more = [(0, d * (k - 1)) for k, d in zip(kernel.shape[:-2], dilation, strict=True)]
    return lambda x: convolve(
        np.pad(x, [(0, 0), *more, (0, 0)], "wrap"), kernel, strides, dilation, groups
    )


def test_the_convolution_here_is_that_of_xla():
    kernel, x = gaussian(3, 2, 4, 6), gaussian(2, 7, 9, 8, seed=1)
    expected = jax.lax.conv_general_dilated(
        *(x, kernel, (2, 1), [(1, 2), (0, 3)]),
        rhs_dilation=(1, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=2,
    )
    operator = zero_padded(kernel, (2, 1), [(1, 2), (0, 3)], (1, 2), groups=2)
    np.testing.assert_allclose(operator(x), expected, rtol=1e-12, atol=1e-12)


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


def test_transposed_convolution_has_the_norm_of_its_forward_one():
    kernel = gaussian(5, 3, 2, 4)
    layer = nn.ConvTranspose(4, (5, 3), (2, 3), padding="CIRCULAR", use_bias=False)
    apply = jax.jit(lambda x: layer.apply({"params": {"kernel": kernel}}, x))
    norm = matrix_norm(apply, (4, 3, 2))
    forward = conv_operator_norm(kernel.swapaxes(-1, -2), (8, 9), strides=(2, 3))
    np.testing.assert_allclose(forward, norm, rtol=1e-12)
