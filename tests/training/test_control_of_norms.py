"""Control of the layers' norms in training."""

import jax
import numpy as np
import pytest

from jaxadv.networks import cnn, mlp
from jaxadv.training import Controlled, Schedule, Supervised, train

RECIPE = Supervised((1e-5, 1e-6), Schedule(4, 100, 0.01))
NETWORK = mlp(20)


@pytest.fixture(scope="module")
def data(mnist):
    return mnist.part(slice(2000))


def norms(params):
    return {name: np.linalg.norm(layer["kernel"], 2) for name, layer in params.items()}


def test_the_penalty_lowers_the_norms(data):
    found = [
        norms(train(NETWORK, data, recipe, jax.random.key(0)))
        for recipe in (RECIPE, Controlled(RECIPE, 1e-2), Controlled(RECIPE, 0.1))
    ]
    for layer in found[0]:
        assert found[0][layer] > 1.1 * found[1][layer] > 1.2 * found[2][layer]


def test_no_control_is_none(data):
    plain, controlled = (
        train(NETWORK, data, recipe, jax.random.key(0)) for recipe in (RECIPE, Controlled(RECIPE))
    )
    jax.tree.map(np.testing.assert_array_equal, plain, controlled)


@pytest.mark.parametrize("limit", [0.5, 2.0])
def test_limits_are_kept_and_reached(data, limit):
    recipe = Controlled(RECIPE, limit=limit)
    found = norms(train(NETWORK, data, recipe, jax.random.key(0)))
    assert max(found.values()) <= limit * (1 + 1e-5)
    assert max(found.values()) > 0.9 * limit


def test_limits_hold_for_convolutions(data):
    few = data.part(slice(200))
    network = cnn(4, units=8)
    recipe = Controlled(Supervised((0.0,) * 3, Schedule(1, 50, 0.01)), limit=0.3)
    params = train(network, few, recipe, jax.random.key(0))

    def convolve(h):
        kernel = params["conv1"]["kernel"]
        return jax.lax.conv_general_dilated(
            *(h, kernel, (1, 1), "VALID"), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    h = jax.random.normal(jax.random.key(0), (1, 28, 28, 1))
    _, transpose = jax.vjp(convolve, h)
    for _ in range(50):  # power iteration
        h = transpose(convolve(h / np.linalg.norm(h)))[0]
    assert 0.2 < np.sqrt(np.linalg.norm(h)) <= 0.3 * (1 + 1e-5)
