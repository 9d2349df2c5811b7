"""Tables, JSON and arrays, as files and on the terminal."""

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.box
import rich.table

from jaxadv.storage import cache


class Table(NamedTuple):
    """A table of strings; the first column names the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self) -> rich.table.Table:
        """For the terminal; the names of columns break after a hyphen and before a bracket."""
        table = rich.table.Table(
            title=self.title,
            title_justify="left",
            box=rich.box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 0, 0, 1),
        )
        table.add_column(self.header[0], no_wrap=True)
        for name in self.header[1:]:
            split = name.replace("(", "\n(") if "(" in name else name.replace("-", "-\n", 1)
            table.add_column(split, justify="right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a file."""
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{self.title}**\n\n{body}\n"


def for_terminal(text: Table | str) -> rich.table.Table | str:
    """What rich prints."""
    return text.rich() if isinstance(text, Table) else text


def markdown(texts: Sequence[Table | str]) -> str:
    """Tables and notes as a file."""
    parts = [text.markdown() if isinstance(text, Table) else f"{text}\n" for text in texts]
    return "\n".join(parts)


def percent(value: float, paper: float | None = None, digits: int = 1) -> str:
    """A fraction in per cent, the paper's in brackets: "12.3 (11.7)"."""
    return beside(f"{100 * value:.{digits}f}", None if paper is None else f"{100 * paper:.4g}")


def distortion(value: float | None, paper: float | None = None) -> str:
    """A distortion, the paper's in brackets: "0.045 (0.058)"."""
    return beside("–" if value is None else f"{value:.3f}", None if paper is None else f"{paper:g}")


def beside(value: str, paper: str | None) -> str:
    """A figure with the paper's in brackets, where it has one."""
    return value if paper is None else f"{value} ({paper})"


def environment() -> dict[str, Any]:
    """What a figure may depend on: the versions of packages, and the device."""
    packages = ("jaxadv", "jax", "jaxlib", "jaxopt", "flax", "optax", "numpy")
    return {
        "versions": {package: metadata.version(package) for package in packages},
        "device": f"{jax.local_device_count()} × {jax.local_devices()[0].device_kind}",
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON; NaN is refused, as it is not JSON."""
    with cache.replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False))


class Parts(NamedTuple):
    """An array that comes in parts, along its first axis."""

    shape: tuple[int, ...]
    dtype: np.dtype
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
    """Writes a whole file, or none."""
    with cache.replacing(path) as temporary:
        temporary.write_text(text)
