"""Lipschitz constants of layers and networks, against Jacobians."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxadv.networks import (
    Convolution,
    FullyConnected,
    GlobalAverage,
    InvertedResidual,
    Network,
    Standardise,
    lipschitz,
    mlp,
)


def networks():
    yield mlp(6, 5, classes=3, input_shape=(2, 2, 1))
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
            Convolution(
                *(6, nn.relu, 3, 2),
                padding=1,
                groups=2,
                normalise=True,
                pool=3,
                pool_stride=2,
                name="a",
            ),
            Convolution(4, nn.sigmoid, padding=2, name="b"),
            FullyConnected(3, name="softmax"),
        ),
        (13, 11, 2),
    )
    yield Network(
        (
            InvertedResidual(2, expansion=2, name="residual"),
            InvertedResidual(2, stride=2, expansion=1, name="strided"),
            GlobalAverage(name="pool"),
            FullyConnected(3, name="softmax"),
        ),
        (5, 4, 2),
    )


@functools.partial(jax.jit, static_argnums=(0, 2))
def bounds(network, params, method="exact"):
    """Of each layer, and of the network."""
    constants = [bound.product for bound in lipschitz.layer_bounds(network, params, method)]
    return constants, lipschitz.lipschitz_bound(network, params, method)


@pytest.mark.parametrize("network", [*networks()], ids=["fc", "cnn", "alexnet's", "mobile"])
def test_bounds_are_above_all_jacobians(network):
    rng = np.random.default_rng(0)
    params, largest = network.init(jax.random.key(1)), []
    h = rng.uniform(size=(6, *network.input_shape)).astype("float32")
    for index in range(len(network.layers)):

        @jax.jit
        @jax.vmap
        def with_jacobian(h, index=index):
            def layer(h):
                return network.between(params, h[None], index, index + 1)[0]

            return layer(h), jax.jacobian(layer)(h)

        size = h[0].size
        h, jacobians = map(np.asarray, with_jacobian(h))
        largest.append(np.linalg.norm(jacobians.reshape(len(h), -1, size), 2, (1, 2)).max())
    for method in ("exact", "gram"):
        constants, total = bounds(network, params, method)
        assert all(norm <= constant for norm, constant in zip(largest, constants, strict=True))
        assert largest[-1] > 0.99 * constants[-1]  # that of the logits is attained
        assert total == pytest.approx(np.prod(constants), rel=1e-5)


@pytest.mark.parametrize("network", [*networks()][::3], ids=["fc", "mobile"])
def test_pairs_of_images_keep_to_the_bound(network):
    rng = np.random.default_rng(0)
    params = network.init(jax.random.key(2))
    x, y = rng.uniform(size=(2, 500, *network.input_shape)).astype("float32")
    before, after = map(np.asarray, map(jax.jit(functools.partial(network.logits, params)), (x, y)))
    moved = np.linalg.norm(after - before, axis=1)
    distance = np.linalg.norm((x - y).reshape(500, -1), axis=1)
    assert (moved / distance).max() <= bounds(network, params)[1]


@pytest.mark.parametrize(
    "layer, slack",
    [
        (Standardise((0.5, 0.4, 0.3, 0.2), (0.2, 0.3, 0.4, 0.5), name="standardise"), 0),
        (GlobalAverage(name="pool"), 0),
        (Convolution(5, size=1, name="pointwise"), 0),
        (Convolution(4, size=3, padding="SAME", groups=4, name="depthwise"), 0.15),
        (Convolution(4, size=5, stride=2, padding="SAME", groups=4, name="strided"), 0.15),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_linear_layers_against_their_matrices(layer, slack):
    """All singular values by NumPy. Of zero-padded kernels, the bound is that on a larger torus."""
    network = Network((layer,), (10, 9, 4))
    params = network.init(jax.random.key(3))
    units = np.eye(360, dtype="float32").reshape(-1, 10, 9, 4)
    apply = jax.jit(lambda h: network.between(params, h, 0, 1))
    matrix = np.float64(apply(units)) - np.float64(apply(0 * units))
    norm = np.linalg.norm(matrix.reshape(360, -1), 2)
    [bound] = lipschitz.layer_bounds(network, params)
    assert norm * (1 - 1e-6) <= bound.product <= norm * (1 + slack + 2e-5)


@pytest.mark.parametrize("expansion", [1, 3])
def test_scales_of_a_blocks_channels_do_not_loosen_its_bound(expansion):
    """Other than the product of its parts' norms. A channel of the projection is dead."""
    rng = np.random.default_rng(0)
    block = InvertedResidual(5, expansion=expansion, name="block")
    network = Network((block,), (6, 5, 4))
    params = jax.tree.map(np.array, network.init(jax.random.key(0)))
    params["block"]["project"]["kernel"][0, 0, 2] = 0

    def scaled(before, after):
        scales = {"expand": before, "depthwise": after / before, "project": 1 / after[:, None]}
        parts = {
            name: part | {"kernel": part["kernel"] * scales[name]}
            for name, part in params["block"].items()
        }
        return {"block": parts}

    before, after = np.exp(rng.normal(size=(2, 4 * expansion))).astype("float32")
    before = before if expansion > 1 else np.ones_like(before)
    plain, bound = (bounds(network, p)[1] for p in (params, scaled(before, after)))
    assert bound == pytest.approx(float(plain), rel=0.02)


def test_differentiable():
    rng = np.random.default_rng(0)
    network = next(networks())
    params = jax.tree.map(np.asarray, network.init(jax.random.key(0)))
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
