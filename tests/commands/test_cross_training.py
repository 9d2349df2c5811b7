"""Disjoint training sets, on little data, for two small networks."""

import numpy as np
import pytest

from jaxadv import cross_training, datasets, zoo
from jaxadv.datasets import Dataset

COMMAND = cross_training
MODELS = ["small", "small'"]
IMAGES = 32
OPTIONS = ["--models", *MODELS, "--images", str(IMAGES)]


def numpy_error(params, images, labels):
    h = images.reshape(len(images), -1) @ params["hidden1"]["kernel"] + params["hidden1"]["bias"]
    logits = 1 / (1 + np.exp(-h)) @ params["softmax"]["kernel"] + params["softmax"]["bias"]
    return np.mean(np.argmax(logits, axis=1) != labels)


def test_each_network_knows_its_half(figures):
    first, second = figures["models"]
    assert (first["trained_on"], second["trained_on"]) == ("P1", "P2")
    assert first["part_1_error"] == pytest.approx(first["train_error"])
    assert second["part_2_error"] == pytest.approx(second["train_error"])
    assert first["part_1_error"] < first["part_2_error"]
    assert second["part_2_error"] < second["part_1_error"]


def test_networks_are_those_of_the_halves(run, figures, splits):
    images, labels = splits["train"]
    halves = [Dataset(images[:1000], labels[:1000]), Dataset(images[1000:], labels[1000:])]
    cache, info = run.folder / "cache", datasets.info("mnist")
    for part, (model, half) in enumerate(zip(figures["models"], halves, strict=True)):
        on_half = {"train": half, "test": splits["test"]}
        params = zoo.load("small", on_half, part, info, cache_dir=cache).params
        assert len(list((cache / "weights").iterdir())) == 2  # it was not trained again
        errors = [model[f"part_{i}_error"] for i in (1, 2)]
        assert errors == [pytest.approx(numpy_error(params, *half)) for half in halves]


def test_rows(figures):
    assert figures["columns"] == MODELS
    assert [row["name"] for row in figures["rows"]] == [
        *MODELS,
        *(f"{name} to 0.1" for name in MODELS),
        *(f"{name} to 0.1 clipped" for name in MODELS),
        *("noise 0.06", "noise 0.1"),
    ]
    error = np.array([row["error"] for row in figures["rows"]])
    np.testing.assert_array_equal(np.diagonal(error[:2]), 1)
    np.testing.assert_allclose(error * IMAGES, np.rint(error * IMAGES), atol=1e-6)
    assert (error[-2:] < 0.3).all()
    rms = [row["distortion"] for row in figures["rows"]]
    assert rms[2:4] == pytest.approx([0.1, 0.1], rel=0.03)  # r = 0 of some images stays 0
    assert (np.array(rms[4:6]) < rms[2:4]).all()
    assert rms[6:] == pytest.approx([0.06, 0.1], rel=0.02)


def test_examples_are_of_test_images(run, figures, splits):
    images = splits["test"].images[:IMAGES]
    with np.load(run.folder / "out" / "adversarial.npz") as file:
        for model in figures["models"]:
            x_adv, success = file[f"{model['name']}/images"], file[f"{model['name']}/success"]
            rms = np.sqrt(np.mean((x_adv - images) ** 2, axis=(1, 2, 3)))
            assert model["distortion"] == pytest.approx(rms[success].mean(), rel=1e-5)


def test_files(run, figures):
    folder = run.folder / "out"
    assert {path.name for path in folder.iterdir()} == {
        *("cross_training.json", "cross_training.md", "cross_training.png", "report.html"),
        *("examples.png", "adversarial.npz"),
    }
    text = (folder / "cross_training.md").read_text(encoding="utf-8")
    assert "**Table 3" in text and "**Table 4" in text and "32 test images" in text


@pytest.mark.parametrize(
    "options, message",
    [
        ("--models FC10(1)''", 'unknown model "FC10(1)\'"'),
        ("--models FC10(1)' FC10(1)'", "each once"),
        ("--images 10001", "images must be from 1 to 10000, got 10001"),
        (
            "--amplify-to -0.1",
            "amplify_to must not be negative, infinite or NaN, got (-0.1,)",
        ),
        ("--noise nan", "noise must not be negative, infinite or NaN, got (nan,)"),
    ],
)
def test_bad_settings_end_before_any_work(refused, options, message):
    assert message in refused(options)
