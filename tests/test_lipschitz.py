"""Lipschitz constants of layers and networks, against Jacobians."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.networks import lipschitz
from jaxadv.networks.alexnet import PaddedConvolution, Standardise, local_response
from jaxadv.networks.network import Convolution, FullyConnected, Network, mlp


def networks():
    yield mlp(6, 5, classes=3, input_shape=(4, 4, 1))
    yield Network(
        (
            Convolution(3, nn.relu, size=3, pool=2, name="conv1"),
            FullyConnected(4, nn.tanh, name="hidden"),
            FullyConnected(2, name="softmax"),
        ),
        (8, 8, 2),
    )
    yield Network(
        (
            Standardise((0.5, 0.4), (0.2, 0.3), name="standardise"),
            PaddedConvolution(
                6, 3, stride=2, padding=1, groups=2, normalise=True, pool=3, pool_stride=2, name="a"
            ),
            PaddedConvolution(4, 3, padding=2, activation=nn.sigmoid, name="b"),
            FullyConnected(3, name="softmax"),
        ),
        (13, 11, 2),
    )


@pytest.mark.parametrize("network", [*networks()], ids=["fc", "cnn", "alexnet's layers"])
@pytest.mark.parametrize("method", ["exact", "gram"])
def test_bounds_are_above_all_jacobians(network, method):
    rng = np.random.default_rng(0)
    params = network.init(jax.random.key(1))
    constants = [bound.product for bound in lipschitz.layer_bounds(network, params, method)]
    h = rng.uniform(size=(6, *network.input_shape)).astype("float32")
    largest = []
    for index, constant in enumerate(constants):

        def layer(h, index=index):
            return network.between(params, h[None], index, index + 1).ravel()

        jacobians = jax.vmap(jax.jacobian(layer))(h).reshape(len(h), -1, h[0].size)
        largest.append(np.linalg.norm(jacobians, 2, (1, 2)).max())
        assert largest[-1] <= constant
        h = network.between(params, h, index, index + 1)
    assert largest[-1] > 0.99 * constants[-1]  # that of the logits is attained
    total = lipschitz.lipschitz_bound(network, params, method)
    assert total == pytest.approx(np.prod(constants), rel=1e-5)


def test_pairs_of_images_keep_to_the_bound():
    rng = np.random.default_rng(0)
    network = next(networks())
    params = network.init(jax.random.key(2))
    x, y = rng.uniform(size=(2, 500, 4, 4, 1)).astype("float32")
    moved = np.linalg.norm(network.logits(params, x) - network.logits(params, y), axis=1)
    distance = np.linalg.norm((x - y).reshape(500, -1), axis=1)
    assert (moved / distance).max() <= lipschitz.lipschitz_bound(network, params)


@pytest.mark.parametrize("window, stride, constant", [(2, 2, 1), (3, 2, 2), (3, 1, 3), (2, 3, 1)])
def test_pooling_constant_is_attained(window, stride, constant):
    assert lipschitz.pooling_constant(window, stride) == constant
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
    constant = lipschitz.contrast_constant(epsilon, gamma)
    assert 0.99 * constant < norms.max() <= constant * (1 + 1e-5)


@pytest.mark.parametrize("epsilon, gamma", [(0.3, 0.4), (0.3, 1.1), (0.0, 0.5), (-1.0, 0.5)])
def test_bad_contrast_normalisation(epsilon, gamma):
    with pytest.raises(ValueError, match="gamma in"):
        lipschitz.contrast_constant(epsilon, gamma)


def test_local_response():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 9)) * np.geomspace(1, 1e3, 300)[:, None]
    respond = jax.vmap(jax.jacobian(lambda h: local_response(h[None, None, None])[0, 0, 0]))
    assert np.linalg.norm(respond(points), 2, (1, 2)).max() <= lipschitz.local_response_constant()


def test_differentiable():
    rng = np.random.default_rng(0)
    network = mlp(5, classes=3, input_shape=(2, 2, 1))
    params = network.init(jax.random.key(0))
    for method in ("exact", "gram"):
        bound = jax.jit(lambda p, method=method: lipschitz.lipschitz_bound(network, p, method))
        gradient = jax.grad(bound)(params)["hidden1"]["kernel"]
        direction = rng.normal(size=gradient.shape).astype("float32")

        def moved(step, direction=direction, bound=bound):
            kernel = params["hidden1"]["kernel"] + step * direction
            return bound(params | {"hidden1": params["hidden1"] | {"kernel": kernel}})

        slope = (moved(1e-2) - moved(-1e-2)) / 2e-2
        assert np.sum(gradient * direction) == pytest.approx(float(slope), rel=1e-2)


class Unknown(nn.Module):
    @nn.compact
    def __call__(self, h):
        return h


def test_unknown_layers_and_activations():
    with pytest.raises(ValueError, match="no Lipschitz bound is known for the layer what"):
        lipschitz.layer_bounds(Network((Unknown(name="what"),), (2,)), {"what": {}})
    network = Network((FullyConnected(2, nn.softplus, name="odd"),), (2,))
    params = network.init(jax.random.key(0))
    with pytest.raises(ValueError, match="activation of odd must be one of"):
        lipschitz.layer_bounds(network, params)
