"""Control of the layers' norms, as a command, on little data."""

import numpy as np
import pytest

from jaxadv import control

COMMAND = control
OPTIONS = "--models small --strengths 0 0.01 --limits 1.5 --seeds 2 --seed 3".split()
OPTIONS += "--images 16 --balls 8".split()
COMPARED = ("test_error", "found", "certified")


def test_figures(figures):
    plain, penalised, limited = figures["models"]
    assert [plain["name"], penalised["name"], limited["name"]] == [
        *("small", "small, penalty 0.01", "small, limit 1.5"),
    ]
    assert plain["lipschitz_bound"] > limited["lipschitz_bound"]
    assert plain["lipschitz_bound"] > 2 * penalised["lipschitz_bound"]
    assert limited["lipschitz_bound"] <= 1.5 * 1.5 / 4 * (1 + 1e-3)
    for model in figures["models"]:
        assert 0 < model["certified"] <= model["found"] < 0.3
        assert model["train_error"] < 0.9
        assert [seed["seed"] for seed in model["seeds"]] == [3, 4]
    assert penalised["found"] > plain["found"] and penalised["certified"] > plain["certified"]


def test_means_and_differences_are_those_of_the_seeds(figures):
    plain, *controlled = figures["models"]
    for model in figures["models"]:
        assert [seed["compared"] for seed in model["seeds"]] == [
            seed["compared"] for seed in plain["seeds"]
        ]
        for key in ("train_error", "lipschitz_bound", *COMPARED):
            first, second = (seed[key] for seed in model["seeds"])
            assert first != second and model[key] == pytest.approx((first + second) / 2)
        for key in COMPARED:
            assert np.mean(model[f"{key}_interval"]) == pytest.approx(model[key])
    assert plain["differences"] is None
    for model in controlled:
        for key, (mean, (low, high)) in zip(
            COMPARED, map(dict.values, model["differences"].values()), strict=True
        ):
            assert mean == pytest.approx(model[key] - plain[key]) and low < mean < high


def test_each_seed_is_as_alone(run, figures):
    alone = run("--seed", "4", "--seeds", "1", out="alone")
    assert len(list((run.folder / "cache" / "weights").iterdir())) == 6  # none was trained again
    for model, one in zip(figures["models"], alone["models"], strict=True):
        assert one["seeds"] == model["seeds"][1:]
        if model["differences"]:  # over images alone
            found = one["differences"]["found"]
            assert found["interval"][0] < found["mean"] < found["interval"][1]


def test_without_a_network_to_compare_with(run, figures):
    bare = run("--strengths", "0.01", "--limits", out="bare")
    assert [model["differences"] for model in bare["models"]] == [None]
    text = (run.folder / "bare" / "control.md").read_text(encoding="utf-8")
    assert text.count("**") == 2 and "lowers" not in text


def test_files(run, figures):
    folder = run.folder / "out"
    assert {path.name for path in folder.iterdir()} == {
        *("control.json", "control.md", "control.png", "report.html"),
    }
    text = (folder / "control.md").read_text(encoding="utf-8")
    assert "\n| small, penalty 0.01 |" in text and "16 test images" in text
    assert "\n| penalty 0.01 | " in text and "2 trainings, first seed 3" in text


@pytest.mark.parametrize(
    "options, message",
    [
        ("--strengths -1", "strengths must not be negative, infinite or NaN, got (-1.0,)"),
        ("--strengths 0.1 0.1", "strengths must be there once each, got (0.1, 0.1)"),
        ("--limits 0", "limits must be positive and finite, got (0.0,)"),
        ("--strengths --limits", "strengths and limits must not both be empty"),
        ("--models LeNet-5", "lower bounds need FullyConnected layers"),
        ("--models AE400-10", "models must be trained by labels alone, got AE400-10"),
        ("--seeds 0", "seeds must be from 1 to 4294967296, got 0"),
        ("--seed 4294967295 --seeds 2", "seeds must be from 1 to 1, got 2"),
        ("--images 0", "images must be from 1 to 10000, got 0"),
        ("--balls 1", "balls must be at least 2, got 1"),
    ],
)
def test_bad_settings_end_before_any_work(refused, options, message):
    assert message in refused(options)
