"""The networks against NumPy, and what their parameters are."""

import importlib
import math
import re

import jax
import numpy as np
import pytest

import jaxadv
from jaxadv.networks import (
    Network,
    autoencoder,
    autoencoder_classifier,
    cnn,
    mlp,
)

KEY = jax.random.key(0)
SHAPE = (3, 2, 1)
SMALL = mlp(5, 5, classes=5, input_shape=(5,))
NETWORKS = {
    "softmax": mlp(classes=4, input_shape=SHAPE),
    "one hidden layer": mlp(7, classes=4, input_shape=SHAPE),
    "two hidden layers": mlp(6, 5, classes=4, input_shape=SHAPE),
    "autoencoder": autoencoder(5, input_shape=SHAPE),
    "autoencoder's classifier": autoencoder_classifier(5, classes=4, input_shape=SHAPE),
}
per_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def random_problem(network):
    """Normally distributed parameters, biases included, and some images."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(network.init, KEY)
    params = jax.tree.map(lambda a: rng.normal(size=a.shape).astype("float32"), shapes)
    return params, rng.uniform(size=(8, *network.input_shape)).astype("float32")


def numpy_activations(network, params, x):
    """What comes out of each layer: sigmoids, and in the end logits."""
    h, activations = x.reshape(len(x), -1), []
    for layer in network.layers:
        logits = np.float64(h) @ params[layer.name]["kernel"] + params[layer.name]["bias"]
        h = 1 / (1 + np.exp(-logits))
        activations.append(h)
    return [*activations[:-1], logits]


@per_network
def test_logits_equal_numpy(network):
    params, x = random_problem(network)
    expected = numpy_activations(network, params, x)[-1]
    np.testing.assert_allclose(network.logits(params, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 3, 2), (8, 2, 3, 1), (3, 2, 1), (8, 6)])
def test_images_of_another_shape_are_refused(shape):
    network = NETWORKS["softmax"]  # which would flatten them
    params, _ = random_problem(network)
    message = re.escape(f"images must have the shape (3, 2, 1), got {shape[1:]}")
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(network.logits, params, jax.ShapeDtypeStruct(shape, "float32"))


@per_network
def test_between_composes_to_the_logits(network):
    params, x = random_problem(network)
    for middle, expected in enumerate(numpy_activations(network, params, x), start=1):
        h = network.between(params, x, 0, middle)
        np.testing.assert_allclose(h, expected, rtol=1e-5, atol=1e-5)
        assert network.between(params, h, middle, middle) is h
        np.testing.assert_array_equal(
            network.between(params, h, middle, len(network.layers)), network.logits(params, x)
        )


@pytest.mark.parametrize(
    "network, sizes",
    [
        (mlp(), {"softmax": (784, 10)}),
        (mlp(100, 50), {"hidden1": (784, 100), "hidden2": (100, 50), "softmax": (50, 10)}),
        (mlp(3, classes=2, input_shape=(5,)), {"hidden1": (5, 3), "softmax": (3, 2)}),
        (autoencoder(400), {"features": (784, 400), "decoder": (400, 784)}),
        (autoencoder_classifier(400), {"features": (784, 400), "softmax": (400, 10)}),
    ],
)
def test_sizes_of_the_parameters(network, sizes):
    assert jax.eval_shape(network.init, KEY) == {
        name: {
            "kernel": jax.ShapeDtypeStruct(size, "float32"),
            "bias": jax.ShapeDtypeStruct(size[1:], "float32"),
        }
        for name, size in sizes.items()
    }


def test_parameters_are_plain_dicts_in_the_order_of_the_layers():
    network = autoencoder(5, input_shape=(5,))
    params = network.init(KEY)
    assert type(params) is dict and list(params) == ["features", "decoder"]
    assert all(
        type(layer) is dict and set(layer) == {"kernel", "bias"} for layer in params.values()
    )


def test_kernels_are_drawn_from_glorot_uniform_and_biases_are_zero():
    params = autoencoder(60, input_shape=(100,)).init(KEY)
    for layer, gain in [("features", 0.1), ("decoder", 1)]:
        kernel, limit = np.asarray(params[layer]["kernel"]), gain * math.sqrt(6 / (100 + 60))
        assert 0.99 * limit < np.abs(kernel).max() <= limit
        np.testing.assert_allclose(kernel.std(), limit / math.sqrt(3), rtol=0.05)
        assert abs(kernel.mean()) < 0.05 * limit
        assert not params[layer]["bias"].any()


def test_init_depends_on_the_key_and_the_layer_alone():
    first, same = SMALL.init(KEY), mlp(5, 5, classes=5, input_shape=(5,)).init(KEY)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(SMALL.init)(KEY), first)
    other, shorter = SMALL.init(jax.random.key(1)), mlp(5, input_shape=(5,)).init(KEY)
    jax.tree.map(np.testing.assert_array_equal, first, same)
    np.testing.assert_array_equal(first["hidden1"]["kernel"], shorter["hidden1"]["kernel"])
    kernels = [layer["kernel"] for params in (first, other) for layer in params.values()]
    assert len({np.asarray(kernel).tobytes() for kernel in kernels}) == 6


def test_a_network_is_hashable_and_static_under_jit():
    assert mlp(5) == mlp(5) and hash(mlp(5)) == hash(mlp(5))
    assert len({mlp(5), mlp(5), mlp(6), mlp(5, 5), mlp(5, classes=3), mlp()}) == 5
    network = NETWORKS["one hidden layer"]
    params, x = random_problem(network)
    logits = jax.jit(Network.logits, static_argnums=0)(network, params, x)
    np.testing.assert_allclose(logits, network.logits(params, x), rtol=1e-6, atol=1e-6)


def test_the_classifier_has_the_encoder_of_the_autoencoder():
    assert autoencoder_classifier(5).layers[0] == autoencoder(5).layers[0]


def test_the_cnn_has_plain_parameters_and_falls_apart_into_layers():
    network = cnn(4, 6, units=5, classes=3, input_shape=(8, 8, 1))
    params, x = random_problem(network)
    assert network.shapes(params) == [(8, 8, 1), (6, 6, 4), (2, 2, 6), (5,), (3,)]
    assert {name: layer["kernel"].shape for name, layer in params.items()} == {
        "conv1": (3, 3, 1, 4),
        "conv2": (3, 3, 4, 6),
        "hidden": (2 * 2 * 6, 5),
        "softmax": (5, 3),
    }
    h = network.between(params, x, 0, 2)
    assert h.shape == (8, 2, 2, 6)
    np.testing.assert_array_equal(network.between(params, h, 2, 4), network.logits(params, x))


def test_the_former_name_of_the_package():
    assert jaxadv.models.Network is Network
    assert importlib.import_module("jaxadv.models").mlp is mlp
