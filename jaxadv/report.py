"""Tables, JSON and pictures."""

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib.figure
import numpy as np
import rich.box
import rich.table

from jaxadv import cache


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


def heat_maps(
    path: Path, panels: dict[str, np.ndarray], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Draws matrices of fractions side by side.

    Args:
      path: of the PNG.
      panels: title -> (rows, columns) fractions, NaN where there is none.
      rows: their names.
      columns: their names.
    """
    figure = matplotlib.figure.Figure(
        figsize=(3 + 0.75 * len(columns) * len(panels), 2.6 + 0.45 * len(rows)),
        layout="constrained",
    )
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(100 * values, vmin=0, vmax=100, cmap="magma", aspect="auto")
        axis.set_title(title)
        axis.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
        axis.set_yticks(range(len(rows)), rows)
        axis.set_xlabel("fed to")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                color = "black" if value > 0.6 else "white"
                axis.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=color)
    axes[0].set_ylabel("made for")
    figure.colorbar(image, ax=list(axes), label="error (%)", pad=0.02)
    _save(figure, path)


def example_images(
    path: Path,
    rows: Sequence[str],
    groups: Sequence[Sequence[tuple[np.ndarray, np.ndarray, str]]],
) -> None:
    """Draws originals, their distorted versions and the differences.

    Args:
      path: of the PNG.
      rows: name of each row.
      groups: for each row some (original, distorted, caption); images (height, width[, 1]) in
        [0, 1]. Differences are drawn on a scale of their own for each row, blue below 0.
    """
    count = max(map(len, groups))
    figure = matplotlib.figure.Figure(
        figsize=(1.2 + 3.3 * count, 0.5 + 1.35 * len(rows)), layout="constrained"
    )
    axes = figure.subplots(len(rows), 3 * count, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(False)
    for line, name, group in zip(axes, rows, groups, strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        limit = max((np.abs(distorted - x).max() for x, distorted, _ in group), default=1.0)
        for index, (original, distorted, caption) in enumerate(group):
            first, second, third = line[3 * index : 3 * index + 3]
            first.imshow(original.squeeze(), cmap="gray", vmin=0, vmax=1)
            second.imshow(distorted.squeeze(), cmap="gray", vmin=0, vmax=1)
            second.set_xlabel(caption, fontsize=10)
            difference = (distorted - original).squeeze()
            third.imshow(difference, cmap="RdBu_r", vmin=-limit, vmax=limit)
            third.set_xlabel(f"± {limit:.2f}", fontsize=9)
    for axis, title in zip(axes[0], ["original", "distorted", "difference"] * count, strict=True):
        axis.set_title(title, fontsize=10)
    _save(figure, path)


def _save(figure, path):
    with cache.replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
