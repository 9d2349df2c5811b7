"""Files of weights that are broken, or made to do harm."""

import contextlib
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from torch_files import STORAGES, TENSORS, pickled, state, write_legacy, write_zip

from jaxadv.networks import torch_weights as weights


@pytest.fixture
def bounded():
    """Fails where more memory is taken than the small files here give reason for."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_compressed_storages_are_not_read(tmp_path, bounded):
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", pickled(state({"b": TENSORS["b"]})))
        with archive.open("model/data/1", "w") as file:
            for _ in range(64):
                file.write(bytes(2**20))
    with pytest.raises(ValueError, match=r"x\.pth .* not compressed"):
        weights.read(tmp_path / "x.pth")


def test_a_length_that_the_file_does_not_have(tmp_path, bounded):
    write_zip(tmp_path / "x.pth", state({"b": TENSORS["b"]}))
    data = (tmp_path / "x.pth").read_bytes()
    old, new = struct.pack("<2I", 40, 40), struct.pack("<2I", 2**30, 2**30)
    assert data.count(old) == 2  # in the entry and in the directory
    (tmp_path / "x.pth").write_bytes(data.replace(old, new))
    with pytest.raises(ValueError, match="longer than the file"):
        weights.read(tmp_path / "x.pth")


def test_many_storages_that_the_file_does_not_have(tmp_path, bounded):
    parts = [pickle.dumps(x, protocol=2) for x in (weights.LEGACY_MAGIC, 1001, {})]
    one = "(U\x07storagectorch\nFloatStorage\nU{}{}U\x03cpuJ{}NtQ"
    keys = [f"{i:03}" for i in range(200)]
    count = struct.pack("<i", 2000).decode("latin1")
    parts += [("(" + "".join(one.format("\3", key, count) for key in keys) + "t.").encode("latin1")]
    (tmp_path / "x.pth").write_bytes(b"".join(parts))
    with pytest.raises(ValueError, match="exceeds the file"):
        weights.read(tmp_path / "x.pth")


def write_pickle(path, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", data)
        archive.writestr("model/data/0", STORAGES["0"].tobytes())


def test_long_pickles(tmp_path, bounded):
    """Each byte may be an empty dict, of 64 bytes, so that 16 MB were a gigabyte."""
    write_pickle(tmp_path / "x.pth", 2**20 * b"}" + b".")
    with pytest.raises(ValueError, match=r"x\.pth .* data\.pkl has more than 1048576 bytes"):
        weights.read(tmp_path / "x.pth")


def test_many_tensors_take_little_memory(tmp_path, bounded):
    """As a pickle needs 5 bytes for one more."""
    first = pickled(list(state({"a": ("0", 0, (1, 1), (500, 500))}).values()))
    arguments, memo = first.rindex(pickle.REDUCE), pickle.BINPUT + b"\xf0"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    again = rebuild + pickle.BINPUT + b"\xf1" + 7_000 * b"h\xf1h\xf0R"
    write_pickle(tmp_path / "x.pth", first[:arguments] + memo + again + b".")
    with pytest.raises(ValueError, match="must hold a state dict"):
        weights.read(tmp_path / "x.pth")


def test_references_are_tuples(tmp_path, bounded):
    """Else one may be a tensor of shape (2**40, 0), unpacked."""
    write_pickle(tmp_path / "x.pth", b"]Q.")
    with pytest.raises(ValueError, match="a reference must be a tuple"):
        weights.read(tmp_path / "x.pth")


def test_messages_are_short(tmp_path):
    """Whatever the name of a part, which Python's zipfile tells."""
    write_zip(tmp_path / "x.pth", state())
    data = (tmp_path / "x.pth").read_bytes()
    longer = data.replace(b"\x0e\0\0\0model/data.pkl", b"\xff\x02\0\0model/data.pkl", 1)
    assert longer != data
    (tmp_path / "x.pth").write_bytes(longer)
    with pytest.raises(ValueError, match="File name in directory") as caught:
        weights.read(tmp_path / "x.pth")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "the pickle has no end"),
        (b"N", "the pickle has no end"),
        (b"\xda\0\0", "byte 218 is no instruction of a pickle"),
        (b"0.", "the pickle is broken, IndexError: pop from empty list"),
    ],
)
def test_messages_about_garbage(tmp_path, content, message):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.pth is not a file of torch tensors: {message}$"):
        weights.read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "content", [b"Nr\0\0\0\x02.", b"I" + 5000 * b"9" + b"\n.", b"\x80\x63.", b"\x80\2Q."]
)
def test_short_hostile_pickles(tmp_path, bounded, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pth is not a file of torch tensors"):
        weights.read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "header",
    [
        '{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}',
        '{"a":{"dtype":"F5","shape":[2],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        "[" * 5000,
    ],
)
def test_hostile_safetensors(tmp_path, bounded, header):
    data = struct.pack("<Q", len(header)) + header.encode() + bytes(4)
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.safetensors is not a safetensors file"):
        weights.read(tmp_path / "x.safetensors")


def write_safetensors(path, _):
    safetensors.numpy.save_file({"a": STORAGES["0"], "b": STORAGES["1"]}, path)


@pytest.mark.parametrize(
    "write, name",
    [(write_zip, "x.pth"), (write_legacy, "x.pth"), (write_safetensors, "x.safetensors")],
)
def test_changed_bytes(tmp_path, bounded, write, name):
    path, rng = tmp_path / name, np.random.default_rng(0)
    write(path, state())
    data = path.read_bytes()
    for trial in range(150):
        changed = bytearray(data[: rng.integers(len(data))] if trial % 4 == 0 else data)
        for place in rng.integers(len(changed), size=rng.integers(1, 4)) if changed else []:
            changed[place] = rng.choice([0, 255, rng.integers(256)])
        path.write_bytes(changed)
        with contextlib.suppress(ValueError):
            weights.read(path)
