"""The whole experiment on little data, for two small networks."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxadv import training, transfer_table, zoo
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import Dataset
from jaxadv.networks import mlp
from jaxadv.runs import console as command
from jaxadv.training import Schedule, Supervised
from jaxadv.transfer_table import Config

NETWORK, SCHEDULE = mlp(20), Schedule(8, 100, 0.01)  # shared, so that the attack compiles once
MODELS = {
    "FC10(1e-2)": zoo.Entry(NETWORK, Supervised((1e-3, 1e-2), SCHEDULE)),
    "small": zoo.Entry(NETWORK, Supervised((1e-5, 1e-6), SCHEDULE)),
}
IMAGES = 20
OPTIONS = ["--models", *MODELS, "--images", str(IMAGES), "--seed", "3", "--attack.c-steps", "4"]
TIMES = ("seconds", "versions", "device", "settings")


@pytest.fixture(scope="module", autouse=True)
def small_experiment(mnist):
    """Little data, small networks, and the devices that JAX has started with."""
    splits = {
        "train": Dataset(mnist.images[:2000], mnist.labels[:2000]),
        "test": Dataset(mnist.images[2000:2500], mnist.labels[2000:2500]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, entry in MODELS.items():
            patch.setitem(zoo.ZOO, name, entry)
        patch.setattr(datasets, "load", lambda name, data_dir: splits)
        patch.setattr(command, "use_all_cores", lambda: None)
        yield splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("transfer_table")


def run(folder, out, cache, *options):
    """Runs the command; returns its figures."""
    directories = ["--out", str(folder / out), "--cache-dir", str(folder / cache)]
    assert transfer_table.main([*OPTIONS, *directories, *options]) == 0
    return json.loads((folder / out / "transfer_table.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def figures(folder):
    return run(folder, "out", "cache", "--attack.batch-size", "8")


def without_times(figures):
    return {key: value for key, value in figures.items() if key not in TIMES}


def test_json(figures):
    assert set(figures) == {
        *("settings", "dataset", "images", "seed", "seconds", "versions", "device"),
        *("models", "rows", "columns", "robustness"),
    }
    assert (figures["dataset"], figures["images"], figures["seed"]) == ("mnist", IMAGES, 3)
    noise = ["noise 0.1", "noise 0.3"]
    assert [row["name"] for row in figures["rows"]] == [*MODELS, *noise]
    assert figures["columns"] == list(MODELS)
    assert figures["settings"]["attack"]["c_steps"] == 4
    assert figures["settings"]["models"] == list(MODELS)
    assert [model.pop("name") for model in map(dict, figures["models"])] == list(MODELS)
    for model in figures["models"]:
        assert set(model) == {
            *("name", "train_error", "test_error"),
            *("distortion", "success_rate", "evaluations", "utilisation", "paper"),
        }
        assert 0 < model["train_error"] < model["test_error"] < 0.3
        assert 0.01 < model["distortion"] < 0.3
        assert model["success_rate"] == 1
        assert model["evaluations"] > 1
        assert 0 < model["utilisation"] <= 1
    assert figures["seconds"]["total"] == pytest.approx(
        sum(time for stage, time in figures["seconds"].items() if stage != "total"), abs=0.3
    )


def test_each_model_errs_on_its_own_examples(figures):
    error = np.array([row["error"] for row in figures["rows"][:2]])
    np.testing.assert_array_equal(np.diagonal(error), 1)
    assert error.shape == (2, 2) and error.min() >= 0
    np.testing.assert_allclose(error * IMAGES, np.rint(error * IMAGES), atol=1e-9)


def test_noise(figures):
    for stddev, row in zip((0.1, 0.3), figures["rows"][2:], strict=True):
        assert row["distortion"] == pytest.approx(stddev, rel=0.02)
        assert len(row["error"]) == 2 and 0 <= min(row["error"]) <= max(row["error"]) <= 0.5


def test_robustness(figures):
    robust = figures["robustness"]
    assert [model["name"] for model in robust["models"]] == list(MODELS)
    for model in robust["models"]:
        originals, examples, amplified = (
            model[kind] for kind in ("originals", "examples", "amplified")
        )
        assert originals["unchanged"] <= 0.1
        assert examples["unchanged"] == amplified["unchanged"] == amplified["rounded"] == 1
        assert amplified["noise"][0] == 1
        assert [len(kind["noise"]) for kind in (originals, examples, amplified)] == [5] * 3


def test_adversarial_examples(folder, figures, small_experiment):
    images, labels = (array[:IMAGES] for array in small_experiment["train"])
    with np.load(folder / "out" / "adversarial.npz") as file:
        arrays = dict(file)
    assert set(arrays) == {"targets"} | {f"{m}/{a}" for m in MODELS for a in ("images", "success")}
    np.testing.assert_array_equal(arrays["targets"], wrong_targets(labels, 10, seed=3))
    for model in figures["models"]:
        x_adv, success = arrays[f"{model['name']}/images"], arrays[f"{model['name']}/success"]
        assert x_adv.dtype == np.float32 and x_adv.shape == images.shape
        assert x_adv.min() >= 0 and x_adv.max() <= 1
        assert success.dtype == bool and success.shape == (IMAGES,)
        rms = np.sqrt(np.mean((x_adv - images) ** 2, axis=(1, 2, 3)))
        assert model["distortion"] == pytest.approx(rms[success].mean(), rel=1e-5)
        assert model["success_rate"] == success.mean()


def test_examples_are_classified_as_their_targets(folder, figures, small_experiment):
    with np.load(folder / "out" / "adversarial.npz") as file:
        x_adv, targets = file["small/images"], file["targets"]
    hidden, softmax = zoo.load(
        "small", small_experiment, 3, datasets.info("mnist"), cache_dir=folder / "cache"
    ).params.values()
    h = 1 / (1 + np.exp(-x_adv.reshape(IMAGES, -1) @ hidden["kernel"] - hidden["bias"]))
    logits = h @ softmax["kernel"] + softmax["bias"]
    np.testing.assert_array_equal(np.argmax(logits, axis=1), targets)


def test_files(folder, figures):
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == {
        *("transfer_table.json", "transfer_table.md", "transfer_table.png"),
        *("examples.png", "robustness.png", "adversarial.npz"),
    }
    text = (out / "transfer_table.md").read_text(encoding="utf-8")
    assert "**Table 1" in text and "**Table 2" in text and "seed 3" in text
    for model in figures["models"]:
        assert f"\n| {model['name']} | {100 * model['train_error']:.2f}" in text
    for name in ("transfer_table.png", "examples.png", "robustness.png"):
        assert (out / name).stat().st_size > 10_000


def test_second_run_trains_and_attacks_nothing(folder, figures, monkeypatch, capsys):
    def fail(*args, **kwargs):
        pytest.fail("computed again")

    monkeypatch.setattr(training, "train", fail)
    monkeypatch.setattr("jaxadv.measures.transfer.minimal_adversarial", fail)
    again = run(folder, "again", "cache")
    assert without_times(again) == without_times(figures)
    output = capsys.readouterr().out
    assert "Table 1" in output and "Table 2" in output and str(folder / "again") in output
    first, second = ((folder / name / "adversarial.npz") for name in ("out", "again"))
    with np.load(first) as a, np.load(second) as b:
        for key in a.files:
            np.testing.assert_array_equal(a[key], b[key], strict=True)


def test_figures_do_not_depend_on_the_batch_size(folder, figures):
    other = run(folder, "other", "other cache", "--attack.batch-size", "16")
    both = [without_times(run_figures) for run_figures in (other, figures)]
    for one in both:  # of the models' figures, the utilisation does
        one["models"] = [{**model, "utilisation": None} for model in one["models"]]
    assert both[0] == both[1]


def test_retrain_trains_again(folder, figures, monkeypatch):
    trained, train = [], training.train
    monkeypatch.setattr(training, "train", lambda *args: (trained.append(args), train(*args))[1])
    run(folder, "again", "cache", "--retrain", "--models", "small")
    assert len(trained) == 1


def test_defaults_are_those_of_the_configuration_file():
    path = Path(__file__).parent.parent / "configs" / "transfer_table.toml"
    assert command.from_toml(Config(), path) == Config()
    written = set(command.tomllib.loads(path.read_text(encoding="utf-8")))
    assert written >= {"dataset", "models", "images", "seed", "noise", "attack", "amplification"}
