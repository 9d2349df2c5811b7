"""Files of weights, against torch's formats written byte by byte."""

import collections
import pickle
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from torch_files import (
    EXPECTED,
    STORAGES,
    TENSORS,
    TYPES,
    Call,
    Global,
    state,
    write_legacy,
    write_zip,
)

from jaxadv.networks import torch_weights as weights


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_torch_files(tmp_path, write):
    path = tmp_path / "model.pth"
    write(path, state())
    found = weights.read(path)
    assert list(found) == list(TENSORS)
    for name, array in found.items():
        np.testing.assert_array_equal(array, EXPECTED[name])
        assert array.dtype == EXPECTED[name].dtype


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_files_by_torch(form):
    """A state dict as torch 2.14 saved it, with a Parameter, a transposed view, and six types."""
    x = np.arange(24, dtype="float32").reshape(4, 6) / 8
    expected = {
        "weight": x,
        "transposed": x.T[1:3],
        "half": np.arange(3, dtype="float16"),
        "bfloat16": x[0].astype(jnp.bfloat16),
        "mask": x[0] > 0.3,
        "count": np.array(7),
    }
    found = weights.read(Path(__file__).with_name(f"torch_{form}.pth"))
    assert list(found) == list(expected)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


@pytest.mark.parametrize(
    "storage, dtype", [("Short", "int16"), ("Char", "int8"), ("Byte", "uint8"), ("Int", "int32")]
)
def test_integers(tmp_path, monkeypatch, storage, dtype):
    values = np.array([0, 1, 127], dtype)
    monkeypatch.setitem(STORAGES, "0", values)
    monkeypatch.setitem(TYPES, dtype, f"{storage}Storage")
    write_zip(tmp_path / "x.pth", state({"a": ("0", 0, (3,), (1,))}))
    found = weights.read(tmp_path / "x.pth")["a"]
    np.testing.assert_array_equal(found, values, strict=True)


def test_safetensors(tmp_path):
    arrays = {"a": STORAGES["0"].reshape(2, 12), "b": STORAGES["1"]}
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    found = weights.read(tmp_path / "x.safetensors")
    assert set(found) == {"a", "b"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, arrays[name])


class Executes:
    """A pickle that would run a command."""

    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize(
    "value, message",
    [
        (Call(Global("os", "system"), "true"), "os.system is not admitted"),
        (Call(Global("builtins", "eval"), "1"), "builtins.eval is not admitted"),
        (Call(Global("torch.nn", "Linear"), 3, 4), "torch.nn.Linear is not admitted"),
        ([1, 2], "must hold a state dict, got list"),
        (state()["b"], "must hold a state dict, got ndarray"),
        ({"a": 3}, "must hold a state dict, tensors by name, got int by 'a'"),
        ({3: state()["b"]}, "got ndarray by int"),
        ({"state_dict": state(), "epoch": 3}, "got dict by 'state_dict'; of a checkpoint, save"),
        (state({"a": ("0", 0, (5, 6), (6, 1))}), "exceeds its storage"),
        (state({"a": ("0", 20, (6,), (1,))}), "exceeds its storage"),
        (state({"a": ("0", -1, (6,), (1,))}), "bad tensor"),
        (state({"a": ("0", 5, (6,), (-1,))}), "bad tensor"),
        (state({"a": ("0", 0, (6, 1), (1,))}), "bad tensor"),
        (state({"a": ("0", 0, (10**6, 10**6), (0, 0))}), "bad tensor.* overlap"),
        (state({"a": ("0", 0, (4, 4), (2, 1))}), "bad tensor.* overlap"),
        (state({"a": ("0", 0, (1,) * 17, (1,) * 17)}), "bad tensor"),
        (state({"a": ("0", 0, (2**63,), (1,))}), "bad tensor"),
    ],
)
def test_what_is_not_admitted(tmp_path, capsys, write, value, message):
    path = tmp_path / "model.pth"
    write(path, value)
    with pytest.raises(ValueError, match=message):
        weights.read(path)


def test_nothing_is_executed(tmp_path, capsys):
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(Executes()))
    with pytest.raises(ValueError, match=r"builtins\.print is not admitted"):
        weights.read(path)
    assert capsys.readouterr().out == ""


def test_storages_of_another_length(tmp_path):
    path = tmp_path / "model.pth"
    write_zip(path, state(), {**STORAGES, "0": STORAGES["0"][:-1]})
    with pytest.raises(ValueError, match="storage 0 has 23 numbers, not 24"):
        weights.read(path)
    write_legacy(path, state())
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match="storage 2 has 2 numbers, not 3"):
        weights.read(path)


ZIP_IN_PARTS = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 2) + b"PK\5\6" + bytes(18)  # on two disks
FLOAT8 = (
    b"\x40" + bytes(7) + b'{"a":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}}'.ljust(64)
)


@pytest.mark.parametrize(
    "name, content",
    [
        ("x.pth", b"no pickle"),
        ("x.pth", b""),
        ("x.pth", b"PK\x03\x04 no archive"),
        ("x.pth", ZIP_IN_PARTS),
        ("x.safetensors", b"no safetensors"),
        ("x.safetensors", FLOAT8),
    ],
)
def test_other_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="is not a"):
        weights.read(tmp_path / name)


def test_another_magic_number(tmp_path):
    write_legacy(tmp_path / "x.pth", state(), magic=7)
    with pytest.raises(ValueError, match="its magic number is not torch's"):
        weights.read(tmp_path / "x.pth")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.pth"):
        weights.read(tmp_path / "x.pth")


def test_ordered_dicts_are_read(tmp_path):
    pairs = [list(item) for item in state().items()]
    write_zip(tmp_path / "x.pth", Call(Global("collections", "OrderedDict"), pairs))
    assert list(weights.read(tmp_path / "x.pth")) == list(collections.OrderedDict(state()))


def test_old_ordered_dicts_are_not_copied_many_times(tmp_path):
    pairs = [["a", state()["b"]]]
    call = Call(Global("collections", "OrderedDict"), pairs)
    write_zip(tmp_path / "x.pth", {"first": call, "again": call})
    with pytest.raises(ValueError, match="must hold a state dict"):
        weights.read(tmp_path / "x.pth")


def test_the_path_may_be_a_string():
    path = Path(__file__).parent / "torch_zip.pth"
    assert weights.read(str(path)).keys() == weights.read(path).keys()
