"""What `datasets.load` and `info` return, and how a data set is prepared."""

import gzip
import os
import struct
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from tiny_sources import (
    ARRAYS,
    GZ_FILES,
    NOWHERE,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    assert_holds,
    put_files,
    sums,
)

from jaxadv import datasets
from jaxadv.datasets import fetch, idx, prepared, sources, tfds

SPLITS = sources.SOURCES["mnist"].splits  # before fixtures change them


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_all_splits(tmp_path, capfd, name):
    put_files(tmp_path, GZ_FILES, name)
    loaded = datasets.load(name, data_dir=tmp_path)
    assert list(loaded) == ["train", "test"]
    for key, dataset in loaded.items():
        assert_holds(dataset, *ARRAYS[key])
        assert (dataset.images.min(), dataset.images.max()) == (0, 1)
    assert capfd.readouterr() == ("", "")
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("split", "images", "labels"),
    [
        ("train", TRAIN_IMAGES, TRAIN_LABELS),
        ("test", TEST_IMAGES, TEST_LABELS),
        ("train[:5]", TRAIN_IMAGES[:5], TRAIN_LABELS[:5]),
        ("train[50%:]", TRAIN_IMAGES[10:], TRAIN_LABELS[10:]),
        ("test[-3:]", TEST_IMAGES[-3:], TEST_LABELS[-3:]),
        (
            "train[18:]+test[:1]",
            np.concatenate([TRAIN_IMAGES[18:], TEST_IMAGES[:1]]),
            np.concatenate([TRAIN_LABELS[18:], TEST_LABELS[:1]]),
        ),
    ],
)
def test_split(data_dir, split, images, labels):
    assert_holds(datasets.load("mnist", split, data_dir), images, labels)


def test_data_dir_under_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # where a folder "~" would turn up
    put_files(tmp_path / "sets", GZ_FILES)
    assert_holds(datasets.load("mnist", "train", "~/sets"), TRAIN_IMAGES, TRAIN_LABELS)
    assert [path.name for path in tmp_path.iterdir()] == ["sets"]


@pytest.mark.parametrize("split", ["dev", "", "train[", "train[:99]", "train[:120%]", "test[5:5]"])
def test_bad_split(data_dir, split):
    with pytest.raises(ValueError, match=r"Bad split .* splits are \['train', 'test'\]"):
        datasets.load("mnist", split, data_dir)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MNIST", r"not one of \['mnist', 'fashion_mnist'\]\. Did you mean 'mnist'\?"),
        ("fashion-mnist", r"Did you mean 'fashion_mnist'\?"),
        ("cifar10", r"not one of \['mnist', 'fashion_mnist'\]\.$"),
    ],
)
def test_unknown_name(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(name, "train", tmp_path)
    assert not list(tmp_path.iterdir())


def test_info_does_not_load(tmp_path, monkeypatch):
    monkeypatch.delattr(tfds, "_prepared_builder")
    assert datasets.info("mnist") == ("mnist", (28, 28, 1), 10, {"train": 20, "test": 10})
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        datasets.info("MNIST")


# A data set of another shape


@pytest.fixture(params=[(6, 5, 1), (6, 5, 3)], ids=["grey", "colour"])
def another(request, tmp_path, monkeypatch):
    """(images, labels) by split of the data set "another", which has 3 classes."""
    rng, arrays, files, splits = np.random.default_rng(0), {}, {}, {}
    for key, size in {"train": 4, "test": 3, "extra": 2}.items():
        images = rng.integers(0, 256, (size, *request.param), np.uint8)
        arrays[key] = images, rng.integers(0, 3, size, np.uint8)
        splits[key] = sources.Split(size, f"{key}-images", f"{key}-labels")
        shape = images.shape[:-1] if request.param[-1] == 1 else images.shape
        header = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
        files[f"{key}-images.gz"] = gzip.compress(header + images.tobytes())
        header = struct.pack(">4BI", 0, 0, 8, 1, size)
        files[f"{key}-labels.gz"] = gzip.compress(header + arrays[key][1].tobytes())
    source = sources.Source(request.param, 3, splits, NOWHERE, sums(files))
    monkeypatch.setitem(sources.SOURCES, "another", source)
    put_files(tmp_path, files, "another")
    return arrays


def test_another_shape(tmp_path, another):
    loaded = datasets.load("another", data_dir=tmp_path)
    assert list(loaded) == list(another)
    for key, (images, labels) in another.items():
        np.testing.assert_array_equal(loaded[key].images, images / np.float32(255), strict=True)
        np.testing.assert_array_equal(loaded[key].labels, labels.astype(np.int32), strict=True)
    found = datasets.info("another")
    assert found.image_shape == loaded["train"].images.shape[1:]
    assert found.classes == 3
    assert found.examples == {key: len(labels) for key, (_, labels) in another.items()}
    part = datasets.load("another", "test[1:]+extra[:1]", tmp_path)
    expected = np.concatenate([another["test"][1][1:], another["extra"][1][:1]])
    np.testing.assert_array_equal(part.labels, expected)


def test_label_beyond_the_classes(tmp_path, another, monkeypatch):
    beyond = sources.SOURCES["another"]._replace(classes=2)
    assert max(labels.max() for _, labels in another.values()) == 2
    monkeypatch.setitem(sources.SOURCES, "another", beyond)
    with pytest.raises(ValueError, match="2"):
        datasets.load("another", "train", tmp_path)


# Preparation


def test_prepares_once(data_dir, monkeypatch):
    datasets.load("mnist", "test", data_dir)
    monkeypatch.delattr(fetch, "idx_files")
    assert_holds(datasets.load("mnist", "train", data_dir), TRAIN_IMAGES, TRAIN_LABELS)


def test_interrupted_preparation_leaves_nothing(data_dir, monkeypatch):
    def interrupted_decode(name, *args):
        if name.startswith("t10k"):
            raise KeyboardInterrupt
        return decode(name, *args)

    decode = idx.decode
    monkeypatch.setattr(idx, "decode", interrupted_decode)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("mnist", "train", data_dir)
    assert not list((data_dir / "jaxadv_mnist").iterdir())
    monkeypatch.setattr(idx, "decode", decode)
    assert_holds(datasets.load("mnist", "test", data_dir), TEST_IMAGES, TEST_LABELS)


def test_killed_preparation_is_ignored(data_dir):
    leftover = data_dir / "jaxadv_mnist" / "incomplete.ABC123_1.1.0"
    leftover.mkdir(parents=True)
    (leftover / "jaxadv_mnist-train.array_record-00000-of-00001").write_bytes(b"half")
    assert_holds(datasets.load("mnist", "train", data_dir), TRAIN_IMAGES, TRAIN_LABELS)


def test_abandoned_preparation_is_removed(data_dir):
    for name in ("incomplete.ABC123_1.1.0", "incomplete.DEF456_1.1.0"):
        (data_dir / "jaxadv_mnist" / name).mkdir(parents=True)
        half = data_dir / "jaxadv_mnist" / name / "half"
        half.write_bytes(b"half")
    long_ago = time.time() - 2 * prepared.ABANDONED
    for path in (half, half.parent):
        os.utime(path, (long_ago, long_ago))
    datasets.load("mnist", "train", data_dir)
    left = {path.name for path in (data_dir / "jaxadv_mnist").iterdir()}
    assert left == {"1.1.0", "incomplete.ABC123_1.1.0"}  # the latter may be going on


def test_another_process_is_faster(data_dir, monkeypatch):
    def idx_files_while_another_prepares(*args):
        monkeypatch.setattr(fetch, "idx_files", idx_files)
        tfds._builder_class("mnist")(
            data_dir=data_dir, file_format="array_record"
        ).download_and_prepare()
        return idx_files(*args)

    idx_files = fetch.idx_files
    monkeypatch.setattr(fetch, "idx_files", idx_files_while_another_prepares)
    assert_holds(datasets.load("mnist", "train", data_dir), TRAIN_IMAGES, TRAIN_LABELS)
    assert [path.name for path in (data_dir / "jaxadv_mnist").iterdir()] == ["1.1.0"]


def test_preparation_leaves_no_temporary_folders(data_dir, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    datasets.load("mnist", "train", data_dir)
    assert not list(folder.iterdir())


def test_threads(data_dir):
    stdout = sys.stdout
    with ThreadPoolExecutor(4) as pool:
        loaded = pool.map(partial(datasets.load, "mnist", data_dir=data_dir), ["train"] * 4)
    for dataset in loaded:
        assert_holds(dataset, TRAIN_IMAGES, TRAIN_LABELS)
    assert sys.stdout is stdout


def test_prepared_with_another_size(data_dir, change_source):
    datasets.load("mnist", "train", data_dir)
    change_source("mnist", splits=SPLITS)
    with pytest.raises(ValueError, match=r"jaxadv_mnist.*'train': 20.*'train': 60000.*delete it"):
        datasets.load("mnist", "test", data_dir)


DAMAGE = {
    "*train*": lambda data: data[:-1000],
    "*test*": lambda data: data[:3000] + bytes(4) + data[3004:],
    "dataset_info.json": lambda data: data[:-20],
    "features.json": lambda data: b"",
}
WITHOUT_SUMS = [(name, False) for name in DAMAGE if name != "features.json"]  # which is not read


@pytest.mark.parametrize("name, sums", [*((name, True) for name in DAMAGE), *WITHOUT_SUMS])
def test_damaged_after_preparation(data_dir, name, sums):
    datasets.load("mnist", "train", data_dir)
    folder = data_dir / "jaxadv_mnist" / "1.1.0"
    if not sums:
        (folder / prepared.SUMS).unlink()
    [path] = folder.glob(name)
    bad = DAMAGE[name](path.read_bytes())
    path.write_bytes(bad)
    with pytest.warns(UserWarning, match=rf"{folder} is damaged"):
        assert_holds(datasets.load("mnist", "train", data_dir), TRAIN_IMAGES, TRAIN_LABELS)
    assert (folder.with_name("1.1.0.damaged") / path.name).read_bytes() == bad
    assert_holds(datasets.load("mnist", "test", data_dir), TEST_IMAGES, TEST_LABELS)


def test_damaged_twice_and_beyond(data_dir):
    folder = data_dir / "jaxadv_mnist" / "1.1.0"
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"x")):
        datasets.load("mnist", "train", data_dir)
        damage(next(folder.glob("*train*")))
        with pytest.warns(UserWarning, match="is damaged .*not as it was prepared: .*train"):
            assert_holds(datasets.load("mnist", "train", data_dir), TRAIN_IMAGES, TRAIN_LABELS)
    (folder / "note.txt").write_text("a user's own")
    (folder / prepared.SUMS).write_text("[")
    with pytest.warns(UserWarning, match="is damaged .*JSON"):
        datasets.load("mnist", "train", data_dir)


def test_missing_file_without_sums(data_dir):
    datasets.load("mnist", "train", data_dir)
    folder = data_dir / "jaxadv_mnist" / "1.1.0"
    for path in (folder / prepared.SUMS, *folder.glob("*train*")):
        path.unlink()
    with pytest.warns(UserWarning, match="1.1.0 is damaged"):
        assert_holds(datasets.load("mnist", "train", data_dir), TRAIN_IMAGES, TRAIN_LABELS)
