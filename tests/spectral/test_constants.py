"""Lipschitz constants of pooling and normalisation, against Jacobians."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import spectral
from jaxadv.networks import layers


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
    jacobian = np.asarray(jax.jit(jax.jacobian(pool))(spikes)).reshape(-1, side * side)
    assert np.linalg.norm(jacobian, 2) == pytest.approx(constant, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 0.75, 1.0])
def test_contrast_normalisation(gamma):
    rng = np.random.default_rng(0)
    epsilon = 0.3

    def normalise(h):
        return h / (epsilon + jnp.sum(h**2)) ** gamma

    points = rng.normal(size=(300, 4)) * np.geomspace(1e-3, 10, 300)[:, None]
    norms = np.linalg.norm(jax.jit(jax.vmap(jax.jacobian(normalise)))(points), 2, (1, 2))
    constant = spectral.contrast_constant(epsilon, gamma)
    assert 0.99 * constant < norms.max() <= constant * (1 + 1e-5)


@pytest.mark.parametrize("epsilon, gamma", [(0.3, 0.4), (0.3, 1.1), (0.0, 0.5), (-1.0, 0.5)])
def test_bad_contrast_normalisation(epsilon, gamma):
    with pytest.raises(ValueError, match="gamma in"):
        spectral.contrast_constant(epsilon, gamma)


@pytest.mark.parametrize("size, beta", [(1, 0.75), (3, 0.5), (5, 0.75), (5, 1.0), (9, 0.75)])
def test_local_response_by_gradient_ascent(size, beta, monkeypatch):
    """From starts of all sizes: no norm exceeds k^−β, that at zero, nor then what is proven."""
    monkeypatch.setattr(layers, "RESPONSE_SIZE", size)
    monkeypatch.setattr(layers, "RESPONSE_BETA", beta)
    k, rng = layers.RESPONSE_K, np.random.default_rng(0)
    with jax.enable_x64(True):

        def norm(h):
            respond = jax.jacobian(lambda h: layers.local_response(h[None, None, None])[0, 0, 0])
            return jnp.linalg.norm(respond(h * jnp.sqrt(k / layers.RESPONSE_ALPHA)), 2)

        ascend = jax.vmap(jax.value_and_grad(norm))

        def step(h, _):
            value, slope = ascend(h)
            length = jnp.linalg.norm(slope, axis=1, keepdims=True) + 1e-12
            return h + 0.03 * slope / length, value

        scale = np.geomspace(0.01, 30, 300)[:, None] * np.exp(rng.normal(size=(300, 11)))
        start = jnp.asarray(scale * rng.normal(size=(300, 11)))
        _, values = jax.jit(lambda h: jax.lax.scan(step, h, None, 100))(start)
        largest = np.asarray(values).max()
    assert 0.99 * k**-beta < largest <= k**-beta * (1 + 1e-12)
    constant = spectral.local_response_constant(size, k, beta)
    assert largest <= constant * (1 + 1e-12) and constant <= size**0.5 * k**-beta


@pytest.mark.parametrize("n, beta", [(3, 0.5), (5, 0.75), (9, 1.0)])
def test_what_the_proof_for_local_response_says(n, beta):
    """Off the diagonal, rows are at most m √(n − 1) in sum, and columns m (n − 1)."""
    k, rng = 0.7, np.random.default_rng(0)
    h = rng.normal(size=(2000, 11)) * np.exp(rng.normal(size=(2000, 11)))
    near = np.abs(np.subtract.outer(range(11), range(11))) <= n // 2
    s = k + h**2 @ near
    others = 2 * beta * np.abs(h[:, :, None] * h[:, None]) / s[..., None] ** (beta + 1)
    others *= near & ~np.eye(11, dtype=bool)
    m = k**-beta * (beta / (beta + 1)) ** (beta + 1)
    assert others.max() <= m
    assert others.sum(axis=2).max() <= m * (n - 1) ** 0.5
    assert others.sum(axis=1).max() <= m * (n - 1)
    assert (s**-beta * np.abs(1 - 2 * beta * h**2 / s)).max() <= k**-beta
    proven = (1 + (n - 1) ** 0.75 * m * k**beta) * k**-beta
    assert spectral.local_response_constant(n, k, beta) == pytest.approx(proven)
