"""Files .npy, mapped into memory, which they may be larger than; a user's images and labels."""

import io
import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxadv.datasets.dataset import Dataset

LONGEST_HEADER = 10_100  # bytes, as NumPy has it
_header_1, _header_2 = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0


def open_npy(
    images_file: Path | None, labels_file: Path | None, image_shape: tuple[int, ...]
) -> Dataset | None:
    """Maps an .npy file of images and one of labels into memory; None where neither is given.

    Args:
      images_file: (N, *image_shape), N ≥ 3, floating-point numbers in [0, 1] or uint8; an axis of
        one channel may be missing.
      labels_file: (N,) integers.
      image_shape: of one image, (height, width, channels).

    Raises:
      ValueError: one file is missing, is not an .npy file, or its array is not as above.
      OSError: a file cannot be read.
    """
    if images_file is None and labels_file is None:
        return None
    images, labels = _opened("images", images_file), _opened("labels", labels_file)
    _check_images(images, image_shape)
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels must hold a label per image, shape {images.shape[:1]}, got {labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must hold integers, got {labels.dtype}")
    return Dataset(images.reshape(-1, *image_shape), labels)


def _opened(name, path):
    if path is None:
        raise ValueError(f"images and labels go together, got no {name}")
    if path.is_dir():
        raise ValueError(f"{name} must be an .npy file, got the folder {path}")
    with path.open("rb"):  # an OSError from here on is of the file's content
        pass
    try:
        return array(np.memmap(path, np.uint8, "r"))
    except Exception as error:  # a broken header raises any
        raise ValueError(f"{name} must be an .npy file, got {path}: {error}") from error


def array(buffer: UInt8[np.ndarray, " bytes"]) -> np.ndarray:
    """The array in the bytes of an .npy file: a view of them.

    Raises:
      Exception: of any kind, where they are no such file, or its array is not as long as they are.

    Example:
      >>> file = io.BytesIO()
      >>> np.save(file, np.arange(3))
      >>> array(np.frombuffer(file.getvalue(), np.uint8))
      array([0, 1, 2])
    """
    start = io.BytesIO(buffer[:LONGEST_HEADER].tobytes())
    version = np.lib.format.read_magic(start)
    if version not in (readers := {(1, 0): _header_1, (2, 0): _header_2}):
        raise ValueError(f"it has version {version}, expected one of {list(readers)}")
    shape, fortran_order, dtype = readers[version](start)
    content = buffer[start.tell() :]
    if dtype.hasobject or len(content) != dtype.itemsize * math.prod(shape):
        raise ValueError(f"it has {len(content)} bytes, which are no array {shape} of {dtype}")
    return content.view(dtype).reshape(shape, order="F" if fortran_order else "C")


def _check_images(images, image_shape):
    *sides, channels = image_shape
    if images.shape[1:] not in ((image_shape, tuple(sides)) if channels == 1 else (image_shape,)):
        last = "[, 1]" if channels == 1 else f", {channels}"
        expected = f"(N, {', '.join(map(str, sides))}{last})"
        raise ValueError(f"images must have the shape {expected}, got {images.shape}")
    if len(images) < 3:
        raise ValueError(f"images must hold at least 3 images, got {len(images)}")
    if images.dtype == np.uint8:
        return
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"images must hold uint8 or floating-point numbers in [0, 1], got {images.dtype}"
        )
    smallest, largest = images.min(), images.max()  # NaN where there is one
    if not (smallest >= 0 and largest <= 1):
        raise ValueError(f"images must lie in [0, 1], got values from {smallest:g} to {largest:g}")
