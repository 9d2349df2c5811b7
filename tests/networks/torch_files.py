"""torch's formats, written byte by byte, without torch."""

import io
import pickle
import struct
import zipfile

import numpy as np

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
        self.extra, self.keys = extra, set()

    def persistent_id(self, value):
        if isinstance(value, Storage):
            array = STORAGES[value.key]
            kind = Global("torch", TYPES[array.dtype.name])
            self.keys.add(value.key)
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


def pickled(value):
    file = io.BytesIO()
    Pickler(file).dump(value)
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


def write_legacy(path, value, magic=weights.LEGACY_MAGIC):
    head = [magic, weights.LEGACY_PROTOCOL, {"little_endian": True}]
    parts = [pickle.dumps(each, protocol=2) for each in head]
    pickler = Pickler(file := io.BytesIO(), extra=(None,))
    pickler.dump(value)
    keys = sorted(pickler.keys)
    parts += [file.getvalue(), pickle.dumps(keys, protocol=2)]
    for key in keys:
        parts += [struct.pack("<q", len(STORAGES[key])), STORAGES[key].tobytes()]
    path.write_bytes(b"".join(parts))
