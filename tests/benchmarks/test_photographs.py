"""The trained EfficientNet-Lites on the photographs of the benchmarks."""

import jax
import numpy as np
import pytest

from jaxadv.networks import pretrained_efficientnet_lite


@pytest.mark.slow
@pytest.mark.parametrize("variant, right", [(0, 17), (1, 19), (2, 18)])
def test_photographs_are_recognised(variant, right):
    """As many as in torch, with the same weights and images."""
    import photographs

    network, params = pretrained_efficientnet_lite(variant)
    images, labels = photographs.load(network.input_shape[0])
    assert images.shape == (20, *network.input_shape)
    assert images.min() >= 0 and images.max() <= 1
    best = np.argsort(jax.jit(network.logits)(params, images), axis=1)[:, ::-1]
    assert (best[:, 0] == labels).sum() == right
    assert (best[:, :5] == labels[:, None]).any(axis=1).all()
