"""Images, and labels and targets where there are any, in one .npy or .npz file."""

import difflib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.datasets import npy
from jaxadv.storage.errors import InputError

NAMES = ("images", "labels", "targets")
DEFLATE = 1032  # times that deflate can shorten bytes, at most
LOCAL_HEADER = 30  # bytes, of a zip file's part, before its name and extra field


class Arrays:
    """The rows of arrays, as dicts of image, label and target.

    Args:
      arrays: images (N, …), and labels (N,) and targets (N,) where there are any.

    Attributes:
      columns: the arrays by the keys of the rows.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        sizes = {name: array.shape[:1] for name, array in arrays.items()}
        if arrays["images"].ndim < 2 or len(set(sizes.values())) > 1:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise InputError(f"expected images (N, …), labels (N,) and targets (N,), got {shapes}")
        self.columns = {name.removesuffix("s"): array for name, array in arrays.items()}

    def __len__(self):
        return len(self.columns["image"])

    def __getitem__(self, index):
        return {name: column[index] for name, column in self.columns.items()}


def open_arrays(path: Path) -> Arrays:
    """Maps a file into memory; what is compressed is read.

    Args:
      path: an .npy file of images, or an .npz file of arrays called as in `NAMES`.

    Raises:
      Exception: of any kind, where the file is broken or has other arrays.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "data.npz")
      ...     np.savez(path, images=np.zeros((5, 2, 2), "uint8"), labels=np.arange(5))
      ...     rows = open_arrays(path)
      >>> len(rows), rows[3]["label"]
      (5, np.int64(3))
    """
    buffer = np.memmap(path, np.uint8, "r")
    if bytes(buffer[:2]) != b"PK":
        return Arrays({"images": npy.array(buffer)})
    with zipfile.ZipFile(path) as file:
        parts = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
    if "images" not in parts:
        raise InputError(f"expected arrays called {', '.join(NAMES)}, got {', '.join(parts)}")
    for name in set(parts) - set(NAMES):
        if close := difflib.get_close_matches(name, NAMES, 1, cutoff=0.8):
            raise InputError(f"it has an array called {name}: is it {close[0]}?")
    return Arrays(
        {name: npy.array(_content(buffer, parts[name])) for name in NAMES if name in parts}
    )


def _content(buffer: np.ndarray, part: Any) -> np.ndarray:
    """The bytes of a part of a zip file: a view of the file where they are not compressed."""
    header = buffer[part.header_offset : part.header_offset + LOCAL_HEADER]
    lengths = header[-4:].view("<u2")  # of the name and the extra field
    start = part.header_offset + LOCAL_HEADER + int(lengths.sum())
    content = buffer[start : start + part.compress_size]
    if bytes(header[:4]) != b"PK\3\4" or len(content) != part.compress_size or part.flag_bits & 1:
        raise InputError(f"{part.filename} is cut off, or encrypted")
    if part.compress_type == zipfile.ZIP_STORED:
        return content
    if part.compress_type != zipfile.ZIP_DEFLATED or part.file_size > DEFLATE * len(content):
        raise InputError(f"{part.filename} is not compressed by deflate")
    found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content.data, part.file_size)
    if zlib.crc32(found) != part.CRC:
        raise InputError(f"{part.filename} is damaged: its CRC-32 is not as it was")
    return np.frombuffer(found, np.uint8)
