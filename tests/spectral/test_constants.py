"""Lipschitz constants of pooling and normalisation, against Jacobians."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import spectral
from jaxadv.networks.layers import local_response


@pytest.mark.parametrize("window, stride, constant", [(2, 2, 1), (3, 2, 2), (3, 1, 3), (2, 3, 1)])
def test_pooling_constant_is_attained(window, stride, constant):
    assert spectral.pooling_constant(window, stride) == constant
    side = 4 * window * stride

    def pool(h):
        return nn.max_pool(h[None, :, :, None], (window,) * 2, (stride,) * 2).ravel()

    spikes = np.zeros((side, side), "float32")  # each the maximum of all the windows it is in
    first = window - 1 + (-(window - 1)) % stride
    spikes[first : side - window : 2 * window * stride, first : side - window :] = 0
    at = np.arange(first, side - window, stride * window)
    spikes[np.ix_(at, at)] = 1
    jacobian = jax.jacobian(pool)(jnp.asarray(spikes)).reshape(-1, side * side)
    assert np.linalg.norm(jacobian, 2) == pytest.approx(constant, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 0.75, 1.0])
def test_contrast_normalisation(gamma):
    rng = np.random.default_rng(0)
    epsilon = 0.3

    def normalise(h):
        return h / (epsilon + jnp.sum(h**2)) ** gamma

    points = rng.normal(size=(300, 4)) * np.geomspace(1e-3, 10, 300)[:, None]
    norms = np.linalg.norm(jax.vmap(jax.jacobian(normalise))(points), 2, (1, 2))
    constant = spectral.contrast_constant(epsilon, gamma)
    assert 0.99 * constant < norms.max() <= constant * (1 + 1e-5)


@pytest.mark.parametrize("epsilon, gamma", [(0.3, 0.4), (0.3, 1.1), (0.0, 0.5), (-1.0, 0.5)])
def test_bad_contrast_normalisation(epsilon, gamma):
    with pytest.raises(ValueError, match="gamma in"):
        spectral.contrast_constant(epsilon, gamma)


def test_local_response():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 9)) * np.geomspace(1, 1e3, 300)[:, None]
    respond = jax.vmap(jax.jacobian(lambda h: local_response(h[None, None, None])[0, 0, 0]))
    assert np.linalg.norm(respond(points), 2, (1, 2)).max() <= spectral.local_response_constant(
        5, 2.0, 0.75
    )
