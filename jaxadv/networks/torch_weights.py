"""Arrays from files of weights: .safetensors, and torch's .pth without torch.

torch's files are pickles, which can run any code. The unpickler here knows tensors, ordered dicts
and nothing else.
"""

import collections
import io
import math
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Float

from jaxadv.storage.errors import InputError, described
from jaxadv.storage.unpickler import RestrictedUnpickler

STORAGES = {
    "BFloat16Storage": jnp.bfloat16,
    "HalfStorage": np.float16,
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
LEGACY_PROTOCOL = 1001
MOST_AXES = 16  # where torch has 64, which nobody uses, and each takes memory
LONGEST = 2**20  # bytes of pickles, enough for some thousand tensors


def read(path: Path | str) -> dict[str, np.ndarray]:
    """Reads a .safetensors file, or the state dict that torch.save wrote into a .pth file.

    Args:
      path: of the file; memory holds about as much as the file.

    Raises:
      ValueError: the file is neither, or holds anything but named arrays.
      OSError: the file cannot be read.
    """
    path = Path(path)
    with _Reader(path.open("rb", buffering=0)) as file:
        if path.suffix == ".safetensors":
            kind, reader = "safetensors file of NumPy's types", _read_safetensors
        else:
            kind, reader = "file of torch tensors", _read_torch
        try:
            state = reader(file)
        except Exception as error:  # a broken file raises any
            reason = str(error) or described(error)
            raise InputError(f"{path} is not a {kind}: {reason:.200}") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} must hold a state dict, got {type(state).__name__}")
    for name, array in state.items():
        if not (isinstance(name, str) and isinstance(array, np.ndarray)):
            label = f"{name!r:.100}" if isinstance(name, str) else type(name).__name__
            raise InputError(
                f"{path} must hold a state dict, tensors by name, got {type(array).__name__} by"
                f" {label}; of a checkpoint, save the state dict alone"
            )
    return dict(state)


def taken(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], model: str
) -> Float[np.ndarray, "*shape"]:
    """An array of a model's state dict, in float32, or in float64 where it is so.

    Raises:
      InputError: it is missing, not of the shape, or not finite.
    """
    if name not in arrays:
        raise InputError(f"no array {name!r}, expected those of {model}, got {list(arrays)}")
    array = np.asarray(arrays[name])
    if array.shape != shape:
        raise InputError(f"{name} has the shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite, got NaN or infinity")
    return array if array.dtype == np.float64 else array.astype(np.float32)


class _Reader(io.BufferedReader):
    """Makes no room for more than the file has, whatever length it is asked for."""

    @property
    def length(self):
        return os.fstat(self.fileno()).st_size

    def read(self, size=-1, /):
        left = max(0, self.length - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


class _StorageType(NamedTuple):
    dtype: Any


class _Unpickler(RestrictedUnpickler):
    """Admits tensors; `new_storage` maps a dtype, a key and a number of elements to flat arrays."""

    def __init__(self, file: Any, new_storage: Callable[[np.dtype, str, int], np.ndarray]):
        types = {("torch", name): _StorageType(np.dtype(kind)) for name, kind in STORAGES.items()}
        admitted = {
            ("collections", "OrderedDict"): _ordered_dict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        super().__init__(file, types | admitted, encoding="utf-8")
        self.new_storage = new_storage
        self.storages = {}

    def persistent_load(self, identifier):
        if not isinstance(identifier, tuple):  # a tensor of shape (2**40, 0) would be unpacked
            raise pickle.UnpicklingError("a reference must be a tuple")
        kind, storage_type, key, _, count, *_ = identifier
        known = isinstance(storage_type, _StorageType) and type(key) is str and type(count) is int
        if kind != "storage" or not known:
            raise pickle.UnpicklingError("a reference to what is no storage is not admitted")
        if key not in self.storages:
            self.storages[key] = self.new_storage(storage_type.dtype, key, count)
        storage = self.storages[key]
        _check_length(key, len(storage), count)
        if storage.dtype != storage_type.dtype:
            raise pickle.UnpicklingError(f"storage {key} is of two types")
        return storage


def _ordered_dict(pairs=None):
    """Empties the list it is given, lest a short pickle have a long one copied many times."""
    found = collections.OrderedDict()
    if pairs is not None:
        if not all(type(name) is str for name, _ in pairs):
            raise pickle.UnpicklingError("names of tensors must be strings")
        found.update(pairs)
        pairs.clear()
    return found


def _rebuild_tensor(storage, offset, size, stride, *_):
    """A view of a storage, with strides in elements, that has no element twice."""
    axes = len(size) == len(stride) <= MOST_AXES
    if not axes or not all(type(n) is int and 0 <= n < 2**63 for n in (offset, *size, *stride)):
        raise pickle.UnpicklingError("bad tensor: its offset, size or stride")
    last = 0
    for step, n in sorted((step, n) for n, step in zip(size, stride, strict=True) if n > 1):
        if step <= last:
            raise pickle.UnpicklingError(f"bad tensor: elements of stride {stride} overlap")
        last += (n - 1) * step
    if math.prod(size) and offset + last >= len(storage):
        raise pickle.UnpicklingError(f"a tensor of size {size} exceeds its storage")
    strides = [step * storage.itemsize for step in stride]
    # Not as_strided, which makes ten objects.
    tensor = np.ndarray(size, storage.dtype, storage, offset * storage.itemsize, strides)
    tensor.flags.writeable = False
    return tensor


def _read_safetensors(file):
    return safetensors.numpy.load_file(file.name)


def _read_torch(file):
    reader = _read_zip if zipfile.is_zipfile(file) else _read_legacy
    file.seek(0)
    return reader(file)


def _read_zip(file):
    """The format since torch 1.6: <name>/data.pkl, and each storage in <name>/data/<key>."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("torch's files are not compressed, as this one is")
        if sum(entry.file_size for entry in entries) > file.length:
            raise ValueError("its parts are longer than the file")
        names = [entry.filename for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError(f"it must hold one data.pkl, got {names}")
        folder = names[0].removesuffix("data.pkl")

        def storage(dtype, key, count):
            return _flat(archive.read(f"{folder}data/{key}"), dtype, key, count)

        if archive.getinfo(names[0]).file_size > LONGEST:
            raise ValueError(f"its data.pkl has more than {LONGEST} bytes")
        return _Unpickler(io.BytesIO(archive.read(names[0])), storage).load()


def _read_legacy(file):
    """The format before: five pickles, the last the keys of the storages, and these one by one."""
    left = file.length

    def storage(dtype, key, count):
        # Filled once the pickle, which comes first, has told how long it is.
        nonlocal left
        left -= count * dtype.itemsize
        if count < 0 or left < 0:
            raise pickle.UnpicklingError(f"storage {key} of {count} numbers exceeds the file")
        return np.zeros(count, dtype)

    def refuse(*_):
        raise pickle.UnpicklingError("a storage outside the state dict")

    pickles = io.BytesIO(file.read(LONGEST))
    head = [_Unpickler(pickles, refuse).load() for _ in range(3)]
    if head[:2] != [LEGACY_MAGIC, LEGACY_PROTOCOL]:
        raise pickle.UnpicklingError("its magic number is not torch's")
    unpickler = _Unpickler(pickles, storage)
    state, keys = unpickler.load(), _Unpickler(pickles, refuse).load()
    if not all(type(key) is str for key in keys) or sorted(keys) != sorted(unpickler.storages):
        raise pickle.UnpicklingError("its storages are not those of the tensors")
    file.seek(pickles.tell())
    for key in keys:
        array = unpickler.storages[key]
        _check_length(key, int.from_bytes(file.read(8), "little"), len(array))
        array[:] = _flat(file.read(array.nbytes), array.dtype, key, len(array))
    return state


def _flat(data, dtype, key, count):
    _check_length(key, len(data) // dtype.itemsize, count)
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)


def _check_length(key, found, count):
    if found != count:
        raise pickle.UnpicklingError(f"storage {key} has {found} numbers, not {count}")
