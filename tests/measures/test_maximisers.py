"""The images that maximise directions, against NumPy's sorting."""

import flax.linen as nn
import jax
import numpy as np
import pytest
import scipy.stats

from jaxadv.measures import layers, maximisers
from jaxadv.measures.directions import Directions, draw
from jaxadv.measures.layers import Layer
from jaxadv.measures.maximisers import Top
from jaxadv.networks import Convolution, FullyConnected, Network
from jaxadv.zoo import Model

PIXELS = layers.pixels((28, 28, 1))


def best(values, count):
    """(D, N) values -> the (D, count) positions of the largest, the first of equal ones first."""
    return np.argsort(-values, axis=1, kind="stable")[:, :count]


@pytest.mark.parametrize("batch_size", [1, 7, 50, 150, 1000])
@pytest.mark.parametrize("sign", [1, -1])
def test_top_is_that_of_a_stable_sort_for_every_batch_size(batch_size, sign):
    """On small integers, so that nothing is rounded and much is tied; padded images never win."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (150, 28, 28)).astype(np.float32)
    vectors = sign * rng.integers(0, 3, (5, 784)).astype(np.float32)
    units = np.array([3, 700, 12])
    found = maximisers.maximisers(
        PIXELS, Directions(units, {"random": vectors}), images, 40, batch_size=batch_size
    )
    phi = images.reshape(150, -1).astype(np.float64)
    for kind, values in (("natural", phi[:, units].T), ("random", vectors @ phi.T)):
        top = found.top[kind]
        np.testing.assert_array_equal(top.positions, best(values, 40))
        np.testing.assert_array_equal(top.value, -np.sort(-values, axis=1)[:, :40])
    np.testing.assert_array_equal(found.units, units)


@pytest.mark.parametrize("batch_size", [500, 333])
def test_layer_of_a_network_in_float64(mnist, mlp_on_mnist, batch_size):
    network, params = mlp_on_mnist
    layer = Layer("mine", "hidden2", network, params, 2)
    directions = draw(jax.random.key(1), layer.size, 50)
    found = maximisers.maximisers(layer, directions, mnist.images, 20, batch_size=batch_size)
    h = mnist.images.reshape(len(mnist.images), -1).astype(np.float64)
    for name in ("hidden1", "hidden2"):
        h = 1 / (1 + np.exp(-h @ params[name]["kernel"] - params[name]["bias"]))
    truth = {kind: np.float64(vectors) @ h.T for kind, vectors in directions.vectors.items()}
    truth["natural"] = h[:, directions.units].T
    for kind, values in truth.items():
        top = found.top[kind]
        expected = np.take_along_axis(values, best(values, 20), axis=1)
        np.testing.assert_allclose(top.value, expected, atol=2e-5)
        np.testing.assert_allclose(
            np.take_along_axis(values, top.positions, axis=1), expected, atol=2e-5
        )
    shapes = {kind: top.positions.shape for kind, top in found.top.items()}
    assert shapes == {"natural": (40, 20), "random": (50, 20), "rotated": (40, 20)}


def test_units_of_a_convolution_are_numbered_in_c_order(mnist):
    network = Network((Convolution(3, nn.relu, pool=2, name="conv"),), (28, 28, 1))
    params = network.init(jax.random.key(0))
    layer = Layer("", "conv", network, params, 1)
    assert layer.size == 13 * 13 * 3
    images = mnist.images[:60]
    unit = np.ravel_multi_index((6, 7, 2), (13, 13, 3))
    directions = Directions(np.array([unit]), {})
    found = maximisers.maximisers(layer, directions, images, 5)
    patches = np.lib.stride_tricks.sliding_window_view(images[..., 0].astype(float), (3, 3), (1, 2))
    kernel = np.float64(params["conv"]["kernel"][:, :, 0, 2])
    values = np.maximum((patches[:, 12:14, 14:16] * kernel).sum((3, 4)), 0).max((1, 2))
    np.testing.assert_allclose(found.top["natural"].value[0], np.sort(values)[::-1][:5], rtol=1e-5)


def test_types_and_shapes_of_images(mnist, tmp_path):
    bytes_ = np.rint(255 * mnist.images[:90]).astype(np.uint8)
    floats = bytes_ / np.float32(255)
    np.save(tmp_path / "images.npy", bytes_[..., 0])
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    directions = draw(jax.random.key(0), 784, 10)
    results = [
        maximisers.maximisers(PIXELS, directions, images, 5, batch_size=40).top
        for images in (floats, bytes_, mapped, floats[..., 0].astype(np.float64))
    ]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)


def test_one_compilation_per_layer_and_all_progress(mnist, mlp_on_mnist):
    layer = Layer("mine", "hidden1", *mlp_on_mnist, 1)
    before, counts = maximisers._merged._cache_size(), []
    for seed in range(2):
        directions = draw(jax.random.key(seed), layer.size, 11)
        images = mnist.images[:130]
        maximisers.maximisers(layer, directions, images, 5, batch_size=50, progress=counts.append)
    assert maximisers._merged._cache_size() == before + 1
    assert counts == [50, 50, 30] * 2


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_activations_that_are_not_finite(bad):
    network = Network((FullyConnected(4, name="hidden"),), (28, 28, 1))
    params = network.init(jax.random.key(0))
    params["hidden"]["bias"] = np.array([0, bad, 0, 0], np.float32)
    layer = Layer("mine", "hidden", network, params, 1)
    directions = draw(jax.random.key(0), 4, 4)
    with pytest.raises(ValueError, match="activations of mine hidden must be finite"):
        maximisers.maximisers(layer, directions, np.zeros((9, 28, 28), np.uint8), 2)


def test_directions():
    few = draw(jax.random.key(0), 50, 7)
    many = draw(jax.random.key(0), 50, 2000)
    assert len(few.units) == len(set(few.units.tolist())) == 7
    assert sorted(many.units.tolist()) == list(range(50)) != many.units.tolist()
    np.testing.assert_array_equal(few.units, many.units[:7])
    np.testing.assert_array_equal(few.vectors["random"], many.vectors["random"][:7])
    assert scipy.stats.kstest(np.ravel(many.vectors["random"]), "norm").pvalue > 0.01
    other = draw(jax.random.key(1), 50, 7)
    assert (other.units != few.units).any() and (
        other.vectors["random"] != few.vectors["random"]
    ).any()


def test_layers_by_name():
    def model(name, *layers):
        layers = tuple(FullyConnected(3, name=layer) for layer in layers)
        network = Network(layers, (28, 28, 1))
        return Model(name, network, {}, 0.0, 0.0)

    models = [model("a", "h1", "h2", "softmax"), model("b", "h1", "softmax")]

    def found(names):
        return [(layer.title, layer.depth) for layer in layers.layers(models, names)]

    assert found([]) == [("pixels", 0), ("a h1", 1), ("a h2", 2), ("b h1", 1)]
    assert found(["h2"]) == [("pixels", 0), ("a h2", 2)]
    assert found(["softmax", "h1"])[1:] == [
        ("a h1", 1),
        ("a softmax", 3),
        ("b h1", 1),
        ("b softmax", 2),
    ]
    assert PIXELS.size == 784


def test_directions_whose_best_images_are_not_distinct():
    value = np.array([[5, 4, 3, 2], [5, 4, 4, 4], [5, 0, 0, 0], [1, 1, 1, 1]], np.float32)
    top = Top(np.zeros((4, 4), np.int32), value)
    for k, expected in ((1, [1, 1, 1, 0]), (2, [1, 0, 0, 0]), (3, [1, 0, 0, 0])):
        np.testing.assert_array_equal(maximisers.distinct(top, k), np.array(expected, bool))
