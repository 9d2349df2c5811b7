"""Lipschitz bounds as a command, on small networks."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from jaxadv import stability, zoo
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import Dataset
from jaxadv.networks import Network, alexnet, mlp
from jaxadv.reports import paper
from jaxadv.runs import console as command
from jaxadv.stability import Config
from jaxadv.training import Schedule, Supervised

ENTRY = zoo.Entry(mlp(20), Supervised((1e-5, 1e-6), Schedule(1, 100, 0.01)))


@pytest.fixture
def run(tmp_path, monkeypatch, mnist):
    """Runs the command; returns its figures."""
    splits = {name: Dataset(mnist.images[:500], mnist.labels[:500]) for name in ("train", "test")}
    monkeypatch.setitem(zoo.ZOO, "small", ENTRY)
    monkeypatch.setattr(datasets, "load", lambda name, data_dir: splits)
    monkeypatch.setattr(command, "use_all_cores", lambda: None)

    def run(*options):
        directories = ["--out", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache")]
        assert stability.main([*options, *directories]) == 0
        return json.loads((tmp_path / "out" / "stability.json").read_text(encoding="utf-8"))

    run.splits, run.cache, run.out = splits, tmp_path / "cache", tmp_path / "out"
    return run


def test_layers_of_a_trained_network(run, capsys):
    [model] = run("--models", "small")["models"]
    params = zoo.load("small", run.splits, 0, datasets.info("mnist"), cache_dir=run.cache).params
    assert [layer["name"] for layer in model["layers"]] == ["hidden1", "softmax"]
    for layer, activation in zip(model["layers"], (0.25, 1), strict=True):
        norm = np.linalg.norm(params[layer["name"]]["kernel"], 2)
        assert layer["norm"] == pytest.approx(norm, rel=3e-5) and layer["norm"] >= norm
        assert (layer["activation"], layer["normalisation"], layer["pooling"]) == (activation, 1, 1)
        assert layer["product"] == pytest.approx(norm * activation, rel=3e-5)
    text = (run.out / "stability.md").read_text(encoding="utf-8")
    total = np.prod([layer["product"] for layer in model["layers"]])
    assert f"product L = {total:.4g}" in text and "--weights FILE" in text
    assert "| hidden1 | 784×20 |" in text
    assert "small: Lipschitz constants" in capsys.readouterr().out


def test_random_alexnet_stands_beside_the_paper(run, monkeypatch):
    conv1, *_ = alexnet.alexnet().layers
    network = Network((conv1,), (67, 67, 3))
    monkeypatch.setattr(alexnet, "alexnet", lambda: network)
    [model] = run("--random")["models"]
    [layer] = model["layers"]
    assert layer["shape"] == [11, 11, 3, 96]
    assert layer["pooling"] == 2 and layer["normalisation"] > 1
    text = (run.out / "stability.md").read_text(encoding="utf-8")
    assert f"({paper.TABLE_5['conv1']:g})" in text


def test_weights_from_a_file(run, monkeypatch, tmp_path):
    def fake(arrays):
        assert set(arrays) == {"x"}
        return {"fc3": {"kernel": arrays["x"], "bias": np.zeros(3, "float32")}}

    last = alexnet.torchvision_alexnet(3).layers[-1]
    monkeypatch.setattr(alexnet, "from_torchvision", fake)
    monkeypatch.setattr(alexnet, "torchvision_alexnet", lambda classes: Network((last,), (4,)))
    kernel = np.float32([[3, 0, 0], [0, 2, 0], [0, 0, 1], [0, 0, 0]])
    safetensors.numpy.save_file({"x": kernel}, tmp_path / "x.safetensors")
    [model] = run("--weights", str(tmp_path / "x.safetensors"))["models"]
    assert model["layers"][0]["norm"] == pytest.approx(3, rel=3e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ("--weights none.pth", "there is no file none.pth"),
        ("--weights settings.toml --random", "weights and random exclude each other"),
        ("--weights settings.toml", "settings.toml is not a file of torch tensors"),
        ("--models none", "unknown model 'none'"),
    ],
)
def test_bad_settings_end_before_any_work(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setattr(datasets, "load", lambda *args, **kwargs: pytest.fail("worked"))
    monkeypatch.chdir(tmp_path)
    Path("settings.toml").write_text("no weights")
    assert stability.main(["--cache-dir", "cache", *options.split()]) == 2
    assert message in capsys.readouterr().err


def test_defaults_are_those_of_the_configuration_file():
    path = Path(__file__).parent.parent / "configs" / "stability.toml"
    assert command.from_toml(Config(), path) == Config()
