"""The command `report`, on results in shards and on folders of other commands."""

import sys
import types

import fsspec
import numpy as np
import pytest

from jaxadv import datasets, report
from jaxadv.datasets import examples
from jaxadv.reports import files
from jaxadv.storage import shards

SHAPE, COUNT = (5, 4, 3), 10
FIGURES = {"settings": {"seed": 0}, "versions": {"jax": "0.10.2"}}


def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE)).astype(np.uint8)


def write_results(place, data, **others):
    """Results of an attack that adds up to 0.01, in shards of four."""
    x = np.float32(images() / 255)
    x_adv = np.float32((x + np.random.default_rng(1).uniform(-0.01, 0.01, x.shape)).clip(0, 1))
    distortion = np.sqrt(np.mean(np.square(x_adv - x), axis=(1, 2, 3)))
    columns = {
        "index": np.arange(COUNT),
        "label": np.arange(COUNT, dtype=np.int32) % 3,
        "target": np.arange(1, COUNT + 1, dtype=np.int32) % 3,
        "x_adv": x_adv,
        "success": np.ones(COUNT, bool),
        "status": np.zeros(COUNT, np.int8),
        "distortion": distortion,
        "l2": distortion * np.float32(np.sqrt(np.prod(SHAPE))),
        "evaluations": np.full(COUNT, 50, np.int32),
    }
    described = {
        name: {"dtype": column.dtype.name, "shape": [*column.shape[1:]]}
        for name, column in columns.items()
    }
    manifest = {"model": "mine:network", "data": data, "mode": "untargeted", "count": COUNT}
    source = data.pop("source", None) if isinstance(data, dict) else None
    manifest |= {"shard_size": 4, "columns": described, "data_source": source} | others
    with shards.begin(str(place), manifest) as run:
        for shard in run.missing():
            rows = slice(4 * shard, min(4 * shard + 4, COUNT))
            run.write(shard, {name: column[rows] for name, column in columns.items()})


def described(source):
    found = examples.open_source(source)
    return {"source": source, "name": found.name, "fingerprint": found.fingerprint()}


@pytest.fixture
def npy(tmp_path):
    path = tmp_path / "photos.npy"
    np.save(path, images())
    return str(path)


def run(*options):
    assert report.main([*map(str, options)]) == 0


def refused(capsys, *options):
    assert report.main([*map(str, options)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


def test_results_with_their_originals(tmp_path, npy, capsys):
    write_results(tmp_path / "out", described(npy))
    run(tmp_path / "out")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (f"The page is {tmp_path}/out/report.html.\n", "")
    html = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert '"columns": ["original", "difference", "distorted"]' in html
    assert "Adversarial examples for mine:network on photos.npy" in html
    run(tmp_path / "out", "--out", tmp_path / "new" / "page.html", "--images", 3)
    assert "3 of 10 images, evenly spaced." in (tmp_path / "new" / "page.html").read_text("utf-8")


@pytest.mark.parametrize("gone", [True, False])
def test_results_whose_data_are_gone_or_others(tmp_path, npy, gone):
    write_results(tmp_path / "out", described(npy))
    (tmp_path / "photos.npy").unlink()
    if not gone:
        np.save(npy, images()[::-1])
    reason = "it does not exist" if gone else "is not the data that was attacked"
    with pytest.warns(UserWarning, match=f"shown without their originals: .*{reason}"):
        run(tmp_path / "out")
    assert '"columns": ["distorted"]' in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_code_that_results_name_is_not_run_unasked(tmp_path, monkeypatch):
    calls = []
    source = types.ModuleType("theirs")
    source.__file__, source.images = __file__, lambda: calls.append(0) or images()
    monkeypatch.setitem(sys.modules, "theirs", source)
    write_results(tmp_path, described("theirs:images"))
    calls.clear()
    with pytest.warns(UserWarning, match="may be code to run"):
        run(tmp_path)
    assert not calls
    run(tmp_path, "--data", "theirs:images")
    assert calls
    assert '"columns": ["original", ' in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("data", [None, 3, "photos", {}, {"source": 3, "size": "x"}])
def test_data_of_any_form(tmp_path, data):
    write_results(tmp_path, data)
    with pytest.warns(UserWarning, match="without their originals"):
        run(tmp_path)


def test_an_unfinished_run(tmp_path, npy):
    write_results(tmp_path / "out", described(npy))
    (tmp_path / "out" / "shards" / "000001.safetensors").unlink()
    with pytest.warns(UserWarning, match="1 of 3 shards are missing"):
        run(tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "6 of 10: shards are missing" in html


def test_results_in_an_object_store(tmp_path, npy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_results("memory://results", described(npy))
    run("memory://results")
    assert (tmp_path / "report.html").exists()
    fsspec.filesystem("memory").rm("/results", recursive=True)


def test_the_folder_of_another_command(tmp_path):
    files.write_json(tmp_path / "density.json", FIGURES)
    run(tmp_path)
    assert "python -m jaxadv.density" in (tmp_path / "report.html").read_text("utf-8")


def test_bad_input_ends_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(datasets, "load", pytest.fail)
    (tmp_path / "file").touch()
    assert "Missing from python -m jaxadv.report: DIR" in refused(capsys)
    assert "is not a folder" in refused(capsys, tmp_path / "none")
    assert "is not a folder" in refused(capsys, tmp_path / "file")
    assert "images must be at least 1, got 0" in refused(capsys, tmp_path, "--images", 0)
    assert "has no results: neither" in refused(capsys, tmp_path)
    assert "cannot write into" in refused(capsys, tmp_path, "--out", tmp_path / "file" / "page")
    assert "memory://none holds no results" in refused(capsys, "memory://none", "--out", "x.html")
    (tmp_path / "manifest.json").write_text("{}", "utf-8")
    assert "is no manifest of results" in refused(capsys, tmp_path)


def test_columns_of_something_else_are_refused(tmp_path, capsys):
    columns = {"index": {"dtype": "int64", "shape": []}}
    with shards.begin(tmp_path, {"count": 1, "shard_size": 1, "columns": columns}) as begun:
        begun.write(0, {"index": np.arange(1)})
    assert "these are no results of attacks" in refused(capsys, tmp_path)
