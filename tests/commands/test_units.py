"""Units and random directions on little data, for two small networks."""

import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from jaxadv import datasets, units, zoo
from jaxadv.measures import statistics
from jaxadv.networks import Convolution, FullyConnected, Network, cnn, mlp
from jaxadv.training import Schedule, Supervised
from jaxadv.units import Config
from jaxadv.zoo.imported import imported

COMMAND = units
MODELS = ["small", "CNN"]
LAYERS = {"pixels": 784, "small hidden1": 20, "CNN conv1": 13 * 13 * 2, "CNN hidden": 15}
OPTIONS = "--models small CNN --directions 30 --k 3 6 --rows 2 --top 3".split()
TIMES = ("seconds", "versions", "device", "settings", "source")
TEST = 500


@pytest.fixture(scope="module", autouse=True)
def small_cnn(little_data):
    entry = zoo.Entry(cnn(2, units=15), Supervised((1e-5,) * 3, Schedule(1, 100, 0.01)))
    little_data.setitem(zoo.ZOO, "CNN", entry)
    little_data.setattr(statistics, "RESAMPLES", 999)


def without_times(figures):
    return {key: value for key, value in figures.items() if key not in TIMES}


def names(figures):
    return [layer["name"] for layer in figures["layers"]]


def test_json(figures, splits):
    assert set(figures) == {
        *(
            "dataset",
            "images",
            "held_out",
            "components_of",
            "directions",
            "chance",
            "layers",
            "seed",
            *TIMES,
        ),
    }
    assert (figures["images"], figures["directions"]) == (TEST, 30)
    assert figures["held_out"] == "the test set of mnist"
    counts = np.bincount(splits["test"].labels)
    chance = np.sum(counts * (counts - 1)) / (TEST * (TEST - 1))
    assert figures["chance"] == pytest.approx(chance)
    sizes = [layer["size"] for layer in figures["layers"]]
    assert dict(zip(names(figures), sizes, strict=True)) == LAYERS
    for layer in figures["layers"]:
        assert len(set(layer["units"])) == len(layer["units"]) == min(30, layer["size"])
        assert [row["k"] for row in layer["statistics"]] == [3, 6]
    assert figures["seconds"]["total"] == pytest.approx(
        sum(time for stage, time in figures["seconds"].items() if stage != "total"), abs=0.3
    )


def test_statistics_follow_from_the_agreements(figures):
    rows = [row for layer in figures["layers"] for row in layer["statistics"]]
    for row in rows:
        samples = []
        for kind in ("natural", "random"):
            agreement = np.array(row[kind]["agreement"], float)
            assert row[kind]["left_out"] == np.isnan(agreement).sum()
            samples.append(sample := agreement[~np.isnan(agreement)])
            pairs = sample * row["k"] * (row["k"] - 1) / 2
            np.testing.assert_allclose(pairs, np.rint(pairs), atol=1e-9)
            assert row[kind]["mean"] == pytest.approx(sample.mean())
            np.testing.assert_allclose(
                row[kind]["quartiles"], np.percentile(sample, [25, 50, 75]), atol=1e-12
            )
        assert row["difference"] == pytest.approx(samples[0].mean() - samples[1].mean())
        low, high = row["interval"]
        assert low < row["difference"] < high
        assert np.sign(row["effect"]) == np.sign(row["difference"])
        assert 0 < row["p"] <= row["p_holm"] <= 1
    lowest = min(rows, key=lambda row: row["p"])
    assert lowest["p_holm"] == pytest.approx(min(1, lowest["p"] * len(rows)))


def test_agreement_of_a_unit_by_hand(run, figures, splits):
    images, labels = splits["test"]
    layer = figures["layers"][names(figures).index("small hidden1")]
    model = zoo.load("small", splits, 0, datasets.info("mnist"), cache_dir=run.folder / "cache")
    hidden = model.params["hidden1"]
    h = np.float64(images.reshape(TEST, -1)) @ hidden["kernel"] + hidden["bias"]
    for unit, agreement in zip(
        layer["units"], layer["statistics"][0]["natural"]["agreement"], strict=True
    ):
        a, b, c = labels[np.argsort(-h[:, unit])[:3]]
        assert agreement == pytest.approx(np.mean([a == b, a == c, b == c]))


def test_pixels_without_k_best_images_are_left_out(figures, splits):
    pixels = splits["test"].images.reshape(TEST, 784)
    layer = figures["layers"][0]
    for row in layer["statistics"]:
        value = -np.sort(-pixels[:, layer["units"]], axis=0)
        left_out = value[row["k"] - 1] == value[row["k"]]
        agreement = row["natural"]["agreement"]
        assert [each is None for each in agreement] == left_out.tolist()
        assert 0 < row["natural"]["left_out"] < 30 and row["random"]["left_out"] == 0


def test_files(run, figures):
    out = run.folder / "out"
    pictures = {
        f"{name.replace(' ', '-')}-{kind}.png"
        for name in LAYERS
        for kind in ("natural", "random", "components")
    }
    assert {path.name for path in out.iterdir()} == {
        *("units.json", "units.md", "units.png", "report.html"),
        *pictures,
    }
    text = (out / "units.md").read_text(encoding="utf-8")
    rows = [row for layer in figures["layers"] for row in layer["statistics"]]
    same = [max(abs(bound) for bound in row["interval"]) < 0.05 for row in rows]
    assert [row["equivalent"] for row in rows] == same
    assert f"p is {0.002 * len(rows):.2g} at least" in text
    assert f"show for {sum(same)} of {len(rows)} rows" in text
    assert "seed 0" in text and f"chance is {100 * figures['chance']:.1f}" in text
    for name, layer in zip(LAYERS, figures["layers"], strict=True):
        for row in layer["statistics"]:
            mean = 100 * row["natural"]["mean"]
            assert f"\n| {name} | {row['k']} | {mean:.1f} |" in text
            mean = 100 * row["components"]["mean"]
            assert f"\n| {name} | {row['k']} | {mean:.1f} | " in text.partition("rotation")[2]


def test_images_and_labels_of_a_file(run, figures, splits, monkeypatch, capsys):
    """The same images as bytes; on weights that are there, nothing is trained."""
    monkeypatch.setattr("jaxadv.training.train", lambda *args: pytest.fail("trained again"))
    images, labels = splits["test"]
    files = [str(run.folder / "images.npy"), str(run.folder / "labels.npy")]
    np.save(files[0], np.rint(255 * images).astype(np.uint8)[..., 0])
    np.save(files[1], labels.astype(np.uint8))
    again = run("--images", files[0], "--labels", files[1], out="again")
    assert again.pop("held_out") == files[0]
    expected = without_times(figures)
    del expected["held_out"]
    assert without_times(again) == expected
    output = capsys.readouterr().out
    assert "Label agreement" in output and str(run.folder / "again") in output
    pictures = [(run.folder / out / "pixels-random.png").read_bytes() for out in ("out", "again")]
    assert pictures[0] == pictures[1]


def test_some_layers_of_some_models(run, figures):
    found = run("--layer", "hidden", "softmax", "--model", "CNN", out="some")
    assert names(found) == ["pixels", "CNN hidden", "CNN softmax"]
    for index, row in enumerate(found["layers"][1]["statistics"]):  # whatever else is there
        for kind in ("natural", "random"):
            assert row[kind] == figures["layers"][3]["statistics"][index][kind]


def test_network_of_ones_own_whose_units_are_dead(run, monkeypatch):
    network = mlp(3)
    params = {
        "hidden1": {"kernel": np.zeros((784, 3), "float32"), "bias": np.ones(3, "float32")},
        "softmax": {"kernel": np.zeros((3, 10), "float32"), "bias": np.zeros(10, "float32")},
    }
    mine = types.SimpleNamespace(dead=lambda: (network, params))
    monkeypatch.setitem(sys.modules, "mine", mine)
    figures = run("--model", "mine:dead", out="dead")
    row = figures["layers"][1]["statistics"][0]
    assert row["natural"]["agreement"] == [None] * 3 and row["random"]["left_out"] == 30
    assert row["natural"]["mean"] is row["p"] is row["p_holm"] is row["difference"] is None
    assert row["components"]["agreement"] == [] and row["components"]["p_holm"] is None
    made = {path.name for path in (run.folder / "dead").iterdir()}
    assert made == {
        *("units.json", "units.md", "units.png", "report.html"),
        *("pixels-natural.png", "pixels-random.png", "pixels-components.png"),
    }
    assert "| mine:dead hidden1 | 3 | – | – | – | – | – | 3 |" in (
        run.folder / "dead" / "units.md"
    ).read_text(encoding="utf-8")


@pytest.fixture
def colours(tmp_path, monkeypatch):
    """A folder of photographs of two classes, red and green; `mine:colours` is a network for them.

    Its first unit is how red the top left corner is.
    """
    layers = Convolution(1, size=1, name="red"), FullyConnected(4, name="fc")
    network = Network(layers, (4, 4, 3))
    params = network.init(jax.random.key(0))
    params["red"]["kernel"] = np.eye(3, 1, dtype="float32").reshape(1, 1, 3, 1)
    mine = types.SimpleNamespace(colours=lambda: (network, params))
    monkeypatch.setitem(sys.modules, "mine", mine)
    for label in (0, 2):
        (tmp_path / "photos" / str(label)).mkdir(parents=True)
        for number in range(6):
            colour = [[[0, 200 - number, 0], [200 - number, 0, 9]][label == 0]]
            image = Image.fromarray(np.full((6, 9, 3), colour, np.uint8))
            image.save(tmp_path / "photos" / str(label) / f"{number}.png")
    yield tmp_path
    imported.cache_clear()


def test_photographs_of_ones_own(run, colours, capsys):
    options = ["--model", "mine:colours", "--images", str(colours / "photos")]
    figures = run(*options, "--k", "4", "90", out="colours")
    assert (figures["images"], figures["dataset"]) == (12, str(colours / "photos"))
    assert figures["chance"] == pytest.approx(5 / 11)
    pixels, red = figures["layers"]
    assert (pixels["size"], red["size"]) == (48, 16)
    [row] = red["statistics"]  # 90 is more than there are
    assert row["natural"]["mean"] == 1 and row["k"] == 4
    made = {path.name for path in (run.folder / "colours").iterdir()}
    assert {f"mine.colours-red-{kind}.jpg" for kind in ("natural", "components")} < made
    page = (run.folder / "colours" / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") == len(made) - 4  # less JSON, Markdown, PNG and page
    assert f"12 images of {colours / 'photos'}, 30" in capsys.readouterr().out.replace("\n", "")


def test_bad_photographs(refused, colours):
    options = "--model mine:colours --k 4 --out out"
    assert "x.npy is not a folder" in refused(f"{options} --images x.npy --labels y.npy")
    assert "labels are for the images of a folder" in refused(f"{options} --labels y.npy")
    assert "k must be from 2 to 11" in refused(f"{options} --images photos --k 12")
    (colours / "photos" / "2" / "3.png").write_bytes(b"nothing")
    assert "3.png" in refused(f"{options} --images photos")
    assert "none.txt" in refused(f"{options} --images photos --labels none.txt")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"k": (1, 4)}, r"k must be from 2 to 9999, got \(1, 4\)"),
        ({"k": (10_000,)}, "k must be from 2 to 9999"),
        ({"k": ()}, "k must be from 2 to 9999"),
        ({"k": (4, 4)}, "k must be there once each"),
        ({"directions": 0}, "directions must be from 1 to"),
        ({"top": 0}, "top must be from 1 to 100, got 0"),
        ({"rows": 0}, "rows must be from 1 to"),
        (
            {"layers": ("hidden", "conv9")},
            r"has layers \['conv9'\], expected some of \['conv1', 'h",
        ),
        ({"models": ("FC10(1)",)}, r"FC10\(1\) has no layers but the logits.*--layer softmax"),
        ({"models": ("mine:logits",)}, r"mine:logits must return \(Network, params\)"),
        (
            {"models": ("CNN", "EfficientNet-Lite0")},
            r"images of one shape, got \{'CNN': \(28, 28, 1",
        ),
        ({"images": Path(), "labels": Path()}, "images must be an .npy file, got the folder ."),
        ({"labels": Path("y.npy")}, "go together, got no images"),
        ({"images": Path("x.npy")}, "go together, got no labels"),
    ],
)
def test_bad_settings(tmp_path, monkeypatch, options, message):
    mine = types.SimpleNamespace(
        __file__=__file__, logits=lambda: (lambda p, x: x[:, 0, :10, 0], 0)
    )
    monkeypatch.setitem(sys.modules, "mine", mine)
    np.save(tmp_path / "x.npy", np.zeros((5, 28, 28)))
    monkeypatch.chdir(tmp_path)
    settings = {"models": ("CNN",), "out": tmp_path / "out", "cache_dir": tmp_path} | options
    with pytest.raises(ValueError, match=message):
        units.check(Config(**settings))


def test_missing_file(tmp_path, capsys):
    options = ["--images", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.npy")]
    assert units.main([*OPTIONS, "--out", str(tmp_path), *options]) == 2
    assert "x.npy" in capsys.readouterr().err
