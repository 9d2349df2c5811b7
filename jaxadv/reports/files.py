"""Files of figures: JSON, Markdown, arrays."""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from jaxadv.storage import cache


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON; NaN is refused, as it is not JSON."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False))


class Parts(NamedTuple):
    """An array that comes in parts, along its first axis."""

    shape: tuple[int, ...]
    dtype: DTypeLike
    parts: Iterable[np.ndarray]


def write_arrays(path: Path, arrays: Mapping[str, Parts]) -> None:
    """Writes an .npz file, of which memory holds a part at a time."""
    with cache.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, (shape, dtype, parts) in arrays.items():
            descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
            header = {"descr": descr, "fortran_order": False, "shape": shape}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for part in parts:
                    file.write(np.ascontiguousarray(part, dtype).tobytes())


def write_text(path: Path, text: str) -> None:
    """Writes a whole file in UTF-8, or none; "?" stands for what is no text, as in file names."""
    with cache.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")
