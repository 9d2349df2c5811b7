"""AlexNet's layers against NumPy, and its weights in torchvision's order."""

import functools

import jax
import numpy as np
import pytest

from jaxadv.networks import alexnet
from jaxadv.networks.layers import Convolution, Standardise, local_response


def numpy_convolution(h, kernel, bias, stride, padding, groups):
    h = np.pad(h, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    size = kernel.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(h, (size, size), (1, 2))
    windows = windows[:, ::stride, ::stride]  # (B, y, x, channels, size, size)
    parts = zip(np.split(windows, groups, 3), np.split(kernel, groups, 3), strict=True)
    sums = [np.einsum("byxcij,ijcd->byxd", *part, optimize=True) for part in parts]
    return np.concatenate(sums, axis=-1) + bias


def numpy_response(h):
    padded = np.pad(h**2, [(0, 0)] * 3 + [(2, 2)])
    around = sum(padded[..., i : i + h.shape[-1]] for i in range(5))
    return h / (2 + 1e-4 * around) ** 0.75


def numpy_pool(h, window, stride):
    windows = np.lib.stride_tricks.sliding_window_view(h, (window, window), (1, 2))
    return windows[:, ::stride, ::stride].max(axis=(-2, -1))


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 2, "padding": 1, "groups": 1, "normalise": False, "pool": 1},
        {"stride": 1, "padding": 2, "groups": 2, "normalise": True, "pool": 3},
        {"stride": 3, "padding": 0, "groups": 1, "normalise": False, "pool": 3},
    ],
)
def test_convolution(settings):
    rng = np.random.default_rng(0)
    h = 30 * rng.normal(size=(2, 19, 17, 4)).astype("float32")
    kernel = rng.normal(size=(5, 5, 4 // settings["groups"], 6)).astype("float32")
    bias = rng.normal(size=6).astype("float32")
    layer = Convolution(6, jax.nn.relu, 5, **settings, pool_stride=2, name="conv")
    found = jax.jit(layer.apply)({"params": {"kernel": kernel, "bias": bias}}, h)
    arguments = [settings[name] for name in ("stride", "padding", "groups")]
    expected = np.maximum(numpy_convolution(h.astype(float), kernel, bias, *arguments), 0)
    if settings["normalise"]:
        expected = numpy_response(expected)
    if settings["pool"] > 1:
        expected = numpy_pool(expected, settings["pool"], 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_local_response():
    rng = np.random.default_rng(0)
    h = 100 * rng.normal(size=(2, 3, 3, 7)).astype("float32")
    np.testing.assert_allclose(
        jax.jit(local_response)(h), numpy_response(h.astype(float)), rtol=1e-5
    )


def test_standardise():
    rng = np.random.default_rng(0)
    layer = Standardise((0.25, 0.5), (0.5, 2.0), name="standardise")
    h = rng.uniform(size=(2, 3, 3, 2)).astype("float32")
    found = layer.apply({"params": {}}, h)
    np.testing.assert_allclose(found, (h - [0.25, 0.5]) / [0.5, 2.0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "network, sides, features",
    [
        (alexnet.alexnet(), (27, 13, 13, 13, 6), (96, 256, 384, 384, 256)),
        (alexnet.torchvision_alexnet(), (27, 13, 13, 13, 6), (64, 192, 384, 256, 256)),
    ],
    ids=["original", "torchvision"],
)
def test_shapes_are_those_published(network, sides, features):
    params = jax.eval_shape(network.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, *network.input_shape), "float32")
    found = {}
    for index, layer in enumerate(network.layers, start=1):
        after = functools.partial(network.between, start=0, stop=index)
        found[layer.name] = jax.eval_shape(after, params, x).shape[1:]
    for index, (side, count) in enumerate(zip(sides, features, strict=True), start=1):
        assert found[f"conv{index}"] == (side, side, count)
    assert [found[f"fc{index}"] for index in (1, 2, 3)] == [(4096,), (4096,), (1000,)]


def test_number_of_parameters():
    """61,100,840: torchvision's. 60,965,224: that of the original with its groups."""
    for network, count in (
        (alexnet.torchvision_alexnet(), 61_100_840),
        (alexnet.alexnet(), 60_965_224),
    ):
        params = jax.eval_shape(network.init, jax.random.key(0))
        assert sum(array.size for array in jax.tree.leaves(params)) == count


SHAPES = {  # of torchvision's kernels, for three classes
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216),
    "classifier.4": (4096, 4096),
    "classifier.6": (3, 4096),
}


def state_dict():
    rng, arrays = np.random.default_rng(0), {}
    numbers = rng.standard_normal(1_000_003, "float32")  # in turns, as 58 million take 3 seconds
    for name, shape in SHAPES.items():
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
        arrays[f"{name}.weight"] = np.resize(scale * numbers, shape)
        arrays[f"{name}.bias"] = 0.1 * rng.standard_normal(shape[0], dtype="float32")
    return arrays


@pytest.mark.slow
def test_torchvision_logits_equal_numpy():
    """In torch's layout: channels first, flattened as (channels, height, width)."""
    rng = np.random.default_rng(0)
    arrays = state_dict()
    x = rng.uniform(size=(1, 224, 224, 3)).astype("float32")
    network = alexnet.torchvision_alexnet(3)
    found = jax.jit(network.logits)(alexnet.from_torchvision(arrays), x)

    h = (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    for name, stride, padding, pool in (
        *(("features.0", 4, 2, 3), ("features.3", 1, 2, 3), ("features.6", 1, 1, 1)),
        *(("features.8", 1, 1, 1), ("features.10", 1, 1, 3)),
    ):
        kernel = arrays[f"{name}.weight"].transpose(2, 3, 1, 0)
        h = np.maximum(
            numpy_convolution(h, kernel, arrays[f"{name}.bias"], stride, padding, groups=1), 0
        )
        h = numpy_pool(h, pool, 2) if pool > 1 else h
    h = h.transpose(0, 3, 1, 2).reshape(1, -1)
    for name in ("classifier.1", "classifier.4", "classifier.6"):
        h = h @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]
        h = h if name == "classifier.6" else np.maximum(h, 0)
    np.testing.assert_allclose(found, h, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"features.3.bias": None}, "no array 'features.3.bias', expected those of torchvision's"),
        (
            {"features.6.weight": np.zeros((2, 3, 3, 3))},
            r"features\.6\.weight has the shape \(2, 3, 3, 3\), expected",
        ),
        ({"classifier.4.bias": np.zeros(5)}, r"classifier\.4\.bias has the shape \(5,\)"),
        ({"classifier.6.bias": np.float32(1)}, r"classifier\.6\.weight has the shape"),
        ({"features.0.bias": np.full(64, np.nan)}, r"features\.0\.bias must be finite"),
        (
            {"classifier.1.weight": np.zeros((7, 5))},
            r"classifier\.1\.weight has the shape \(7, 5\)",
        ),
    ],
)
def test_other_weights_are_refused(change, message):
    small = {
        f"{name}.{kind}": np.broadcast_to(np.float32(0), size)
        for name, shape in SHAPES.items()
        for kind, size in (("weight", shape), ("bias", shape[:1]))
    }
    arrays = {name: array for name, array in (small | change).items() if array is not None}
    with pytest.raises(ValueError, match=message):
        alexnet.from_torchvision(arrays)
