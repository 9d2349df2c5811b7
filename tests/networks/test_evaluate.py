"""Error rates against NumPy."""

import numpy as np
import pytest

from jaxadv.networks import error_rate, mlp


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
