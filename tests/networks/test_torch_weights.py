"""Files of weights: torch's formats written here byte by byte, without torch."""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from jaxadv.networks import torch_weights as weights

RNG = np.random.default_rng(0)
STORAGES = {
    "0": RNG.normal(size=24).astype("float32"),
    "1": np.arange(5, dtype="int64"),
    "2": RNG.normal(size=3).astype("float16"),
}
TYPES = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage"}
# name -> storage, offset, size, stride
TENSORS = {
    "a.weight": ("0", 0, (4, 6), (6, 1)),
    "a.view": ("0", 6, (2, 3), (1, 6)),  # shares its storage, transposed
    "b": ("1", 0, (5,), (1,)),
    "scalar": ("1", 3, (), ()),
    "half": ("2", 0, (3,), (1,)),
}
EXPECTED = {
    "a.weight": STORAGES["0"].reshape(4, 6),
    "a.view": STORAGES["0"].reshape(4, 6)[1:, :2].T,
    "b": STORAGES["1"],
    "scalar": STORAGES["1"][3],
    "half": STORAGES["2"],
}


class Storage:
    """What torch's pickles refer to by a persistent identifier."""

    def __init__(self, key):
        self.key = key


class Global:
    """Is pickled as the name of an object that need not exist here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Is pickled as a call of a global."""

    def __init__(self, function, *args):
        self.function, self.args = function, args


class Pickler(pickle._Pickler):
    """Writes `Global`, `Call` and `Storage`."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def __init__(self, file, extra=()):
        super().__init__(file, protocol=2)
        self.extra = extra

    def persistent_id(self, value):
        if isinstance(value, Storage):
            array = STORAGES[value.key]
            kind = Global("torch", TYPES[array.dtype.name])
            return ("storage", kind, value.key, "cpu", len(array), *self.extra)
        return None

    def save_global_name(self, value):
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())

    def save_call(self, value):
        self.save(value.function)
        self.save(value.args)
        self.write(pickle.REDUCE)


Pickler.dispatch[Global] = Pickler.save_global_name
Pickler.dispatch[Call] = Pickler.save_call


def pickled(value, extra=()):
    file = io.BytesIO()
    Pickler(file, extra).dump(value)
    return file.getvalue()


def state(tensors=TENSORS):
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    ordered = Call(Global("collections", "OrderedDict"))
    return {
        name: Call(rebuild, Storage(key), offset, size, stride, False, ordered)
        for name, (key, offset, size, stride) in tensors.items()
    }


def write_zip(path, value, storages=STORAGES):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickled(value))
        for key, array in storages.items():
            archive.writestr(f"model/data/{key}", array.tobytes())


def uses_all(value):
    return isinstance(value, dict) and list(value) == list(TENSORS)


def write_legacy(path, value, magic=weights.LEGACY_MAGIC):
    head = [magic, weights.LEGACY_PROTOCOL, {"little_endian": True}]
    parts = [pickle.dumps(each, protocol=2) for each in head]
    keys = sorted(STORAGES) if uses_all(value) else []
    parts += [pickled(value, extra=(None,)), pickle.dumps(keys, protocol=2)]
    for key in keys:
        parts += [struct.pack("<q", len(STORAGES[key])), STORAGES[key].tobytes()]
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_torch_files(tmp_path, write):
    path = tmp_path / "model.pth"
    write(path, state())
    found = weights.read(path)
    assert list(found) == list(TENSORS)
    for name, array in found.items():
        np.testing.assert_array_equal(array, EXPECTED[name])
        assert array.dtype == EXPECTED[name].dtype


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
        ([1, 2], "must hold a state dict"),
        ({"a": 3}, "must hold a state dict"),
        ({3: state()["b"]}, "must hold a state dict"),
        (state({"a": ("0", 0, (5, 6), (6, 1))}), "exceeds its storage"),
        (state({"a": ("0", 20, (6,), (1,))}), "exceeds its storage"),
        (state({"a": ("0", -1, (6,), (1,))}), "bad tensor"),
        (state({"a": ("0", 5, (6,), (-1,))}), "bad tensor"),
        (state({"a": ("0", 0, (6, 1), (1,))}), "bad tensor"),
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
    with pytest.raises(ValueError, match="a storage has 23 numbers, not 24"):
        weights.read(path)
    write_legacy(path, state())
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match="a storage has 2 numbers, not 3"):
        weights.read(path)


@pytest.mark.parametrize(
    "name, content",
    [
        ("x.pth", b"no pickle"),
        ("x.pth", b""),
        ("x.pth", b"PK\x03\x04 no archive"),
        ("x.safetensors", b"no safetensors"),
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
