"""The whole command on little data, for two small networks."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxadv import density, zoo
from jaxadv.attacks.options import AttackOptions
from jaxadv.datasets import tfds as datasets
from jaxadv.datasets.tfds import Dataset
from jaxadv.density import Config
from jaxadv.measures import density as perturbations
from jaxadv.measures.density import WAYS
from jaxadv.networks import mlp
from jaxadv.runs import console as command
from jaxadv.training import Schedule, Supervised

NETWORK, SCHEDULE = mlp(20), Schedule(8, 100, 0.01)  # shared, so that all compiles once
MODELS = {
    "small": zoo.Entry(NETWORK, Supervised((1e-5, 1e-6), SCHEDULE)),
    "decayed": zoo.Entry(NETWORK, Supervised((1e-3, 1e-2), SCHEDULE)),
}
IMAGES, SAMPLES, NORMS = 10, 40, (0.25, 2.0, 16.0)
OPTIONS = [
    *("--models", *MODELS, "--images", str(IMAGES), "--samples", str(SAMPLES)),
    *("--norms", *map(str, NORMS), "--directions", "2", "--seed", "3", "--attack.c-steps", "4"),
]


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
    return tmp_path_factory.mktemp("density")


def run(folder, out, *options):
    """Runs the command; returns its figures."""
    directories = ["--out", str(folder / out), "--cache-dir", str(folder / "cache")]
    assert density.main([*OPTIONS, *directories, *options]) == 0
    return json.loads((folder / out / "density.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def figures(folder):
    return run(folder, "out")


def without_times(figures):
    times = ("seconds", "versions", "device")
    models = [{**model, "samples_per_second": None} for model in figures["models"]]
    return {key: figures[key] for key in figures if key not in times} | {"models": models}


def test_json(figures):
    assert set(figures) == {
        *("settings", "dataset", "images", "seed", "seconds", "versions", "device"),
        *("models", "norms", "samples", "directions", "clip", "flat_boundary"),
    }
    assert (figures["images"], figures["samples"], figures["seed"]) == (IMAGES, SAMPLES, 3)
    assert figures["norms"] == list(NORMS)
    assert list(figures["flat_boundary"]) == list(WAYS)
    assert [model["name"] for model in figures["models"]] == list(MODELS)
    for model in figures["models"]:
        assert model["images_attacked"] == IMAGES
        assert 0.1 < model["distance"] < 5 and 1 <= model["dimension"] <= 2
        assert model["samples_per_second"] > 0
        for points in model["ways"].values():
            assert [point["norm"] for point in points] == list(NORMS)
            for point in points:
                assert point["samples"] == IMAGES * SAMPLES
                assert point["fraction"] == point["changed"] / point["samples"]
                low, high = point["sampling_interval"]
                assert 0 <= low <= point["fraction"] <= high <= 1
                assert (point["images_interval"] is None) == (point["changed"] == 0)
                assert (point["images_changed"] == 0) == (point["changed"] == 0)


def test_fractions(figures):
    for model in figures["models"]:
        isotropic, around, span = (
            [point["fraction"] for point in model["ways"][way]] for way in WAYS
        )
        assert isotropic[:2] == [0, 0] and 0 < isotropic[2] < 0.6
        assert around[0] == pytest.approx(0.5, abs=0.15)
        assert span[0] == 0 and 0.2 < span[1] <= span[2] < 1


def test_images_are_those_classified_correctly(folder, figures, small_experiment):
    model = zoo.load(
        "small", small_experiment, 3, datasets.info("mnist"), cache_dir=folder / "cache"
    )
    images, labels = small_experiment["test"]
    hidden, softmax = model.params.values()
    h = 1 / (1 + np.exp(-images.reshape(len(images), -1) @ hidden["kernel"] - hidden["bias"]))
    classes = np.argmax(h @ softmax["kernel"] + softmax["bias"], axis=1)
    first = np.flatnonzero(classes == labels)[:300]
    chosen = density.correct(model, small_experiment["test"], 300)
    np.testing.assert_array_equal(chosen.images, images[first])
    np.testing.assert_array_equal(chosen.labels, labels[first])


def test_files(folder, figures, capsys):
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == {"density.json", "density.md", "density.png"}
    text = (out / "density.md").read_text(encoding="utf-8")
    bound = perturbations.clopper_pearson(np.array(0), IMAGES * SAMPLES)[1]
    assert "seed 3" in text and "not clipped" in text and f"\n| 0.25 | < {bound:.2g} | " in text
    for name in MODELS:
        assert f"**{name}: fraction" in text
    assert (out / "density.png").stat().st_size > 10_000


def test_second_run_gives_the_same_and_prints_it(folder, figures, capsys):
    assert without_times(run(folder, "again")) == without_times(figures)
    output = capsys.readouterr().out
    assert "decayed: fraction of perturbations" in output and str(folder / "again") in output
    assert max(map(len, output.splitlines())) <= 100


def test_clipping(folder, figures):
    clipped = run(folder, "clipped", "--clip")
    assert clipped["clip"] is True
    assert clipped["models"][0]["ways"] != figures["models"][0]["ways"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--images", "0"], "images must be from 1 to 10000, got 0"),
        (["--images", "500"], "as many as small classifies correctly, got 500"),
        (["--samples", "0"], "samples must be from 1 to 1073741824, got 0"),
        (["--directions", "10"], "directions must be from 1 to 9, got 10"),
        (["--norms", "0"], "norms must be positive, finite and ascending, got (0.0,)"),
        (["--norms", "2", "1"], "norms must be positive, finite and ascending, got (2.0, 1.0)"),
        (["--norms", "nan"], "norms must be positive, finite and ascending, got (nan,)"),
        (["--norms", "inf"], "norms must be positive, finite and ascending, got (inf,)"),
    ],
)
def test_bad_settings(folder, figures, capsys, options, message):
    directories = ["--out", str(folder / "bad"), "--cache-dir", str(folder / "cache")]
    assert density.main([*OPTIONS, *directories, *options]) == 2
    assert message in capsys.readouterr().err


def test_a_network_without_adversarial_examples(folder, figures):
    def constant(params, x):
        return params + 0 * jax.numpy.sum(x, axis=(1, 2, 3))[:, None]

    network = zoo.LogitsOnly(constant, "")
    model = zoo.Model("constant", network, np.arange(10, dtype="float32"), 0.0, 0.0)
    images = np.full((2, 28, 28, 1), 0.5, "float32")
    chosen = Dataset(images, np.full(2, 9))
    options = AttackOptions(max_iterations=2, max_evaluations=4, smoothing_steps=0, restart=False)
    with pytest.raises(ValueError, match="found no adversarial example for constant"):
        density.attack(Config(images=2, attack=options), [model], [chosen])


def test_defaults_are_those_of_the_configuration_file():
    path = Path(__file__).parent.parent / "configs" / "density.toml"
    assert command.from_toml(Config(), path) == Config()
    written = set(command.tomllib.loads(path.read_text(encoding="utf-8")))
    assert written >= {"dataset", "models", "images", "seed", "norms", "samples", "attack"}
