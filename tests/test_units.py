"""The whole experiment on little data, for two small networks."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from jaxadv import training, units, zoo
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import Dataset
from jaxadv.measures import units as activations
from jaxadv.networks import cnn, mlp
from jaxadv.runs import console as command
from jaxadv.training import Schedule, Supervised
from jaxadv.units import Config

SCHEDULE = Schedule(4, 100, 0.01)
MODELS = {
    "FC20-10": zoo.Entry(mlp(20), Supervised((1e-5, 1e-6), SCHEDULE)),
    "small": zoo.Entry(cnn(2, units=15), Supervised((1e-5,) * 3, SCHEDULE)),
}
LAYERS = {"pixels": 784, "FC20-10 hidden1": 20, "small conv1": 13 * 13 * 2, "small hidden": 15}
OPTIONS = ["--models", *MODELS, "--directions", "30", "--k", "3", "6", "--rows", "4", "--top", "5"]
TIMES = ("seconds", "versions", "device", "settings")
TEST = 500


@pytest.fixture(scope="module", autouse=True)
def small_experiment(mnist):
    """Little data, small networks, and the devices that JAX has started with."""
    splits = {
        "train": Dataset(mnist.images[:1000], mnist.labels[:1000]),
        "test": Dataset(mnist.images[1000 : 1000 + TEST], mnist.labels[1000 : 1000 + TEST]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, entry in MODELS.items():
            patch.setitem(zoo.ZOO, name, entry)
        patch.setattr(datasets, "load", lambda name, data_dir: splits)
        patch.setattr(command, "use_all_cores", lambda: None)
        patch.setattr(activations, "RESAMPLES", 999)
        yield splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("units")


def run(folder, out, *options):
    """Runs the command; returns its figures."""
    directories = ["--out", str(folder / out), "--cache-dir", str(folder / "cache")]
    assert units.main([*OPTIONS, *directories, *options]) == 0
    return json.loads((folder / out / "units.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def figures(folder):
    return run(folder, "out")


def without_times(figures):
    return {key: value for key, value in figures.items() if key not in TIMES}


def names(figures):
    return [layer["name"] for layer in figures["layers"]]


def test_json(figures, small_experiment):
    assert set(figures) == {
        *("dataset", "images", "images_file", "directions", "chance", "layers", "seed", *TIMES),
    }
    assert (figures["images"], figures["images_file"], figures["directions"]) == (TEST, None, 30)
    counts = np.bincount(small_experiment["test"].labels)
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


def test_agreement_of_a_unit_by_hand(folder, figures, small_experiment):
    images, labels = small_experiment["test"]
    layer = figures["layers"][names(figures).index("FC20-10 hidden1")]
    model = zoo.load(
        "FC20-10", small_experiment, 0, datasets.info("mnist"), cache_dir=folder / "cache"
    )
    hidden = model.params["hidden1"]
    h = np.float64(images.reshape(TEST, -1)) @ hidden["kernel"] + hidden["bias"]
    for unit, agreement in zip(
        layer["units"], layer["statistics"][0]["natural"]["agreement"], strict=True
    ):
        a, b, c = labels[np.argsort(-h[:, unit])[:3]]
        assert agreement == pytest.approx(np.mean([a == b, a == c, b == c]))


def test_pixels_without_k_best_images_are_left_out(figures, small_experiment):
    pixels = small_experiment["test"].images.reshape(TEST, 784)
    layer = figures["layers"][0]
    for row in layer["statistics"]:
        value = -np.sort(-pixels[:, layer["units"]], axis=0)
        left_out = value[row["k"] - 1] == value[row["k"]]
        agreement = row["natural"]["agreement"]
        assert [each is None for each in agreement] == left_out.tolist()
        assert 0 < row["natural"]["left_out"] < 30 and row["random"]["left_out"] == 0


def test_files(folder, figures):
    out = folder / "out"
    pictures = {
        f"{name.replace(' ', '-')}-{kind}.png" for name in LAYERS for kind in ("natural", "random")
    }
    assert {path.name for path in out.iterdir()} == {
        *("units.json", "units.md", "units.png"),
        *pictures,
    }
    text = (out / "units.md").read_text(encoding="utf-8")
    assert "seed 0" in text and f"chance is {100 * figures['chance']:.1f}" in text
    for name, layer in zip(LAYERS, figures["layers"], strict=True):
        for row in layer["statistics"]:
            mean = 100 * row["natural"]["mean"]
            assert f"\n| {name} | {row['k']} | {mean:.1f} |" in text
    for name in ("units.png", *pictures):
        assert (out / name).stat().st_size > 10_000


def test_images_and_labels_of_a_file(folder, figures, small_experiment, monkeypatch, capsys):
    """The same images as bytes; on weights that are there, nothing is trained."""
    monkeypatch.setattr(training, "train", lambda *args: pytest.fail("trained again"))
    images, labels = small_experiment["test"]
    files = [str(folder / "images.npy"), str(folder / "labels.npy")]
    np.save(files[0], np.rint(255 * images).astype(np.uint8)[..., 0])
    np.save(files[1], labels.astype(np.uint8))
    again = run(folder, "again", "--images-file", files[0], "--labels-file", files[1])
    assert again.pop("images_file") == files[0]
    expected = without_times(figures)
    del expected["images_file"]
    assert without_times(again) == expected
    output = capsys.readouterr().out
    assert "Label agreement" in output and str(folder / "again") in output
    pictures = [(folder / out / "pixels-random.png").read_bytes() for out in ("out", "again")]
    assert pictures[0] == pictures[1]


def test_some_layers_of_some_models(folder, figures):
    found = run(folder, "some", "--layer", "hidden", "softmax", "--model", "small")
    assert names(found) == ["pixels", "small hidden", "small softmax"]
    for index, row in enumerate(found["layers"][1]["statistics"]):  # whatever else is there
        for kind in ("natural", "random"):
            assert row[kind] == figures["layers"][3]["statistics"][index][kind]


def test_network_of_ones_own_whose_units_are_dead(folder, monkeypatch):
    network = mlp(3)
    params = {
        "hidden1": {"kernel": np.zeros((784, 3), "float32"), "bias": np.ones(3, "float32")},
        "softmax": {"kernel": np.zeros((3, 10), "float32"), "bias": np.zeros(10, "float32")},
    }
    mine = types.SimpleNamespace(dead=lambda: (network, params))
    monkeypatch.setitem(sys.modules, "mine", mine)
    figures = run(folder, "dead", "--model", "mine:dead")
    row = figures["layers"][1]["statistics"][0]
    assert row["natural"]["agreement"] == [None] * 3 and row["random"]["left_out"] == 30
    assert row["natural"]["mean"] is row["p"] is row["p_holm"] is row["difference"] is None
    made = {path.name for path in (folder / "dead").iterdir()}
    assert made == {
        *("units.json", "units.md", "units.png", "pixels-natural.png", "pixels-random.png"),
    }
    assert "| mine:dead hidden1 | 3 | – | – | – | – | – | 3 |" in (
        folder / "dead" / "units.md"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"k": (1, 4)}, r"k must be from 2 to 9999, got \(1, 4\)"),
        ({"k": (10_000,)}, "k must be from 2 to 9999"),
        ({"k": ()}, "k must be from 2 to 9999"),
        ({"k": (4, 4)}, "each k must be there once"),
        ({"directions": 0}, "directions must be from 1 to"),
        ({"top": 0}, "top must be from 1 to 9999, got 0"),
        ({"rows": 0}, "rows must be from 1 to"),
        (
            {"layers": ("hidden", "conv9")},
            r"has layers \['conv9'\], expected some of \['conv1', 'h",
        ),
        ({"models": ("FC10(1)",)}, r"FC10\(1\) has no layers but the logits.*--layer softmax"),
        ({"models": ("mine:logits",)}, r"mine:logits must return \(Network, params\)"),
        ({"labels_file": Path("y.npy")}, "go together, got no images_file"),
        ({"images_file": Path("x.npy")}, "go together, got no labels_file"),
    ],
)
def test_bad_settings(tmp_path, monkeypatch, options, message):
    mine = types.SimpleNamespace(
        __file__=__file__, logits=lambda: (lambda p, x: x[:, 0, :10, 0], 0)
    )
    monkeypatch.setitem(sys.modules, "mine", mine)
    np.save(tmp_path / "x.npy", np.zeros((5, 28, 28)))
    monkeypatch.chdir(tmp_path)
    settings = {"models": ("small",), "out": tmp_path / "out", "cache_dir": tmp_path} | options
    with pytest.raises(ValueError, match=message):
        units.check(Config(**settings))


IMAGES, LABELS = np.zeros((9, 28, 28, 1), np.float32), np.arange(9)


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (IMAGES.reshape(9, 784), LABELS, r"shape \(N, 28, 28\[, 1\]\), got \(9, 784\)"),
        (IMAGES[:8], LABELS, r"a label per image, shape \(8,\), got \(9,\)"),
        (IMAGES, LABELS[:, None], r"a label per image, shape \(9,\), got \(9, 1\)"),
        (IMAGES, LABELS / 1, "labels_file must hold integers, got float64"),
        (IMAGES.astype(int), LABELS, "must hold uint8 or floating-point .* got int64"),
        (IMAGES + 2, LABELS, r"must lie in \[0, 1\], got values from 2 to 2"),
        (IMAGES - 1, LABELS, r"must lie in \[0, 1\], got values from -1 to -1"),
        (IMAGES + np.float32(np.nan), LABELS, r"must lie in \[0, 1\], got values from nan"),
        (IMAGES, LABELS, "k must be from 2 to 8"),
        (b"text", LABELS, "images_file must be an .npy file, got .*images.npy"),
        (IMAGES, b"", "labels_file must be an .npy file, got .*labels.npy"),
    ],
)
def test_bad_files(tmp_path, images, labels, message):
    files = {"images_file": tmp_path / "images.npy", "labels_file": tmp_path / "labels.npy"}
    for path, content in zip(files.values(), (images, labels), strict=True):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content)
    config = Config(models=("small",), out=tmp_path / "out", cache_dir=tmp_path, **files)
    with pytest.raises(ValueError, match=message):
        units.check(config)


def test_missing_file(tmp_path, capsys):
    options = ["--images-file", str(tmp_path / "x.npy"), "--labels-file", str(tmp_path / "y.npy")]
    assert units.main([*OPTIONS, "--out", str(tmp_path), *options]) == 2
    assert "x.npy" in capsys.readouterr().err


def test_defaults_are_those_of_the_configuration_file():
    path = Path(__file__).parent.parent / "configs" / "units.toml"
    assert command.from_toml(Config(), path) == Config()
    written = set(command.tomllib.loads(path.read_text(encoding="utf-8")))
    assert written >= {"dataset", "models", "layers", "directions", "k", "rows", "top", "seed"}
