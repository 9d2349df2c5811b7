"""Norms of Jacobians at images, against all of their singular values by NumPy."""

import jax
import numpy as np
import pytest
from coarse import CoarselyConnected

from jaxadv.measures.stability import NOISE, jacobian_norms
from jaxadv.networks import Convolution, FullyConnected, InvertedResidual, Network

NETWORK = Network(
    (
        Convolution(4, jax.nn.relu, padding="SAME", pool=2, name="conv"),
        InvertedResidual(4, expansion=2, name="block"),
        FullyConnected(3, jax.nn.tanh, name="hidden"),
    ),
    (6, 6, 2),
)


@pytest.fixture(scope="module")
def params():
    return NETWORK.init(jax.random.key(0))


@pytest.fixture(scope="module")
def images():
    images = np.random.default_rng(1).uniform(size=(5, 6, 6, 2)).astype("float32")
    images[0] = 0  # where all values in a window of max-pooling are equal
    return images


def test_against_whole_jacobians(params, images):
    h = images + NOISE * np.random.default_rng(0).standard_normal((6, 6, 2)).astype("float32")
    norms = []
    for start, stop, x in [(0, 1, h), (1, 2, None), (2, 3, None), (0, 3, h)]:
        x = h if x is None else x

        @jax.jit
        @jax.vmap
        def with_jacobian(x, start=start, stop=stop):
            def part(x):
                return NETWORK.between(params, x[None], start, stop)[0]

            return part(x), jax.jacrev(part)(x)

        h, jacobians = map(np.asarray, with_jacobian(x))
        norms.append(np.linalg.norm(jacobians.reshape(5, -1, x[0].size), 2, (1, 2)))
    reported = []
    found = jacobian_norms(NETWORK, params, images, progress=reported.append)
    np.testing.assert_allclose(found, norms, rtol=1e-3)
    np.testing.assert_allclose(found[2:], norms[2:], rtol=1e-5)  # of three rows: it breaks down
    assert (found <= np.array(norms) * (1 + 1e-5)).all() and reported == [5]


def test_batches_change_nothing(params, images, monkeypatch):
    expected, reported = jacobian_norms(NETWORK, params, images), []
    images = np.concatenate([images, images[3::-1]])
    monkeypatch.setattr("jaxadv.measures.stability.BATCH", 5 * 72)
    found = jacobian_norms(NETWORK, params, images, progress=reported.append)
    assert reported == [5, 4]
    np.testing.assert_allclose(found, expected[:, [0, 1, 2, 3, 4, 3, 2, 1, 0]], rtol=1e-5)
    assert jacobian_norms(NETWORK, params, images[:0]).shape == (4, 0)


def test_products_are_of_full_precision_whatever_the_default():
    images = np.random.default_rng(0).uniform(size=(3, 5, 4, 1)).astype("float32")
    network = Network((CoarselyConnected(6, jax.nn.tanh, name="hidden"),), images.shape[1:])
    params = network.init(jax.random.key(0))
    kernel = params["hidden"]["kernel"]
    noise = NOISE * np.random.default_rng(0).standard_normal(images.shape[1:])
    slopes = 1 - np.tanh((images + noise).reshape(3, -1) @ kernel) ** 2
    expected = [np.linalg.norm(kernel * slope, 2) for slope in slopes]
    np.testing.assert_allclose(jacobian_norms(network, params, images)[0], expected, rtol=1e-5)
