"""Files of images and labels that are broken, or made to do harm."""

import tracemalloc

import numpy as np
import pytest
from tiny_sources import IDX_FILES, NAME

from jaxadv.datasets import idx
from jaxadv.datasets.npy import open_npy

SHAPE = (3, 2, 1)


def opened(path):
    labels = path.with_name("labels.npy")
    np.save(labels, np.arange(4))
    return open_npy(path, labels, SHAPE)


def header(text):
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode("latin1")


def array(shape, dtype="'|u1'"):
    return header(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}\n")


@pytest.mark.parametrize(
    "content",
    [
        array("(4294967296, 4294967296, 4294967296)"),
        array("(9223372036854775808, 3, 2)"),
        array("(1099511627776, 3, 2)"),
        array("(-1, 3, 2)"),
        array("(4, 3, 2)", "'|O'"),
        array("(4, 3, 2)", "('|u1', (1099511627776,))"),
        array("(4, 3, 2)", 500 * "[" + 500 * "]"),
        array("(4, 3, 2"),
        header("{'descr': '\xff"),
        header(9000 * "("),
        header("(" + 3000 * "-" + "1)"),
        header(""),
        b"",
        b"PK\3\4",
    ],
)
def test_hostile_arrays(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"images must be an \.npy file, got .*x\.npy"):
        opened(tmp_path / "x.npy")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.npy"):
        opened(tmp_path / "x.npy")


def test_changed_bytes_of_arrays(tmp_path):
    path, rng = tmp_path / "x.npy", np.random.default_rng(0)
    np.save(path, rng.uniform(size=(4, *SHAPE)).astype("float32"))
    data = path.read_bytes()
    for _ in range(300):
        changed = bytearray(data[: rng.choice([len(data), rng.integers(1, len(data))])])
        for place in rng.integers(len(changed), size=rng.integers(1, 4)) * rng.uniform():
            changed[int(place)] = rng.choice([*b"({[,'-9\\O", rng.integers(256)])
        path.unlink()  # not to change what is mapped into memory
        path.write_bytes(changed)
        try:
            opened(path)
        except ValueError as error:
            assert "images must" in str(error)


def test_changed_bytes_of_idx_files():
    rng = np.random.default_rng(0)
    for place in range(len(IDX_FILES[NAME])):
        changed = bytearray(IDX_FILES[NAME])
        changed[place] ^= rng.integers(1, 256)
        try:
            found = idx.decode(NAME, bytes(changed), (20,))
        except ValueError as error:
            assert NAME in str(error)
        else:
            assert found.tolist() == list(changed[8:])
