"""Files of arrays that are larger than memory."""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from jaxadv.storage import cache


class Parts(NamedTuple):
    """An array that comes in parts, along its first axis."""

    shape: tuple[int, ...]
    dtype: DTypeLike
    parts: Iterable[np.ndarray]


def write_arrays(path: Path, arrays: Mapping[str, Parts]) -> None:
    """Writes an .npz file, of which memory holds a part at a time; no date is in its bytes."""
    with cache.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, (shape, dtype, parts) in arrays.items():
            descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
            header = {"descr": descr, "fortran_order": False, "shape": shape}
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for part in parts:
                    file.write(np.ascontiguousarray(part, dtype).tobytes())
