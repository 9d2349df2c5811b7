"""How often adversarial examples appear, on little data, for two small networks."""

import numpy as np
import pytest

from jaxadv import AttackOptions, datasets, density, zoo
from jaxadv.measures.density import REGIONS, count_changed
from jaxadv.measures.nearest import correctly_classified, nearest_examples
from jaxadv.measures.statistics import clopper_pearson
from jaxadv.training import Supervised

COMMAND = density
MODELS = ["small", "decayed"]
IMAGES, SAMPLES, NORMS = 30, 40, (0.25, 2.0, 16.0)
OPTIONS = [
    *("--models", *MODELS, "--images", str(IMAGES), "--samples", str(SAMPLES)),
    *("--norms", *map(str, NORMS), "--directions", "2", "--seed", "3"),
]


@pytest.fixture(scope="module", autouse=True)
def stronger_decay(little_data):
    network, recipe = zoo.ZOO["small"]
    recipe = Supervised((1e-3, 1e-2), recipe.schedule)
    little_data.setitem(zoo.ZOO, "decayed", zoo.Entry(network, recipe))


def without_times(figures):
    times = ("seconds", "versions", "device", "settings", "source")
    models = [{**model, "samples_per_second": None} for model in figures["models"]]
    return {key: figures[key] for key in figures if key not in times} | {"models": models}


def test_json(figures):
    assert set(figures) == {
        *("settings", "dataset", "images", "seed", "seconds", "versions", "device", "source"),
        *("models", "norms", "samples", "directions", "clip", "flat_boundary", "pixels"),
    }
    assert (figures["images"], figures["samples"], figures["seed"]) == (IMAGES, SAMPLES, 3)
    assert figures["norms"] == list(NORMS)
    assert list(figures["flat_boundary"]) == list(REGIONS)
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
            [point["fraction"] for point in model["ways"][way]] for way in REGIONS
        )
        assert isotropic[:2] == [0, 0] and 0 < isotropic[2] < 0.6
        assert around[0] == pytest.approx(0.5, abs=0.15)
        assert span[0] == 0 and 0.2 < span[1] <= span[2] < 1


def test_images_are_those_classified_correctly(run, figures, splits):
    model = zoo.load("small", splits, 3, datasets.info("mnist"), cache_dir=run.folder / "cache")
    images, labels = splits["test"]
    hidden, softmax = model.params.values()
    h = 1 / (1 + np.exp(-images.reshape(len(images), -1) @ hidden["kernel"] - hidden["bias"]))
    classes = np.argmax(h @ softmax["kernel"] + softmax["bias"], axis=1)
    first = np.flatnonzero(classes == labels)[:300]
    chosen = correctly_classified(model, splits["test"], 300)
    np.testing.assert_array_equal(chosen.images, images[first])
    np.testing.assert_array_equal(chosen.labels, labels[first])


def test_files(run, figures, capsys):
    out = run.folder / "out"
    assert {path.name for path in out.iterdir()} == {
        *("density.json", "density.md", "density.png", "report.html"),
    }
    text = (out / "density.md").read_text(encoding="utf-8")
    bound = clopper_pearson(np.array(0), IMAGES * SAMPLES)[1]
    assert "seed 3" in text and "not clipped" in text and f"\n| 0.25 | < {bound:.2g} | " in text
    for name in MODELS:
        assert f"**{name}: fraction" in text


def test_second_run_attacks_nothing_gives_the_same_and_prints_it(run, figures, monkeypatch, capsys):
    def fail(*args, **kwargs):
        pytest.fail("attacked again")

    monkeypatch.setattr("jaxadv.attacks.stored.all_targets", fail)
    assert without_times(run(out="again")) == without_times(figures)
    output = capsys.readouterr().out
    assert "decayed: fraction of perturbations" in output and str(run.folder / "again") in output
    assert max(map(len, output.splitlines())) <= 100


def test_clipping(run, figures, splits):
    """Counted anew, perturbations of the same images clipped and not are those of either run."""
    clipped = run("--clip", out="clipped")
    assert clipped["clip"] is True and figures["clip"] is False
    info, cache = datasets.info("mnist"), run.folder / "cache"
    model = zoo.load("small", splits, 3, info, cache_dir=cache)
    chosen = correctly_classified(model, splits["test"], IMAGES)
    attack = AttackOptions(**figures["settings"]["attack"])
    [near] = nearest_examples([model], [chosen], 2, options=attack, cache_dir=cache)
    for found, clip in ((figures, False), (clipped, True)):
        options = (*chosen, near, NORMS, SAMPLES, 3)
        counts = count_changed(model.network.logits, model.params, *options, clip=clip)
        for region, totals in zip(REGIONS, counts.sum(axis=0), strict=True):
            points = found["models"][0]["ways"][region]
            assert [point["changed"] for point in points] == totals.tolist()
    assert "not clipped" not in (run.folder / "clipped" / "density.md").read_text(encoding="utf-8")


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
def test_bad_settings(run, figures, capsys, options, message):
    assert run.command(*options, out="bad") == 2
    assert message in capsys.readouterr().err
