"""Layers of local receptive fields against direct sums, convolutions, and numerical derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.networks import Convolution, L2Pool, LocalContrast, LocallyConnected, layer_bounds
from jaxadv.networks.network import Network

RNG = np.random.default_rng(0)
H = RNG.normal(size=(2, 6, 7, 3)).astype("float32")
STRIDED = LocallyConnected(4, size=3, stride=2, shards=4, name="local")  # 2 × 3 locations


def applied(layer, h, params=None):
    return np.asarray(jax.jit(layer.apply)({"params": params or {}}, h))


@functools.partial(jax.jit, static_argnums=(0, 2))
def bound_of(network, params, method="exact"):
    [bound] = layer_bounds(network, params, method)
    return bound.product


def test_each_location_has_weights_of_its_own():
    params = jax.tree.map(
        lambda leaf: RNG.normal(size=leaf.shape), STRIDED.init(jax.random.key(0), H)["params"]
    )
    kernel, bias = params["kernel"], params["bias"]
    assert kernel.shape == (8, 27, 4) and bias.shape == (8, 4)  # two locations are not there
    expected = np.empty((2, 2, 3, 4))
    for row, column in np.ndindex(2, 3):
        window = H[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3].astype(float)
        location = 3 * row + column
        weights = kernel[location].reshape(3, 3, 3, 4)
        expected[:, row, column] = np.einsum("bijc,ijcf->bf", window, weights) + bias[location]
    found = applied(STRIDED, H, jax.tree.map(np.float32, params))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_with_tied_weights_it_is_a_convolution():
    kernel = RNG.normal(size=(2, 2, 3, 5)).astype("float32")
    params = {"kernel": kernel, "bias": RNG.normal(size=5).astype("float32")}
    tied = {name: np.stack([array] * 30) for name, array in params.items()}
    tied["kernel"] = tied["kernel"].reshape(30, 12, 5)
    found = applied(LocallyConnected(5, size=2), H, tied)
    np.testing.assert_allclose(found, applied(Convolution(5, size=2), H, params), atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_pooling_is_the_norm_of_windows(stride):
    found = applied(L2Pool(3, stride, epsilon=0.1), H)
    expected = np.empty((2, *((n - 3) // stride + 1 for n in (6, 7)), 3))
    for row, column in np.ndindex(*expected.shape[1:3]):
        window = H[:, stride * row : stride * row + 3, stride * column : stride * column + 3]
        expected[:, row, column] = np.sqrt(0.1 + (window.astype(float) ** 2).sum(axis=(1, 2)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def reflected(index, side):
    index %= 2 * side
    return index if index < side else 2 * side - 1 - index


@pytest.mark.parametrize("size, weights", [(3, [0.25, 0.5, 0.25]), (5, [1, 4, 6, 4, 1])])
def test_contrast_normalisation_is_by_means_over_windows_and_maps(size, weights):
    weights = np.array(weights) / np.sum(weights)

    def means(h):
        out = np.zeros(h.shape[:3])
        for row, column in np.ndindex(*h.shape[1:3]):
            for i, j in np.ndindex(size, size):
                y = reflected(row + i - size // 2, h.shape[1])
                x = reflected(column + j - size // 2, h.shape[2])
                out[:, row, column] += weights[i] * weights[j] * h[:, y, x].mean(axis=-1)
        return out[..., None]

    h = H.astype(float)
    g = h - means(h)
    expected = g / np.sqrt(0.3 + means(g**2))
    np.testing.assert_allclose(applied(LocalContrast(size, 0.3), H), expected, atol=1e-5)


LAYERS = [
    STRIDED,
    L2Pool(3, name="pool", epsilon=1e-6),
    LocalContrast(3, epsilon=1e-2, name="contrast"),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_jacobians_are_numerical_and_below_the_bound(layer):
    """At random activations, at equal ones, which pooling moves most, and at small ones."""
    network = Network((layer,), H.shape[1:])
    params = network.init(jax.random.key(1))
    points = np.stack([H[0], H[0] * 0 + 0.5, 0.02 * H[1]])

    def flat(h):
        return network.between(params, h[None], 0, 1).ravel()

    jacobians = np.asarray(jax.jit(jax.vmap(jax.jacobian(flat)))(points))
    jacobians = jacobians.reshape(3, -1, H[0].size)
    direction = RNG.normal(size=H[0].shape).astype("float32")
    step = 1e-2 * direction
    moved = jax.jit(jax.vmap(lambda h: (flat(h + step) - flat(h - step)) / 2e-2))(points[:2])
    np.testing.assert_allclose(moved, jacobians[:2] @ direction.ravel(), rtol=0.02, atol=0.02)
    largest = np.linalg.norm(jacobians, 2, (1, 2)).max()
    for method in ("exact", "gram"):
        bound = bound_of(network, params, method)
        assert 0.05 * bound < largest <= bound


def test_the_bound_of_a_local_layer_is_attained_where_windows_do_not_overlap():
    network = Network((LocallyConnected(2, size=3, stride=3, name="local"),), (6, 6, 1))
    params = network.init(jax.random.key(0))
    bound = bound_of(network, params)
    norm = np.linalg.norm(params["local"]["kernel"], 2, (1, 2)).max()
    assert bound == pytest.approx(norm, rel=1e-4) and bound >= norm


@pytest.mark.parametrize(
    "layer, message",
    [
        (LocallyConnected(2, size=7), "windows of 7 do not fit into a side of 6"),
        (L2Pool(8), "windows of 8 do not fit into a side of 6"),
        (LocalContrast(4), "the size of a window must be odd, got 4"),
    ],
)
def test_windows_that_cannot_be_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.asarray(H))
