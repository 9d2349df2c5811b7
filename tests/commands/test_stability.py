"""Lipschitz bounds as a command, on small networks."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from jaxadv import datasets, stability, zoo
from jaxadv.networks import Network, alexnet, efficientnet, layer_bounds
from jaxadv.reports import paper
from jaxadv.zoo.registry import Pretrained

COMMAND = stability
OPTIONS = ["--count", "30"]


def test_layers_of_a_trained_network(run, splits, capsys):
    [model] = run("--models", "small")["models"]
    cache = run.folder / "cache"
    params = zoo.load("small", splits, 0, datasets.info("mnist"), cache_dir=cache).params
    assert [layer["name"] for layer in model["layers"]] == ["hidden1", "softmax"]
    for layer, activation in zip(model["layers"], (0.25, 1), strict=True):
        norm = np.linalg.norm(params[layer["name"]]["kernel"], 2)
        assert layer["norm"] == pytest.approx(norm, rel=3e-5) and layer["norm"] >= norm
        assert (layer["activation"], layer["normalisation"], layer["pooling"]) == (activation, 1, 1)
        assert layer["product"] == pytest.approx(norm * activation, rel=3e-5)
    whole = model["network"]
    for row in (*model["layers"], whole):
        assert 0 < row["jacobian_mean"] <= row["jacobian_max"] <= row["product"]
    assert model["layers"][1]["jacobian_mean"] > 0.99 * model["layers"][1]["product"]
    text = (run.folder / "out" / "stability.md").read_text(encoding="utf-8")
    assert f"| {whole['jacobian_mean']:.4g} | {whole['jacobian_max']:.4g} |" in text
    total = np.prod([layer["product"] for layer in model["layers"]])
    assert f"product L = {total:.4g}" in text and "--weights FILE" in text
    assert "| hidden1 | 784×20 |" in text
    assert "small: Lipschitz constants" in capsys.readouterr().out


def test_networks_of_photographs(run, monkeypatch, tmp_path, capsys):
    """A small one of the kind, at photographs of a folder, of which the first counts."""
    network = efficientnet.efficientnet_lite(0, classes=4, side=32)
    network = Network((*network.layers[:3], *network.layers[-2:]), network.input_shape)
    params = network.init(jax.random.key(0))
    entry = Pretrained(lambda: network, lambda cache_dir: (network, params))
    monkeypatch.setitem(zoo.PRETRAINED, "photographic", entry)
    for name in ("1.png", "2.png"):
        Image.fromarray(np.full((40, 30, 3), 255, np.uint8)).save(tmp_path / name)
    options = "--models", "photographic", "small", "--images", str(tmp_path)
    mobile, small = run(*options, "--count", "1", out="mixed")["models"]
    assert mobile["network"]["images"] == 1 and small["name"] == "small"
    (tmp_path / "1.png").write_bytes(b"none")
    assert run.command(*options, out="broken") == 2
    assert "1.png: it is no PNG or JPEG image" in capsys.readouterr().err
    rows = *mobile["layers"], mobile["network"]
    assert all(0 < row["jacobian_max"] <= row["product"] * (1 + 1e-6) for row in rows)


def test_random_alexnet_stands_beside_the_paper(run, monkeypatch):
    """Of its first layer: NumPy's norms at all frequencies of the torus are the truth."""
    conv1, *_ = alexnet.alexnet().layers
    network = Network((conv1,), (67, 67, 3))
    monkeypatch.setattr(alexnet, "alexnet", lambda: network)
    [model] = run("--random", "--seed", "5", "--count", "0")["models"]
    [layer] = model["layers"]
    kernel = np.asarray(network.init(jax.random.key(5))["conv1"]["kernel"])
    padded = np.zeros((68, 68, 3, 96))
    padded[:11, :11] = kernel
    waves = np.fft.fft2(padded, axes=(0, 1)).reshape(4, 17, 4, 17, 3, 96)  # 4 × 4 aliases
    blocks = waves.transpose(1, 3, 5, 0, 2, 4).reshape(17, 17, 96, 48)
    norm = np.sqrt(np.linalg.eigvalsh(blocks.conj().swapaxes(2, 3) @ blocks).max()) / 4
    assert layer["norm"] == pytest.approx(norm, rel=3e-5) and layer["norm"] >= norm
    assert layer["shape"] == [11, 11, 3, 96]
    assert layer["activation"] == 1 and layer["pooling"] == 2
    assert layer["normalisation"] == pytest.approx((1 + 4**0.75 * (3 / 7) ** 1.75) * 2**-0.75)
    product = norm * layer["normalisation"] * 2
    assert layer["product"] == pytest.approx(product, rel=3e-5)
    text = (run.folder / "out" / "stability.md").read_text(encoding="utf-8")
    assert f"| conv1 | 11×11×3×96 | {layer['norm']:.4g} ({paper.TABLE_5['conv1']:g}) |" in text


def test_weights_from_a_file(run, monkeypatch, tmp_path):
    """Of the first layers: one tap in a kernel, whose norm it is, in torchvision's layout."""
    expected = jax.eval_shape(alexnet.torchvision_alexnet(7).init, jax.random.key(0))
    arrays = {}
    for name, prefix in alexnet.TORCHVISION_LAYERS.items():
        *inner, out = expected[name]["kernel"].shape
        arrays[f"{prefix}.weight"] = np.zeros((out, *inner[::-1]), "float32")
        arrays[f"{prefix}.bias"] = np.zeros(out, "float32")
    arrays["features.0.weight"][5, 2, 7, 3] = 1.5  # out, in, height, width
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    read = []

    def bounds_of_two_layers(network, params):
        read.append(params)
        return layer_bounds(Network(network.layers[:2], network.input_shape), params)

    monkeypatch.setattr(stability, "layer_bounds", bounds_of_two_layers)
    [model] = run("--weights", str(tmp_path / "x.safetensors"), "--count", "0")["models"]
    standardise, conv1 = model["layers"]
    assert read[0]["conv1"]["kernel"][7, 3, 2, 5] == 1.5 and len(read[0]["fc3"]["bias"]) == 7
    assert conv1["norm"] == pytest.approx(1.5, rel=3e-5)
    assert conv1["product"] == pytest.approx(3, rel=3e-5)  # overlapping pools
    assert standardise["product"] == pytest.approx(1 / 0.224, rel=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ("--weights none.pth", "there is no file none.pth"),
        ("--weights settings.toml --random", "weights and random exclude each other"),
        ("--weights settings.toml", "settings.toml is not a file of torch tensors"),
        ("--images .", "images are photographs, which none of ['FC100-100-10',"),
        ("--random --images none", "none is not a folder"),
        ("--models none", "unknown model 'none'"),
        ("--count -1", "count must not be negative, infinite or NaN, got (-1,)"),
    ],
)
def test_bad_settings_end_before_any_work(refused, tmp_path, options, message):
    (tmp_path / "settings.toml").write_text("no weights")
    assert message in refused(options)
