"""Convolutions in their forms for a CPU, against sums over windows and XLA's own."""

import functools

import jax
import numpy as np
import pytest

from jaxadv.networks import convolutions

CASES = [  # size, stride, pads, groups, features
    (3, 1, ((1, 1), (1, 1)), 1, 5),
    (3, 2, ((0, 1), (1, 1)), 1, 5),
    (5, 3, ((2, 2), (0, 3)), 1, 2),
    (2, 3, ((0, 0), (0, 0)), 1, 2),
    (3, 1, ((1, 1), (1, 1)), 4, 4),
    (5, 2, ((2, 2), (1, 2)), 4, 4),
    (3, 2, ((0, 1), (0, 0)), 4, 4),
    (2, 3, ((0, 1), (0, 0)), 4, 4),
    (3, 2, ((1, 1), (1, 1)), 2, 6),
]


@pytest.mark.parametrize("size, stride, pads, groups, features", CASES)
def test_convolutions_and_gradients_are_those_of_xla(size, stride, pads, groups, features):
    rng = np.random.default_rng(0)
    settings = {"stride": stride, "pads": pads, "groups": groups}
    with jax.enable_x64(True):
        h = rng.normal(size=(2, 7, 10, 4))
        kernel = rng.normal(size=(size, size, 4 // groups, features))
        padded = np.pad(h, ((0, 0), *pads, (0, 0)))
        rows, columns = ((side - size) // stride + 1 for side in padded.shape[1:3])
        sums = np.empty((2, rows, columns, features))
        for y, x in np.ndindex(rows, columns):
            window = padded[:, y * stride : y * stride + size, x * stride : x * stride + size]
            parts = np.split(window, groups, axis=-1), np.split(kernel, groups, axis=-1)
            products = [np.einsum("bijc,ijcf->bf", *pair) for pair in zip(*parts, strict=True)]
            sums[:, y, x] = np.concatenate(products, axis=-1)
        cotangent = rng.normal(size=sums.shape)

        @functools.partial(jax.jit, static_argnums=0)
        def with_gradients(function, h, kernel):
            found, transposes = jax.vjp(functools.partial(function, **settings), h, kernel)
            return found, *transposes(cotangent)

        found = with_gradients(convolutions.convolve, h, kernel)
        expected = with_gradients(convolutions._grouped, h, kernel)
        for array, other in zip((*found, found[0]), (*expected, sums), strict=True):
            np.testing.assert_allclose(array, other, atol=1e-12)


@pytest.mark.parametrize("platform, convolutions_of_xla", [("cpu", 0), ("cuda", 3), ("tpu", 3)])
def test_depthwise_convolutions_are_those_of_xla_on_accelerators(platform, convolutions_of_xla):
    h, kernel = np.ones((2, 8, 8, 4), "float32"), np.ones((3, 3, 1, 4), "float32")

    def loss(h, kernel):
        pads = ((0, 1), (0, 1))
        return (convolutions.convolve(h, kernel, 2, pads, groups=4) ** 2).sum()

    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(h, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") == convolutions_of_xla
