"""Convolutions as matrix products against NumPy."""

import jax
import numpy as np
import pytest

from jaxadv.networks import Convolution


@pytest.mark.parametrize("pool", [1, 2])
def test_a_convolution_equals_the_sum_over_each_window(pool):
    rng = np.random.default_rng(2)
    x, kernel, bias = (rng.normal(size=size) for size in ((2, 8, 6, 3), (3, 3, 3, 5), (5,)))
    expected = np.empty((2, 6, 4, 5))
    for row, column in np.ndindex(6, 4):
        window = x[:, row : row + 3, column : column + 3]
        expected[:, row, column] = np.einsum("bijc,ijcf->bf", window, kernel) + bias
    expected = np.maximum(expected, 0).reshape(2, 6 // pool, pool, 4 // pool, pool, 5)
    layer = Convolution(5, jax.nn.relu, pool=pool)
    params = {"kernel": np.float32(kernel), "bias": np.float32(bias)}
    h = jax.jit(layer.apply)({"params": params}, x)
    np.testing.assert_allclose(h, expected.max(axis=(2, 4)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sides", [(8, 6), (9, 7)])
def test_pools_that_do_not_fill_the_sides_leave_out_the_rest(sides):
    h = np.random.default_rng(0).normal(size=(2, *sides, 3)).astype("float32")
    layer = Convolution(4, size=1, pool=2)
    params = {"kernel": np.ones((1, 1, 3, 4), "float32"), "bias": np.zeros(4, "float32")}
    sums = np.repeat(h.sum(axis=-1, keepdims=True), 4, axis=-1)
    expected = sums[:, :8, :6].reshape(2, 4, 2, 3, 2, 4).max(axis=(2, 4))
    found = jax.jit(layer.apply)({"params": params}, h)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
