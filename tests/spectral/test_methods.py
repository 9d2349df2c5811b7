"""Methods against each other; gradients against slopes; extreme and degenerate kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.spectral import conv_operator_bound, conv_operator_norm, dense_operator_norm

METHODS = ["exact", "gram", "power"]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


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
