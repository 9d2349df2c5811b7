"""The page of generated examples says what the results hold."""

import numpy as np
import pytest
from fake_results import FakeResults, results
from reading import Page, pixels

from jaxadv import Status
from jaxadv.reports import page
from jaxadv.reports.page import charts, generated, outcomes
from jaxadv.reports.tables import Table
from jaxadv.storage.errors import InputError


def tables(run):
    return {table.title: table for table in run.texts if isinstance(table, Table)}


def rows(run, title):
    [table] = [table for name, table in tables(run).items() if name.startswith(title)]
    return {first: cells for first, *cells in table.rows}


@pytest.mark.parametrize("mode", ["untargeted", "all-targets", "random", "given"])
def test_counts_by_status(mode):
    fake, originals = results(count=60, mode=mode)
    found = rows(generated.run(fake, originals), "How the attacks ended")
    for status in outcomes.WORDS:
        word = outcomes.word({"mode": mode}, status)
        assert int(found[word][0]) == (fake["status"] == status).sum() > 0
    assert sum(float(share) for _, share in found.values()) == pytest.approx(100, abs=0.3)


def nearest(fake, row):
    """(distance, position) of the nearest wrong class of an image."""
    ways = [
        (float(fake["distortion"][row, k]), k)
        for k in range(fake["status"].shape[1])
        if fake["success"][row, k] and fake["target"][row, k] != fake["label"][row]
    ]
    return min(ways, default=(np.inf, None))


@pytest.mark.parametrize("mode", ["untargeted", "all-targets"])
def test_robust_accuracy_is_counted_one_by_one(mode):
    fake, originals = results(count=60, mode=mode)
    run = generated.run(fake, originals)
    [table] = [table for title, table in tables(run).items() if title.startswith("Robust accuracy")]
    if mode == "all-targets":
        decided = (fake["status"] < Status.NOT_FINITE).sum(axis=1) > 1  # besides the image's own
        distances = [nearest(fake, row)[0] for row in np.flatnonzero(decided)]
    else:
        decided = fake["status"] < Status.NOT_FINITE
        distances = np.where(fake["success"], fake["distortion"], np.inf)[decided]
    for at, share, certified in table.rows:
        expected = np.mean([distance > float(at) for distance in distances])
        assert float(share) == pytest.approx(100 * expected, abs=0.06)
        assert float(share) >= float(certified)
    assert float(table.rows[-1][0]) > np.quantile(np.ravel(fake["distortion"]), 0.9)


def test_distortions_classes_and_transfer():
    fake, originals = results(count=80)
    run = generated.run(fake, originals)
    found = fake["status"] == Status.SUCCESS
    mean, _, _, median, *_ = map(float, rows(run, "Distortions found")["RMS per value"])
    assert mean == pytest.approx(fake["distortion"][found].mean(), abs=1e-5)
    assert median == pytest.approx(np.median(fake["distortion"][found]), abs=1e-5)
    by_class = rows(run, "By class")
    assert {*by_class} == {*map(str, range(10))}
    of_3 = fake["label"] == 3
    known = ~np.isin(fake["status"], (Status.NOT_FINITE, Status.UNREADABLE))
    assert int(by_class["3"][0]) == (of_3 & known).sum() < of_3.sum()
    expected = np.median(fake["distortion"][of_3 & found])
    assert float(by_class["3"][2]) == pytest.approx(expected, abs=1e-5)
    wrong = fake["transfer/other"] != fake["label"]
    error = 100 * np.mean(wrong[found])
    assert float(rows(run, "Examples found, fed to")["other"][0]) == pytest.approx(error, abs=0.06)


@pytest.mark.parametrize("mode", ["untargeted", "all-targets"])
def test_gallery_shows_the_images_of_its_rows(mode):
    fake, originals = results(count=60, mode=mode)
    gallery = generated.run(fake, originals).gallery
    assert [*gallery.columns] == ["original", "difference", "distorted"] and gallery.pixelated
    for example in gallery.examples:
        row = example["index"]
        x_adv = fake["x_adv"][row]
        if mode == "all-targets":
            distance, place = nearest(fake, row)
            if place is None:
                continue
            x_adv = x_adv[place]
            assert example["distortion"] == distance
            assert example["target"] == str(fake["target"][row, place])
        original, _, distorted = map(pixels, example["images"])
        np.testing.assert_array_equal(distorted, np.rint(255 * x_adv[..., 0]))
        np.testing.assert_array_equal(original, np.rint(255 * originals([row])[0][..., 0]))
        assert example["label"] == str(fake["label"][row])


def test_gallery_leaves_out_the_unreadable_and_names_classes():
    fake, originals = results(count=30, classes=3)
    fake.manifest["classes"] = ["a", "b", "c"]
    fake.files = [f"{'abc'[i % 3]}/{i}\x1b.png" for i in range(30)]
    examples = generated.run(fake, originals).gallery.examples
    readable = np.flatnonzero(fake["status"] != 4)
    assert [example["index"] for example in examples] == readable.tolist()
    assert [example["label"] for example in examples] == ["abc"[i % 3] for i in readable]
    expected = [f"{'abc'[i % 3]}/{i}\\x1b.png" for i in readable]
    assert [example["file"] for example in examples] == expected


def test_an_even_sample_is_shown_and_said():
    fake, originals = results(count=100)
    gallery = generated.run(fake, originals, most=9).gallery
    assert len(gallery.examples) == 9 and gallery.note.startswith("9 of 100 images, evenly spaced.")
    steps = np.diff([example["index"] for example in gallery.examples])
    assert np.ptp(steps) <= 2  # the unreadable are left out
    gallery = generated.run(fake, originals, most=100).gallery
    assert " of 100 images; the others could not be attacked." in gallery.note


def raises(indices):
    raise InputError("the folder is gone")


@pytest.mark.parametrize(
    "originals, reason",
    [
        (raises, "the folder is gone"),
        (lambda indices: [np.zeros((3, 3))] * len(indices), r"shapes \[\(3, 3\)\], not \(28, 28"),
    ],
)
def test_without_originals_distorted_images_stand_alone(originals, reason):
    with pytest.warns(UserWarning, match=reason):
        gallery = generated.run(results(count=14)[0], originals).gallery
    assert [*gallery.columns] == ["distorted"]
    assert {len(example["images"]) for example in gallery.examples} == {1}
    assert "originals are not to be had" in gallery.note


def test_no_images_no_successes_and_no_labels():
    fake, originals = results(count=14)
    empty = FakeResults(fake.manifest, {n: fake[n][:0] for n in fake.manifest["columns"]}, [0, 1])
    run = generated.run(empty, originals)
    assert run.gallery is None and not run.charts
    assert run.facts["images"] == "0 of 14: shards are missing"
    everything = {name: fake[name].copy() for name in fake.manifest["columns"]}
    everything["status"][:], everything["success"][:] = Status.NOT_FOUND, False
    everything["label"][:] = -1
    run = generated.run(FakeResults(fake.manifest, everything), originals)
    assert not run.charts and len(run.gallery.examples) == 14
    assert {example["label"] for example in run.gallery.examples} == {"–"}
    page.html([run])


@pytest.mark.parametrize("name", ["index", "label", "target", "x_adv", "success", "status"])
def test_columns_that_are_not_there_are_refused(name):
    fake, originals = results(count=14)
    kept = {each: fake[each] for each in fake.manifest["columns"] if each != name}
    with pytest.raises(InputError, match="these are no results of attacks: the columns are"):
        generated.run(FakeResults(fake.manifest, kept), originals)


def test_columns_of_other_shapes_are_refused():
    fake, originals = results(count=14)
    columns = {name: fake[name] for name in fake.manifest["columns"]}
    columns["distortion"] = columns["distortion"][:, None]
    with pytest.raises(InputError, match=r"distortion \(1,\)"):
        generated.run(FakeResults(fake.manifest, columns), originals)


@pytest.mark.parametrize(
    "mode, name", [("untargeted", "robust accuracy"), ("random", "target not reached")]
)
def test_charts_are_svg_and_say_what_they_show(mode, name):
    run = generated.run(*results(count=40, mode=mode))
    found = Page(page.html([run]))
    charts = [each for each in found.all("img") if each["src"].startswith("data:image/svg+xml;")]
    assert len(charts) == 2 and all(len(each["alt"]) > 20 for each in charts)
    assert any(title.lower().startswith(name) for title in tables(run))
    assert name in charts[0]["alt"].lower() or mode == "random"


@pytest.mark.parametrize("value", [None, 3, "text", [], [[3]], {"name": [], "classes": 3}])
@pytest.mark.parametrize("name", ["model", "data", "mode", "classes", "versions", "seed", "device"])
def test_a_manifest_of_any_form(monkeypatch, name, value):
    monkeypatch.setattr(charts, "_svg", lambda figure: b"<svg/>")  # which takes most of the time
    fake, _ = results(count=14)
    fake.manifest[name] = value
    page.html([generated.run(fake, None)])


def test_rows_are_read_in_parts(monkeypatch):
    fake, originals = results(count=60, mode="all-targets")
    whole = generated.run(fake, originals)
    monkeypatch.setattr(outcomes, "ROWS", 7)
    monkeypatch.setattr("jaxadv.reports.page.summary.ROWS", 7)
    assert generated.run(fake, originals) == whole


def test_of_very_many_images_a_sample_is_kept(monkeypatch):
    fake, originals = results(count=60)
    whole = rows(generated.run(fake, originals), "How the attacks ended")
    monkeypatch.setattr(outcomes, "MOST", 20)
    monkeypatch.setattr(outcomes, "ROWS", 7)  # less than a multiple of three
    run, found = generated.run(fake, originals), outcomes.read(fake)
    assert run.texts[0].endswith("are those of 20 of 60 images, at random.")
    assert rows(run, "How the attacks ended") == whole
    assert (found.rows // 3).tolist() == [*range(20)] and len({*(found.rows % 3)}) == 3
    np.testing.assert_array_equal(found.columns["distortion"], fake["distortion"][found.rows])
    for example in run.gallery.examples:
        row = example["index"]
        assert row in found.rows and example["target"] == str(fake["target"][row])
        shown = pixels(example["images"][2])
        np.testing.assert_array_equal(shown, np.rint(255 * fake["x_adv"][row, ..., 0]))
    assert f" of {60:,} images" in run.gallery.note


def test_large_images_are_fewer():
    fake, originals = results(count=14, shape=(120, 130, 3))
    gallery = generated.run(fake, originals).gallery
    assert not gallery.pixelated
    assert pixels(gallery.examples[0]["images"][1]).shape == (120, 130, 3)
