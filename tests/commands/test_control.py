"""Control of the layers' norms, as a command, on little data."""

import pytest

from jaxadv import control

COMMAND = control
OPTIONS = "--models small --strengths 0 0.01 --limits 1.5 --images 30".split()


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
        assert model["train_error"] < 0.9 and 10 <= model["compared"] <= 30
    assert penalised["found"] > plain["found"] and penalised["certified"] > plain["certified"]


def test_files(run, figures):
    folder = run.folder / "out"
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
def test_bad_settings_end_before_any_work(refused, options, message):
    assert message in refused(options)
