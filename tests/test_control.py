"""Control of the layers' norms, in training and as a command, on little data."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxadv import control, training, zoo
from jaxadv.control import Config
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import Dataset
from jaxadv.networks import cnn, mlp
from jaxadv.runs import console as command
from jaxadv.training import Controlled, Schedule, Supervised

RECIPE = Supervised((1e-5, 1e-6), Schedule(4, 100, 0.01))
ENTRY = zoo.Entry(mlp(20), RECIPE)


@pytest.fixture(scope="module")
def splits(mnist):
    return {
        "train": Dataset(mnist.images[:2000], mnist.labels[:2000]),
        "test": Dataset(mnist.images[2000:2500], mnist.labels[2000:2500]),
    }


def norms(params):
    return {name: np.linalg.norm(layer["kernel"], 2) for name, layer in params.items()}


def test_the_penalty_lowers_the_norms(splits):
    found = [
        norms(training.train(ENTRY.network, splits["train"], recipe, jax.random.key(0)))
        for recipe in (RECIPE, Controlled(RECIPE, 1e-2), Controlled(RECIPE, 0.1))
    ]
    for layer in found[0]:
        assert found[0][layer] > 1.1 * found[1][layer] > 1.2 * found[2][layer]


def test_no_control_is_none(splits):
    plain, controlled = (
        training.train(ENTRY.network, splits["train"], recipe, jax.random.key(0))
        for recipe in (RECIPE, Controlled(RECIPE))
    )
    jax.tree.map(np.testing.assert_array_equal, plain, controlled)


@pytest.mark.parametrize("limit", [0.5, 2.0])
def test_limits_are_kept_and_reached(splits, limit):
    recipe = Controlled(RECIPE, limit=limit)
    found = norms(training.train(ENTRY.network, splits["train"], recipe, jax.random.key(0)))
    assert max(found.values()) <= limit * (1 + 1e-5)
    assert max(found.values()) > 0.9 * limit


def test_limits_hold_for_convolutions(splits):
    data = Dataset(*(array[:200] for array in splits["train"]))
    network = cnn(4, units=8)
    recipe = Controlled(Supervised((0.0,) * 3, Schedule(1, 50, 0.01)), limit=0.3)
    params = training.train(network, data, recipe, jax.random.key(0))

    def convolve(h):
        kernel = params["conv1"]["kernel"]
        return jax.lax.conv_general_dilated(
            *(h, kernel, (1, 1), "VALID"), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    h = jax.random.normal(jax.random.key(0), (1, 28, 28, 1))
    _, transpose = jax.vjp(convolve, h)
    for _ in range(50):  # power iteration
        h = transpose(convolve(h / np.linalg.norm(h)))[0]
    assert 0.2 < np.sqrt(np.linalg.norm(h)) <= 0.3 * (1 + 1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, splits):
    folder = tmp_path_factory.mktemp("control")
    options = ["--models", "small", "--strengths", "0", "0.01", "--limits", "1.5"]
    directories = ["--out", str(folder / "out"), "--cache-dir", str(folder / "cache")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(zoo.ZOO, "small", ENTRY)
        patch.setattr(datasets, "load", lambda name, data_dir: splits)
        patch.setattr(command, "use_all_cores", lambda: None)
        assert control.main([*options, "--images", "30", *directories]) == 0
    return folder / "out"


def test_figures(folder):
    figures = json.loads((folder / "control.json").read_text(encoding="utf-8"))
    plain, penalised, limited = figures["models"]
    assert [plain["name"], penalised["name"], limited["name"]] == [
        *("small", "small, penalty 0.01", "small, limit 1.5"),
    ]
    assert plain["lipschitz_bound"] > limited["lipschitz_bound"]
    assert plain["lipschitz_bound"] > 2 * penalised["lipschitz_bound"]
    assert limited["lipschitz_bound"] <= 1.5 * 1.5 / 4 * (1 + 1e-3)
    for model in figures["models"]:
        assert 0 < model["certified"] <= model["found"] < 0.3
        assert model["train_error"] < 0.9 and 15 <= model["compared"] <= 30
    assert penalised["found"] > plain["found"] and penalised["certified"] > plain["certified"]


def test_files(folder):
    assert {path.name for path in folder.iterdir()} == {
        *("control.json", "control.md", "control.png"),
    }
    text = (folder / "control.md").read_text(encoding="utf-8")
    assert "\n| small, penalty 0.01 |" in text and "30 test images" in text


@pytest.mark.parametrize(
    "options, message",
    [
        ("--strengths -1", "strengths must not be negative, infinite or NaN, got (-1.0,)"),
        ("--strengths 0.1 0.1", "strengths must be there once each, got (0.1, 0.1)"),
        ("--limits 0", "limits must be positive and finite, got (0.0,)"),
        ("--strengths --limits", "strengths and limits must not both be empty"),
        ("--models LeNet-5", "lower bounds need FullyConnected layers"),
        ("--models AE400-10", "models must be trained by labels alone, got AE400-10"),
        ("--images 0", "images must be from 1 to 10000, got 0"),
        ("--balls 1", "balls must be at least 2, got 1"),
    ],
)
def test_bad_settings_end_before_any_work(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setattr(datasets, "load", lambda *args, **kwargs: pytest.fail("worked"))
    monkeypatch.chdir(tmp_path)
    assert control.main(["--cache-dir", "cache", *options.split()]) == 2
    assert message in capsys.readouterr().err


def test_defaults_are_those_of_the_configuration_file():
    path = Path(__file__).parent.parent / "configs" / "control.toml"
    assert command.from_toml(Config(), path) == Config()
