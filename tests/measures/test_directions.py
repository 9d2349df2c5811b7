"""Directions in a layer, against NumPy."""

import jax
import numpy as np
import pytest

from jaxadv.measures import directions, layers
from jaxadv.measures.layers import Layer
from jaxadv.networks import FullyConnected, Network

PIXELS = layers.pixels((28, 28, 1))


@pytest.mark.parametrize("most", [directions.NUMBERS, 100 * 784])
def test_principal_components(mnist, monkeypatch, most):
    """As all singular vectors by NumPy, of as many images as memory allows."""
    monkeypatch.setattr(directions, "NUMBERS", most)
    h = mnist.images[: most // 784][:1000].reshape(-1, 784).astype(np.float64)
    _, _, expected = np.linalg.svd(h - h.mean(axis=0), full_matrices=False)
    found = directions.components(PIXELS, mnist.images, 21)
    assert found.shape == (21, 784)
    np.testing.assert_array_equal(found[1::2], -found[:-1:2])
    np.testing.assert_allclose(abs(np.sum(found[::2] * expected[:11], axis=1)), 1, atol=1e-4)


def test_no_more_components_than_have_variance(mnist):
    network = Network((FullyConnected(5, name="hidden"),), (28, 28, 1))
    params = network.init(jax.random.key(0))
    params["hidden"]["kernel"] = params["hidden"]["kernel"].at[:, 2:].set(0)
    params["hidden"]["bias"] = params["hidden"]["bias"] + 3
    layer = Layer("", "hidden", network, params, 1)
    found = directions.components(layer, mnist.images[:50], 20)
    assert found.shape == (4, 5) and not found[:, 2:].any()
    params["hidden"]["kernel"] = 0 * params["hidden"]["kernel"]
    assert directions.components(layer, mnist.images[:50], 20).shape == (0, 5)


@pytest.mark.parametrize("size, count", [(784, 50), (20, 50)])
def test_rotated_units_are_orthonormal(size, count):
    drawn = directions.draw(jax.random.key(0), size, count)
    rotated = drawn.vectors["rotated"]
    assert rotated.shape == (min(size, count), size)
    np.testing.assert_allclose(rotated @ rotated.T, np.eye(len(rotated)), atol=1e-5)


def test_a_rotation_is_uniformly_distributed():
    """Of its trace in three dimensions, the mean is 0 and the mean square 1."""
    keys = jax.random.split(jax.random.key(0), 2000)
    traces = np.trace(jax.vmap(lambda key: directions._orthonormal(key, 3, 3))(keys), 0, 1, 2)
    assert np.mean(traces) == pytest.approx(0, abs=0.1)
    assert np.mean(traces**2) == pytest.approx(1, abs=0.15)
