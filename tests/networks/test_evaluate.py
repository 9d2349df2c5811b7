"""Error rates and outputs against NumPy."""

import numpy as np
import pytest
from coarse import CoarselyConnected

from jaxadv.networks import Network, error_rate, mlp, predictions
from jaxadv.networks.evaluate import output


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_error_rate_equals_numpy(batch_size):
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(size=(100, 2, 3, 1)).astype("float32"), rng.integers(0, 3, 100)
    kernel, bias = rng.normal(size=(6, 3)).astype("float32"), np.float32([0, 0.5, -0.5])
    params = {"softmax": {"kernel": kernel, "bias": bias}}
    network = mlp(classes=3, input_shape=(2, 3, 1))
    logits = images.reshape(100, -1) @ kernel + bias
    expected = np.mean(np.argmax(logits, axis=1) != labels)
    assert 0.2 < expected < 0.9
    for each in (images, images.astype(">f4")):  # of another byte order, which JAX takes for native
        assert error_rate(network.logits, params, each, labels, batch_size) == expected


def test_products_are_of_full_precision_whatever_the_default():
    rng = np.random.default_rng(0)
    images, kernel = np.float32(rng.uniform(size=(50, 64))), np.float32(rng.normal(size=(64, 2)))
    bias = -np.median(images @ kernel, axis=0)
    network = Network((CoarselyConnected(2, name="softmax"),), (64,))
    params = {"softmax": {"kernel": kernel, "bias": bias}}
    logits = np.asarray(output(network, 1, params, images))
    np.testing.assert_allclose(logits, images @ kernel + bias, atol=1e-5)
    # As adversarial examples, on the boundary, but for a margin.
    gap = kernel[:, 0] - kernel[:, 1]
    beyond = (logits[:, 0] - logits[:, 1])[:, None] * (1 + 1e-4) * gap / (gap @ gap)
    images = np.concatenate([images - beyond, images - beyond * (1 - 2e-4)])
    expected = np.argmax(images.astype(float) @ kernel + bias, axis=1)
    assert (np.argmax(network.logits(params, images), axis=1) != expected).any()
    np.testing.assert_array_equal(predictions(network.logits, params, images), expected)
