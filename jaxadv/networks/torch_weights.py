"""Arrays from files of weights: .safetensors, and torch's .pth without torch.

torch's files are pickles, which can run any code. The unpickler here knows tensors, ordered dicts
and nothing else.
"""

import collections
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from jaxadv.storage.unpickler import RestrictedUnpickler

STORAGES = {
    "HalfStorage": np.float16,
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
LEGACY_PROTOCOL = 1001


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads a .safetensors file, or the state dict that torch.save wrote into a .pth file.

    Raises:
      ValueError: the file is neither, or holds anything but named arrays.
      OSError: the file cannot be read.
    """
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file: {error}") from error
    reader = _read_zip if zipfile.is_zipfile(path) else _read_legacy
    broken = (EOFError, KeyError, TypeError, AttributeError, IndexError, zipfile.BadZipFile)
    try:
        state = reader(path)
    except (pickle.UnpicklingError, *broken) as error:
        raise ValueError(f"{path} is not a file of torch tensors: {error}") from error
    named = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(array, np.ndarray) for name, array in state.items()
    )
    if not named:
        raise ValueError(f"{path} must hold a state dict, tensors by name")
    return dict(state)


class _StorageType(NamedTuple):
    dtype: Any


class _Unpickler(RestrictedUnpickler):
    """Admits tensors; `storage` maps a dtype, a key and a number of elements to flat arrays."""

    def __init__(self, file: Any, storage: Callable[[np.dtype, str, int], np.ndarray]):
        types = {("torch", name): _StorageType(np.dtype(kind)) for name, kind in STORAGES.items()}
        admitted = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        super().__init__(file, types | admitted, encoding="utf-8")
        self.storage = storage

    def persistent_load(self, identifier):
        kind, storage_type, key, _, count, *_ = identifier
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise pickle.UnpicklingError(f"{kind!r} is not admitted")
        return self.storage(storage_type.dtype, key, count)


def _rebuild_tensor(storage, offset, size, stride, *_):
    """A view of a storage, with strides in elements."""
    if len(size) != len(stride) or min((offset, *size, *stride), default=0) < 0:
        raise pickle.UnpicklingError(f"bad tensor: offset {offset}, size {size}, stride {stride}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= len(storage):
        raise pickle.UnpicklingError(f"a tensor of size {size} exceeds its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _read_zip(path):
    """The format since torch 1.6: <name>/data.pkl, and each storage in <name>/data/<key>."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError(f"{path} must hold one data.pkl, got {names}")
        folder = names[0].removesuffix("data.pkl")

        def storage(dtype, key, count):
            return _flat(archive.read(f"{folder}data/{key}"), dtype, count)

        with archive.open(names[0]) as file:
            return _Unpickler(file, storage).load()


def _read_legacy(path):
    """The format before: four pickles, the keys of the storages, and these one by one."""
    arrays, size = {}, path.stat().st_size

    def storage(dtype, key, count):
        # Filled once the pickle, which comes first, has told how long it is.
        if not 0 <= count * dtype.itemsize <= size:
            raise pickle.UnpicklingError(f"a storage of {count} numbers in a file of {size} bytes")
        return arrays.setdefault(key, np.zeros(count, dtype))

    def refuse(*_):
        raise pickle.UnpicklingError("a storage outside the state dict")

    with path.open("rb") as file:
        head = [_Unpickler(file, refuse).load() for _ in range(3)]
        if head[:2] != [LEGACY_MAGIC, LEGACY_PROTOCOL]:
            raise pickle.UnpicklingError("its magic number is not torch's")
        state = _Unpickler(file, storage).load()
        for key in _Unpickler(file, refuse).load():
            (count,) = np.frombuffer(file.read(8), "<i8")
            array = arrays[key]
            if count != len(array):
                raise pickle.UnpicklingError(f"storage {key} has {count} numbers, not {len(array)}")
            array[:] = _flat(file.read(array.nbytes), array.dtype, count)
    return state


def _flat(data, dtype, count):
    array = np.frombuffer(data, dtype.newbyteorder("<"))
    if len(array) != count:
        raise pickle.UnpicklingError(f"a storage has {len(array)} numbers, not {count}")
    return array
