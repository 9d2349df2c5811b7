"""Batches in order, whoever reads them, in memory that does not grow."""

import multiprocessing
import sys
import threading
import tracemalloc
from contextlib import closing

import numpy as np
import pytest

from jaxadv.datasets.examples import Examples, open_source
from jaxadv.datasets.reading import read

RECORDS = """
import os

class Records:
    def __len__(self):
        return 23
    def __getitem__(self, index):
        if index == 5:
            raise OSError(f"no disk for {os.getpid()}")
        return {"image": [[index / 100, 1.0]], "label": 2 * index}

records = Records
"""


@pytest.fixture
def examples(tmp_path, monkeypatch):
    (tmp_path / "own_records.py").write_text(RECORDS)
    monkeypatch.syspath_prepend(tmp_path)
    yield open_source("own_records:records")
    sys.modules.pop("own_records", None)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_order(examples, workers):
    indices = np.random.default_rng(0).permutation(23)
    batches = list(read(examples, indices, batch_size=4, workers=workers))
    assert [len(batch.images) for batch in batches] == [4, 4, 4, 4, 4, 3]
    images = np.concatenate([batch.images for batch in batches])
    good = indices != 5
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images[good, 0, 0], np.float32(indices[good] / 100))
    assert np.isnan(images[~good]).all()
    labels = np.concatenate([batch.labels for batch in batches])
    np.testing.assert_array_equal(labels, np.where(good, 2 * indices, -1))
    assert {batch.targets for batch in batches} == {None}
    np.testing.assert_array_equal(np.concatenate([b.readable for b in batches]), good)
    (error,) = (error for batch in batches for error in batch.errors if error)
    here = np.array_equal([error], [examples[5].error])  # the process is the same
    assert error.startswith("OSError: no disk for") and here == (workers == 0)


@pytest.mark.slow
def test_workers_end_when_they_are_no_longer_needed(examples):
    before = set(multiprocessing.active_children())
    with closing(read(examples, range(23), batch_size=2, workers=2)) as batches:
        next(batches)
        assert len(set(multiprocessing.active_children()) - before) == 2
    assert set(multiprocessing.active_children()) == before


def test_arrays_go_to_no_other_process(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    with closing(
        read(open_source(str(tmp_path / "x.npy")), range(4), batch_size=2, workers=2)
    ) as batches:
        next(batches)
        assert not multiprocessing.active_children()


def test_targets_without_labels():
    examples = Examples([{"image": [0.5], "target": 3}, {"image": [0.5]}], "two")
    (batch,) = read(examples, range(2), batch_size=5)
    assert batch.labels is None and batch.targets.tolist() == [3, -1]


def test_two_batches_are_read_before_they_are_asked_for():
    read_of_third, asked = threading.Event(), []

    class Records(list):
        def __getitem__(self, index):
            asked.append(index)
            if index == 5:
                read_of_third.set()
            return super().__getitem__(index)

    examples = Examples(Records([np.zeros((1, 1), "uint8")] * 100), "ahead")
    del asked[:]
    read_of_third.clear()
    with closing(read(examples, range(100), batch_size=2)) as batches:
        next(batches)
        assert read_of_third.wait(10)
    assert max(asked) < 10  # in what is asked for, two more, and the one that is being read


def test_memory_does_not_grow():
    class Stream:
        def __len__(self):
            return 10**9

        def __getitem__(self, index):
            return np.full((16, 16), index % 256, np.uint8), index % 10

    examples = Examples(Stream(), "stream")
    tracemalloc.start()
    peaks = []
    with closing(read(examples, range(10**9), batch_size=20)) as batches:
        for count, _ in zip(range(120), batches, strict=False):
            if count in (20, 119):
                peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[0] < 6 * 20 * 16 * 16 * 4 + 1e6
    assert peaks[1] < peaks[0] + 2e5


def test_labels_that_no_sample_has_are_read():
    image = np.zeros((2, 2), "uint8")
    examples = Examples([(image, 7 if index == 50 else None) for index in range(100)], "few")
    assert not examples.labelled
    batches = [*read(examples, range(100), batch_size=40)]
    assert batches[0].labels is None and batches[1].labels[10] == 7


@pytest.mark.parametrize("damage", [{}, {"images": np.nan}, {"labels": -2}, {"targets": 2**31}])
def test_arrays_are_read_at_once_as_one_by_one(tmp_path, monkeypatch, damage):
    rng = np.random.default_rng(0)
    arrays = {"images": rng.random((21, 2, 2)), "labels": np.arange(21), "targets": np.arange(21)}
    for name, value in damage.items():
        arrays[name][7] = value
    np.savez(tmp_path / "data.npz", **arrays)
    examples = open_source(str(tmp_path / "data.npz"))
    at_once = list(read(examples, range(20, 0, -1), batch_size=8))
    monkeypatch.setattr(Examples, "at_once", lambda *_: None)
    for batch, singly in zip(at_once, read(examples, range(20, 0, -1), batch_size=8), strict=True):
        for column, expected in zip(batch[:3], singly[:3], strict=True):
            assert column.dtype == expected.dtype
            np.testing.assert_array_equal(column, expected)
        assert batch.errors == singly.errors
