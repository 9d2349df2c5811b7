"""The experiment on certificates, on little data, for two small networks."""

import numpy as np
import pytest

from jaxadv import certificates, certify, datasets, zoo
from jaxadv.measures import certificates as measure
from jaxadv.measures.certificates import METHODS
from jaxadv.networks import mlp
from jaxadv.training import Schedule, Supervised

COMMAND = certificates
MODELS = ["linear", "small"]
IMAGES, RADII = 16, (0.003, 0.01, 0.1)
OPTIONS = ["--models", *MODELS, "--images", str(IMAGES), "--radii", *map(str, RADII)]


@pytest.fixture(scope="module", autouse=True)
def linear(little_data):
    entry = zoo.Entry(mlp(), Supervised((1e-3,), Schedule(8, 100, 0.01)))
    little_data.setitem(zoo.ZOO, "linear", entry)


def test_ratios(figures):
    linear, small = figures["models"]
    assert [linear["name"], small["name"]] == MODELS
    for model in (linear, small):
        assert model["pairs"] <= IMAGES * 9 and 10 <= model["correct"] <= IMAGES
        assert model["largest"] <= 1
        for kind in ("untargeted", "targeted"):
            assert list(model[kind]) == list(METHODS)
            assert 0 < model[kind]["pair product"] <= model[kind]["CROWN in the box"] <= 1
        for name, (low, high) in model["untargeted_interval"].items():
            assert low <= model["untargeted"][name] <= high <= 1
        assert all(speed > 0 for speed in model["certificates_per_second"].values())
    assert linear["untargeted"]["CROWN in the box"] == pytest.approx(1, abs=2e-3)
    assert linear["untargeted"]["CROWN"] == pytest.approx(linear["untargeted"]["pair product"])
    assert small["untargeted"]["ECLipsE-Fast"] < small["untargeted"]["CROWN"] < 0.95


def test_shares_are_counted_from_the_bounds(run, figures, splits):
    images, labels = (array[:IMAGES] for array in splits["test"])
    cache, info = run.folder / "cache", datasets.info("mnist")
    for name, model in zip(MODELS, figures["models"], strict=True):
        trained = zoo.load(name, splits, 0, info, cache_dir=cache)
        correct = np.argmax(trained.network.logits(trained.params, images), axis=1) == labels
        assert model["correct"] == correct.sum()
        bounds = certify.crown(certify.affine_layers(trained.network, trained.params), images)
        bounds[np.arange(IMAGES), labels] = np.inf
        nearest = bounds.min(axis=1)[correct]
        expected = [np.mean(nearest > radius) for radius in RADII]
        assert model["certified"] == pytest.approx(expected)
        assert 0 < model["certified"][0] and model["broken"][2] > 0.8
        for certified, broken in zip(model["certified"], model["broken"], strict=True):
            assert certified + broken <= 1 + 1e-9


def test_files(run, figures):
    folder = run.folder / "out"
    assert {path.name for path in folder.iterdir()} == {
        *("certificates.json", "certificates.md", "certificates.png", "report.html"),
    }
    text = (folder / "certificates.md").read_text(encoding="utf-8")
    assert "| linear |" in text and "RMS 0.003" in text and "First 16 test images" in text


def test_a_lower_bound_above_the_distortion_found_is_an_error(run, figures, monkeypatch, capsys):
    def wrong(mlp, x, balls):
        return np.full((len(x), 10), 0.5) * (np.arange(len(x)) == 3)[:, None]

    monkeypatch.setattr(measure, "METHODS", dict(METHODS) | {"magic": wrong})
    assert run.command("--models", "linear", out="magic") == 2
    message = capsys.readouterr().err
    assert "magic is wrong for linear: the lower bound for image 3 and target 0 is 0.5" in message
    assert list((run.folder / "magic").iterdir()) == []


def test_a_lower_bound_of_nan_is_an_error(run):
    model = zoo.Model("some", mlp(), {}, 0.0, 0.0)
    found, proven = np.full((2, 3), np.inf), np.zeros((2, 3))
    proven[1, 2] = np.nan
    bounds = measure.Bounds(model, np.zeros(2, int), found, {"magic": proven}, {})
    with pytest.raises(ValueError, match="image 1 and target 2 is nan, but inf was found"):
        measure.verify(bounds)


@pytest.mark.parametrize(
    "options, message",
    [
        ("--models FC10(1) LeNet-5", "cannot certify LeNet-5: lower bounds need FullyConnected"),
        ("--models CNN", "got Convolution"),
        ("--models nowhere:model", "cannot load model 'nowhere:model'"),
        ("--images 0", "images must be from 1 to 10000, got 0"),
        ("--radii -1", "radii must not be negative, infinite or NaN, got (-1.0,)"),
        ("--balls 1", "balls must be at least 2, got 1"),
    ],
)
def test_bad_settings_end_before_any_work(refused, options, message):
    assert message in refused(options)
