"""The experiment on certificates, on little data, for two small networks."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxadv import certificates, zoo
from jaxadv import certify as lower_bounds
from jaxadv.certificates import METHODS, Config
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import Dataset
from jaxadv.networks import mlp
from jaxadv.runs import console as command
from jaxadv.training import Schedule, Supervised

ENTRIES = {
    "linear": zoo.Entry(mlp(), Supervised((1e-3,), Schedule(8, 100, 0.01))),
    "small": zoo.Entry(mlp(20), Supervised((1e-5, 1e-6), Schedule(8, 100, 0.01))),
}
IMAGES, RADII = 30, (0.003, 0.01, 0.1)


@pytest.fixture(scope="module")
def splits(mnist):
    return {
        "train": Dataset(mnist.images[:2000], mnist.labels[:2000]),
        "test": Dataset(mnist.images[2000:2500], mnist.labels[2000:2500]),
    }


@pytest.fixture
def quick(tmp_path_factory, monkeypatch, splits):
    """Arguments for the small experiment, less --out; trained weights and attacks are kept."""
    for name, entry in ENTRIES.items():
        monkeypatch.setitem(zoo.ZOO, name, entry)
    monkeypatch.setattr(datasets, "load", lambda name, data_dir: splits)
    monkeypatch.setattr(command, "use_all_cores", lambda: None)
    cache = tmp_path_factory.getbasetemp() / "certificates-cache"
    options = ["--models", *ENTRIES, "--images", str(IMAGES), "--radii", *map(str, RADII)]
    return [*options, "--attack.c-steps", "4", "--cache-dir", str(cache)]


@pytest.fixture
def folder(tmp_path_factory, quick):
    folder = tmp_path_factory.getbasetemp() / "certificates"
    if not folder.exists():
        assert certificates.main([*quick, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def figures(folder):
    return json.loads((folder / "certificates.json").read_text(encoding="utf-8"))


def test_ratios(figures):
    linear, small = figures["models"]
    assert [linear["name"], small["name"]] == list(ENTRIES)
    for model in (linear, small):
        assert model["pairs"] <= IMAGES * 9 and 20 <= model["correct"] <= IMAGES
        assert model["largest"] <= 1
        for kind in ("untargeted", "targeted"):
            assert list(model[kind]) == list(METHODS)
            assert 0 < model[kind]["pair product"] <= model[kind]["CROWN in the box"] <= 1
        assert all(speed > 0 for speed in model["certificates_per_second"].values())
    assert linear["untargeted"]["CROWN in the box"] == pytest.approx(1, abs=2e-3)
    assert linear["untargeted"]["CROWN"] == pytest.approx(linear["untargeted"]["pair product"])
    assert small["untargeted"]["ECLipsE-Fast"] < small["untargeted"]["CROWN"] < 0.95


def test_shares_are_counted_from_the_bounds(figures, quick, splits):
    images, labels = (array[:IMAGES] for array in splits["test"])
    cache = Path(quick[-1])
    for name, model in zip(ENTRIES, figures["models"], strict=True):
        trained = zoo.load(name, splits, 0, datasets.info("mnist"), cache_dir=cache)
        correct = np.argmax(trained.network.logits(trained.params, images), axis=1) == labels
        assert model["correct"] == correct.sum()
        bounds = lower_bounds.crown(
            lower_bounds.affine_layers(trained.network, trained.params), images
        )
        bounds[np.arange(IMAGES), labels] = np.inf
        nearest = bounds.min(axis=1)[correct]
        expected = [np.mean(nearest > radius) for radius in RADII]
        assert model["certified"] == pytest.approx(expected)
        assert 0 < model["certified"][0] and model["broken"][2] > 0.8
        for certified, broken in zip(model["certified"], model["broken"], strict=True):
            assert certified + broken <= 1 + 1e-9


def test_files(folder):
    assert {path.name for path in folder.iterdir()} == {
        *("certificates.json", "certificates.md", "certificates.png"),
    }
    text = (folder / "certificates.md").read_text(encoding="utf-8")
    assert "| linear |" in text and "RMS 0.003" in text and "First 30 test images" in text


def test_a_lower_bound_above_the_distortion_found_is_an_error(quick, tmp_path, monkeypatch, capsys):
    def wrong(mlp, x, balls):
        return np.full((len(x), 10), 0.5) * (np.arange(len(x)) == 3)[:, None]

    monkeypatch.setattr(certificates, "METHODS", dict(METHODS) | {"magic": wrong})
    assert certificates.main([*quick, "--out", str(tmp_path)]) != 0
    message = capsys.readouterr().err
    assert "magic is wrong for linear: the lower bound for image 3 and target 0 is 0.5" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ("--models FC10(1) LeNet-5", "cannot certify LeNet-5: lower bounds need FullyConnected"),
        ("--models CNN", "got Convolution"),
        ("--models nowhere:model", "cannot import model 'nowhere:model'"),
        ("--images 0", "images must be from 1 to 10000, got 0"),
        ("--radii -1", "radii must not be negative, infinite or NaN, got (-1.0,)"),
        ("--balls 1", "balls must be at least 2, got 1"),
    ],
)
def test_bad_settings_end_before_any_work(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setattr(datasets, "load", lambda *args, **kwargs: pytest.fail("worked"))
    monkeypatch.chdir(tmp_path)
    assert certificates.main(["--cache-dir", "cache", *options.split()]) == 2
    assert message in capsys.readouterr().err


def test_defaults_are_those_of_the_configuration_file():
    path = Path(__file__).parent.parent / "configs" / "certificates.toml"
    different = Config(models=("x",), images=1, radii=(9.0,), balls=3)
    assert command.from_toml(different, path) == Config()
