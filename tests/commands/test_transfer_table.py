"""Tables 1 and 2 on little data, for two small networks."""

import numpy as np
import pytest

from jaxadv import datasets, transfer_table, zoo
from jaxadv.attacks.sampling import wrong_targets
from jaxadv.training import Supervised

COMMAND = transfer_table
MODELS = ["FC10(1e-2)", "small"]
IMAGES = 32
OPTIONS = ["--models", *MODELS, "--images", str(IMAGES), "--seed", "3"]
TIMES = ("seconds", "versions", "device", "settings", "source")


@pytest.fixture(scope="module", autouse=True)
def stronger_decay(little_data):
    """The same network with more weight decay, under a name that the paper has."""
    network, recipe = zoo.ZOO["small"]
    recipe = Supervised((1e-3, 1e-2), recipe.schedule)
    little_data.setitem(zoo.ZOO, "FC10(1e-2)", zoo.Entry(network, recipe))


def without_times(figures):
    return {key: value for key, value in figures.items() if key not in TIMES}


def test_json(figures):
    assert set(figures) == {
        *("settings", "dataset", "images", "seed", "seconds", "versions", "device", "source"),
        *("models", "rows", "columns", "robustness"),
    }
    assert (figures["dataset"], figures["images"], figures["seed"]) == ("mnist", IMAGES, 3)
    noise = ["noise 0.1", "noise 0.3"]
    assert [row["name"] for row in figures["rows"]] == [*MODELS, *noise]
    assert figures["columns"] == MODELS
    assert figures["settings"]["attack"]["c_steps"] == 4
    assert figures["settings"]["models"] == MODELS
    assert [model.pop("name") for model in map(dict, figures["models"])] == MODELS
    for model in figures["models"]:
        assert set(model) == {
            *("name", "train_error", "test_error"),
            *("distortion", "distortion_interval", "success_rate", "evaluations", "utilisation"),
            "paper",
        }
        assert 0 < model["train_error"] < model["test_error"] < 0.3
        low, high = model["distortion_interval"]
        assert 0.01 < low < model["distortion"] < high < 0.3
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
    assert [model["name"] for model in robust["models"]] == MODELS
    for model in robust["models"]:
        originals, examples, amplified = (
            model[kind] for kind in ("originals", "examples", "amplified")
        )
        assert originals["unchanged"] <= 0.1
        assert examples["unchanged"] == amplified["unchanged"] == amplified["rounded"] == 1
        assert amplified["noise"][0] == 1
        assert [len(kind["noise"]) for kind in (originals, examples, amplified)] == [5] * 3


def test_adversarial_examples(run, figures, splits):
    images, labels = (array[:IMAGES] for array in splits["train"])
    with np.load(run.folder / "out" / "adversarial.npz") as file:
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


def test_examples_are_classified_as_their_targets(run, figures, splits):
    with np.load(run.folder / "out" / "adversarial.npz") as file:
        x_adv, targets = file["small/images"], file["targets"]
    info = datasets.info("mnist")
    model = zoo.load("small", splits, 3, info, cache_dir=run.folder / "cache")
    hidden, softmax = model.params.values()
    h = 1 / (1 + np.exp(-x_adv.reshape(IMAGES, -1) @ hidden["kernel"] - hidden["bias"]))
    logits = h @ softmax["kernel"] + softmax["bias"]
    np.testing.assert_array_equal(np.argmax(logits, axis=1), targets)


def test_files(run, figures):
    out = run.folder / "out"
    assert {path.name for path in out.iterdir()} == {
        *("transfer_table.json", "transfer_table.md", "transfer_table.png", "report.html"),
        *("examples.png", "robustness.png", "adversarial.npz"),
    }
    text = (out / "transfer_table.md").read_text(encoding="utf-8")
    assert "**Table 1" in text and "**Table 2" in text and "seed 3" in text
    for model in figures["models"]:
        assert f"\n| {model['name']} | {100 * model['train_error']:.2f}" in text


@pytest.fixture
def not_drawn(monkeypatch):
    """What takes most of the time of a run again."""
    for report in (transfer_table.report, transfer_table.robustness):
        monkeypatch.setattr(report, "draw", lambda *args: None)


@pytest.mark.usefixtures("not_drawn")
def test_second_run_trains_and_attacks_nothing(run, figures, monkeypatch, capsys):
    def fail(*args, **kwargs):
        pytest.fail("computed again")

    monkeypatch.setattr("jaxadv.training.train", fail)
    monkeypatch.setattr("jaxadv.attacks.stored.minimal_adversarial", fail)
    again = run(out="again")
    assert without_times(again) == without_times(figures)
    output = capsys.readouterr().out
    assert "Table 1" in output and "Table 2" in output and str(run.folder / "again") in output
    first, second = ((run.folder / name / "adversarial.npz") for name in ("out", "again"))
    with np.load(first) as a, np.load(second) as b:
        for key in a.files:
            np.testing.assert_array_equal(a[key], b[key], strict=True)


@pytest.mark.usefixtures("not_drawn")
def test_retrain_trains_again(run, figures):
    [kept] = (run.folder / "cache" / "weights").glob("small-*")
    before = kept.stat().st_mtime_ns
    run("--models", "small", out="again")
    assert kept.stat().st_mtime_ns == before
    run("--retrain", "--models", "small", out="again")
    assert kept.stat().st_mtime_ns > before
