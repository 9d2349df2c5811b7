"""A user's own images and labels, as .npy files that may be larger than the memory."""

from pathlib import Path

import numpy as np

from jaxadv.datasets.dataset import Dataset


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
    images, labels = _opened("images_file", images_file), _opened("labels_file", labels_file)
    _check_images(images, image_shape)
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels_file must hold a label per image, shape {images.shape[:1]}, got {labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels_file must hold integers, got {labels.dtype}")
    return Dataset(images.reshape(-1, *image_shape), labels)


def _opened(name, path):
    if path is None:
        raise ValueError(f"images_file and labels_file go together, got no {name}")
    with path.open("rb"):  # an OSError from here on is of the file's content
        pass
    try:
        with np.errstate(over="raise"):
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a broken header raises any
        raise ValueError(f"{name} must be an .npy file, got {path}: {error}") from error


def _check_images(images, image_shape):
    *sides, channels = image_shape
    if images.shape[1:] not in ((image_shape, tuple(sides)) if channels == 1 else (image_shape,)):
        last = "[, 1]" if channels == 1 else f", {channels}"
        expected = f"(N, {', '.join(map(str, sides))}{last})"
        raise ValueError(f"images_file must have the shape {expected}, got {images.shape}")
    if len(images) < 3:
        raise ValueError(f"images_file must hold at least 3 images, got {len(images)}")
    if images.dtype == np.uint8:
        return
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"images_file must hold uint8 or floating-point numbers in [0, 1], got {images.dtype}"
        )
    smallest, largest = images.min(), images.max()  # NaN where there is one
    if not (smallest >= 0 and largest <= 1):
        raise ValueError(
            f"images_file must lie in [0, 1], got values from {smallest:g} to {largest:g}"
        )
