"""Pictures of images, as PNG files, or JPEG ones of photographs."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxadv.storage import cache

Image = Float[np.ndarray, "height width *channels"]
DPI = 110
LARGEST = 128  # pixels of a side of an image in `image_rows`, as pages show about so many
WIDEST = 18  # characters below an image of `magnified_differences`


def subplots(width: float, height: float, rows: int = 1, columns: int = 1, **shared: Any) -> Any:
    """A figure of so many inches, of Matplotlib, and its (rows, columns) axes."""
    import matplotlib.figure  # when there is something to draw, as it takes half a second

    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def save(figure: Any, path: Path) -> None:
    """Writes a whole file of matplotlib's figure, or none, of the kind that its name says."""
    with cache.replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def example_images(
    path: Path,
    rows: Sequence[str],
    groups: Sequence[Sequence[tuple[Image, Image, str]]],
) -> None:
    """Draws originals, their distorted versions and the differences.

    Args:
      path: of the PNG.
      rows: name of each row.
      groups: for each row some (original, distorted, caption); images (height, width[, 1 or 3])
        in [0, 1]. Differences are drawn on a scale of their own for each row, blue below 0.
    """
    count = max(map(len, groups))
    size = 1.2 + 3.3 * count, 0.5 + 1.35 * len(rows)
    figure, axes = subplots(*size, len(rows), 3 * count)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(False)
    for line, name, group in zip(axes, rows, groups, strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11)
        limit = max((np.abs(distorted - x).max() for x, distorted, _ in group), default=1.0)
        for index, (original, distorted, caption) in enumerate(group):
            first, second, third = line[3 * index : 3 * index + 3]
            _show(first, original)
            _show(second, distorted)
            second.set_xlabel(caption, fontsize=10)
            _show_difference(third, distorted - original, limit)
            third.set_xlabel(f"± {limit:.2f}", fontsize=9)
    for axis, title in zip(axes[0], ["original", "distorted", "difference"] * count, strict=True):
        axis.set_title(title, fontsize=10)
    save(figure, path)


def magnified_differences(
    path: Path, rows: Sequence[Sequence[tuple[Image, Image, str, str]]], factor: float
) -> None:
    """Draws originals, differences and distorted images, as Figure 5 of the paper does.

    Args:
      path: of the PNG.
      rows: of equally many (original, distorted, what is seen in the one, and in the other); images
        (height, width[, 1 or 3]) in [0, 1].
      factor: on differences, which are drawn around a medium grey.
    """
    count = len(rows[0])
    figure, axes = subplots(4.5 * count, 0.3 + 1.75 * len(rows), len(rows), 3 * count)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for line, row in zip(axes, rows, strict=True):
        for index, (original, distorted, before, after) in enumerate(row):
            first, second, third = line[3 * index : 3 * index + 3]
            _show(first, original)
            _show(second, np.clip(0.5 + factor * (distorted - original), 0, 1))
            _show(third, distorted)
            first.set_xlabel(textwrap.fill(before, WIDEST), fontsize=9)
            third.set_xlabel(textwrap.fill(after, WIDEST), fontsize=9)
    titles = ["original", f"difference × {factor:g}", "distorted"] * count
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    save(figure, path)


def image_rows(
    path: Path, names: Sequence[str], rows: Sequence[Sequence[tuple[Image, str]]]
) -> None:
    """Draws rows of equally many images.

    Args:
      path: of the file, .png, or .jpg, which of photographs is a tenth as large.
      names: of the rows.
      rows: (image, caption) pairs; images (height, width[, 1 or 3]) in [0, 1], which are drawn at
        their own resolution at least, as far as `LARGEST`.
    """
    columns = len(rows[0])
    image, _ = rows[0][0]
    larger = max(1, min(image.shape[1], LARGEST) / DPI / 0.56)  # than images of 60 pixels
    size = 1.1 + larger * 0.62 * columns, (0.16 + larger * 0.62) * len(rows)
    figure, axes = subplots(*size, len(rows), columns)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.02, wspace=0, hspace=0)
    for line, name, row in zip(axes, names, rows, strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, (image, caption) in zip(line, row, strict=True):
            _show(axis, image)
            axis.set(xticks=[], yticks=[], frame_on=False)
            axis.set_xlabel(caption, fontsize=8, labelpad=1)
    save(figure, path)


def _show(axis, image):
    """Grey, or in colour where there are three channels; of other numbers, their mean."""
    axis.imshow(_planes(image), cmap="gray", vmin=0, vmax=1)


def _show_difference(axis, difference, limit):
    """Grey images' from blue to red; colours' around a medium grey."""
    planes = _planes(difference)
    if planes.ndim == 2:
        axis.imshow(planes, cmap="RdBu_r", vmin=-limit, vmax=limit)
    else:
        axis.imshow(0.5 + 0.5 * planes / (limit or 1))


def _planes(image):
    """(height, width) or (height, width, 3)."""
    if image.ndim == 3 and image.shape[-1] != 3:
        return image.mean(axis=-1)
    return image
