"""Training on adversarial examples, as a command, on little data."""

import numpy as np
import pytest

from jaxadv import adversarial_training, zoo
from jaxadv.zoo import adversarial

COMMAND = adversarial_training
OPTIONS = "--models small --ways decay hidden1 paper --epochs 2 --seeds 2 --seed 3".split()
OPTIONS += "--images 16 --balls 8".split()
DISTORTIONS = "nearest", "random", "certified"


@pytest.fixture(scope="module", autouse=True)
def chosen():
    with pytest.MonkeyPatch.context() as patch:
        settings = adversarial.CHOSEN["FC100-100-10"]
        patch.setattr(adversarial, "CHOSEN", adversarial.CHOSEN | {"small": settings})
        yield


def test_figures(figures):
    decay, hidden, paper = figures["trainings"]
    assert [decay["name"], hidden["name"], paper["name"]] == [
        *("small+decay", "small+hidden1", "small+paper"),
    ]
    for row in figures["trainings"]:
        assert [seed["seed"] for seed in row["seeds"]] == [3, 4]
        errors = [seed["test_error"] for seed in row["seeds"]]
        assert row["test_error"] == pytest.approx(np.mean(errors))
        assert row["test_error_se"] == pytest.approx(np.std(errors, ddof=1) / np.sqrt(2))
        means = [row[key]["mean"] for key in DISTORTIONS]
        assert 0 < means[2] <= means[0] <= means[1] < 0.3
        assert row["seconds"] > 0 and row["accuracy"] == sorted(row["accuracy"], reverse=True)
    assert decay["gradients"] == 2 * 2000
    assert hidden["gradients"] == 3 * decay["gradients"]


def test_differences_are_paired_by_seed(figures):
    decay, *others = figures["trainings"]
    assert decay["differences"] == {}
    for row in others:
        pairs = zip(row["seeds"], decay["seeds"], strict=True)
        difference = [a["test_error"] - b["test_error"] for a, b in pairs]
        found = row["differences"]["decay"]
        assert found["mean"] == pytest.approx(np.mean(difference))
        half = 12.7062 * np.std(difference, ddof=1) / np.sqrt(2)
        assert found["interval"] == pytest.approx(
            [found["mean"] - half, found["mean"] + half], rel=1e-4
        )
        assert "dropout" not in row["differences"] and 0 <= found["p"] <= 1
        assert found["seeds_needed"] >= 2


def test_transfer_is_in_the_existing_form(figures):
    rows = figures["transfer"]["rows"]
    assert [row["name"] for row in rows] == [row["name"] for row in figures["trainings"]]
    assert [row["error"][index] for index, row in enumerate(rows)] == [1.0] * 3


def test_files(run, figures):
    folder = run.folder / "out"
    assert {path.name for path in folder.iterdir()} == {
        *(f"adversarial_training.{kind}" for kind in ("json", "md", "png")),
        "report.html",
    }
    text = (folder / "adversarial_training.md").read_text(encoding="utf-8")
    assert "\n| small+paper |" in text and "2 seeds, 2 epochs" in text and "Left out" not in text
    assert not list((run.folder / "cache" / "weights").glob("*.partial"))


def test_a_quick_run_says_what_it_leaves_out(run, figures):
    run("--quick", "--ways", "decay", out="quick")
    text = (run.folder / "quick" / "adversarial_training.md").read_text(encoding="utf-8")
    assert "Left out: further seeds, epochs and images, and small+dropout, small+input" in text


def test_all_ways_are_networks_of_the_zoo():
    for name, ways in (("FC100-100-10", 10), ("LeNet-5", 12)):
        entries = {key: value for key, value in zoo.ZOO.items() if key.startswith(f"{name}+")}
        assert len(entries) == ways
        for key, (network, recipe) in entries.items():
            assert network == zoo.ZOO[name].network
            assert recipe == adversarial.trainings(name, network)[key.partition("+")[2]]


@pytest.mark.parametrize(
    "options, message",
    [
        ("--models CNN", "models must be some of ['FC100-100-10', 'LeNet-5', 'small'], got CNN"),
        ("--ways hidden3", "unknown ways ['hidden3'] for FC100-100-10, expected some of ['decay',"),
        ("--ways decay decay", "ways must be there once each"),
        ("--epochs 0", "epochs must be at least 1, got 0"),
        ("--seeds 0", "seeds must be from 1 to 4294967296, got 0"),
        ("--images 0", "images must be from 1 to 10000, got 0"),
        ("--balls 1", "balls must be at least 2, got 1"),
        ("--distortions -1", "distortions must not be negative"),
    ],
)
def test_bad_settings_end_before_any_work(refused, options, message):
    assert message in refused(options)
