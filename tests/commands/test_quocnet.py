"""QuocNet as a command, on a few crops, tiny stages and faces that are not real."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxadv import quocnet
from jaxadv.datasets import Dataset, natural
from jaxadv.networks.quocnet import Stage
from jaxadv.runs import command, features
from jaxadv.zoo import features as kept

COMMAND = quocnet
OPTIONS = "--crops 128 --epochs 1 --features 2 --count 3".split()
TINY = (Stage(2, 9, 4, pool=2, contrast=3),)


@pytest.fixture(scope="module")
def little_data(tmp_path_factory):
    """Photographs of blobs; faces are bright in the middle."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("photographs")
    for index in range(3):
        blobs = np.kron(rng.integers(0, 255, (8, 9)), np.ones((5, 5)))
        Image.fromarray(blobs.astype("uint8")).save(folder / f"{index}.png")
    labels = (np.arange(48) < 24).astype("int32")
    images = 0.5 * rng.uniform(size=(48, 25, 25, 1)).astype("float32")
    images[:24, 8:17, 8:17] += 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "SMALL", TINY)
        patch.setattr(natural, "faces", lambda cache_dir: Dataset(images, labels))
        patch.setattr(command, "use_all_cores", lambda: None)  # JAX has started
        patch.setitem(globals(), "OPTIONS", [*OPTIONS, "--images", str(folder)])
        yield folder


def test_figures(figures):
    names = [row["name"] for row in figures["features"]]
    assert names == ["pixels", "stage 1, learned", "stage 1, random"]
    assert figures["images"] == 24 and figures["photographs"] == 3
    for row, count in zip(figures["features"], [625, 32, 32], strict=True):
        assert row["features"] == count
        assert row["accuracy"] == row["correct"] / 24
        low, high = row["interval"]
        assert low <= row["accuracy"] <= high
        assert ("p" in row) == ("learned" in row["name"])
        assert row["attacked"] == 3 and row["success"] == 1
        low, high = row["distortion_interval"]
        assert 0 < low <= row["distortion"] <= high < 0.5
    assert figures["features"][0]["accuracy"] > 0.9
    assert figures["costs"]["published"]["weights"] == 1_216_858_464
    assert figures["costs"]["this one"]["weights"] == 5 * 5 * 81 * 2
    for each in ("learned", "random"):
        assert all(0 < ratio < 1 for ratio in figures["sparsity"][each])


def test_files(figures, run):
    out = run.folder / "out"
    text = (out / "quocnet.md").read_text("utf-8")
    assert "| pixels | 625 |" in text and "1,216,858,464" in text
    page = (out / "report.html").read_text("utf-8")
    for name in ("faces", "filters", "stimuli"):
        assert (out / f"{name}.png").stat().st_size > 5000
    assert page.count("data:image/png") == 4  # one in the script


def test_a_second_run_reads_what_the_first_has_kept(figures, run, monkeypatch):
    monkeypatch.setattr(kept.PooledSparsity, "train", lambda *args: pytest.fail("trained"))
    monkeypatch.setattr(quocnet.report, "draw", lambda *args: None)  # which takes its time
    quick = {"crops": 128, "epochs": 1, "count": 3}  # as little as the test asks for
    monkeypatch.setattr(features, "QUICK", quick)
    again = run("--quick", out="again")
    assert "Left out: further stages," in (run.folder / "again" / "quocnet.md").read_text("utf-8")
    assert again["features"] == figures["features"] and again["sparsity"] == figures["sparsity"]


@pytest.mark.parametrize(
    "options, message",
    [
        ("--crops 127", "crops must be at least 128, got 127"),
        ("--epochs 0", "epochs must be at least 1, got 0"),
        ("--count 0", "count must be at least 1, got 0"),
        ("--features 8 8", "the number of features must be from 1 to 1, got 2"),
        ("--features 99", "features of stage 1 must be from 1 to 33, got 99"),
        ("--images nowhere", "nowhere is not a folder"),
        ("--images .", "PNG and JPEG images are neither in nor beside sub-folders"),
        ("--dataset mnist", "Unrecognized"),
    ],
)
def test_bad_settings(little_data, refused, options, message):
    assert message in refused(f"--features 2 {options}")
    assert not Path("results").exists()


def test_photographs_that_are_too_small_are_refused_by_name(little_data, refused, tmp_path):
    Image.fromarray(np.zeros((24, 80), "uint8")).save(tmp_path / "small.png")
    message = refused("--features 2 --images .")
    assert "small.png: it has 80 × 24 pixels, expected 25 on each side" in message
