"""PNG and JPEG images, and folders of them."""

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxadv.storage.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
DENSEST = 1500  # bytes of pixels per byte of a file, a little more than deflate and JPEG can reach
LARGEST = 2**26  # pixels, which take 200 MB in colour; Pillow warns of a third more
GREYS = ("1", "L", "LA")


class ImageFolder:
    """The files of a folder, as dicts of image (the file's bytes) and label.

    Files are in the order of their names, folder by folder. Names that begin with a dot, and files
    that are not called as in `SUFFIXES`, are passed over.

    Args:
      folder: of sub-folders, one for each class, which are labelled by the order of their names;
        or of images without labels.

    Raises:
      InputError: there are no images, or images both in sub-folders and beside them.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self.classes = tuple(sorted(e.name for e in os.scandir(folder) if _is_class(e))) or None
        beside = _images(folder, deep=False)
        in_classes = [_images(folder / name, deep=True) for name in self.classes or ()]
        found = sum(map(len, in_classes))
        if bool(found) == bool(beside):
            both = (
                "both beside and in sub-folders" if found else "neither in nor beside sub-folders"
            )
            raise InputError(f"PNG and JPEG images are {both}")
        if beside:
            self.classes = None
        elif not all(in_classes):
            named = zip(self.classes or (), in_classes, strict=True)
            empty = [name for name, paths in named if not paths]
            names = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
            warnings.warn(f"folders without images count as classes: {names}", stacklevel=2)
        self._paths = beside or [path for paths in in_classes for path in paths]
        self._ends = np.cumsum([len(paths) for paths in in_classes])

    def __len__(self):
        return len(self._paths)

    def name(self, index: int) -> str:
        """The path of an image in the folder."""
        return os.path.relpath(self._paths[index], self._folder)

    def __getitem__(self, index):
        path = Path(self._paths[index])
        if path.exists() and not path.is_file():  # a pipe would not end
            raise InputError("it is no file")
        image = path.read_bytes()
        if self.classes is None:
            return {"image": image}
        return {"image": image, "label": np.searchsorted(self._ends, index, side="right")}


def open_images(folder: Path) -> ImageFolder:
    """Opens a folder of images.

    Raises:
      InputError: as `ImageFolder`, or it is none; the message names it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    try:
        return ImageFolder(folder)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def _is_class(entry):
    return entry.is_dir() and not entry.name.startswith(".")


def _images(folder, deep):
    """Paths as strings, of which a million fit into memory."""
    found = []
    for root, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        images = (n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith("."))
        found += [os.path.join(root, name) for name in images]
    return sorted(found)


def _raise(error):
    raise error


def decoded(
    data: bytes, size: int | None = None, *, whole: bool = False
) -> UInt8[np.ndarray, "height width channels"]:
    """Decodes a PNG or JPEG image: one channel where it is of greys, else three.

    It is turned upright as its EXIF data say. Transparency is dropped, colours for print (CMYK)
    and of 16 bits become ones of 8 bits for screens.

    Args:
      data: of the file.
      size: as for `fitted`.
      whole: whether all of it is resized to the square (bicubic, anti-aliased), and not its centre.

    Raises:
      InputError: it is of 16-bit greys, or has more pixels than so many bytes can, or than
        `LARGEST`.
      Exception: of any kind, where the file is broken.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    except UnidentifiedImageError:
        raise InputError("it is no PNG or JPEG image") from None
    with opened as image:
        width, height = image.size
        if width * height * len(image.getbands()) > DENSEST * len(data):
            raise InputError(f"it has {len(data)} bytes for {width} × {height} pixels")
        if width * height > LARGEST:
            raise InputError(f"it has {width} × {height} pixels, expected at most {LARGEST:,}")
        if image.mode.startswith(("I", "F")):
            raise InputError(f"its mode is {image.mode}, expected 8 bits per channel")
        image = ImageOps.exif_transpose(image)
        if image.mode == "P":  # Pillow warns of what is transparent
            image = image.convert("RGBA")
        image = image.convert("L" if image.mode in GREYS else "RGB")
        if size is None:
            return _array(image)
        squeezed = whole and image.resize((size, size), Image.Resampling.BICUBIC)
        return _array(squeezed or _fitted(image, size))


def fitted(image: UInt8[np.ndarray, "..."], size: int) -> UInt8[np.ndarray, "size size channels"]:
    """The centre of an image, as large a square as there is, resized (bilinear, anti-aliased).

    Args:
      image: (height, width[, channels]), of 1 or 3 channels.
      size: of the sides of the result, in pixels.

    Raises:
      Exception: of any kind, where the image is not as above.

    Example:
      >>> fitted(np.arange(12, dtype="uint8").reshape(2, 6), 2)[..., 0]
      array([[2, 3],
             [8, 9]], dtype=uint8)
    """
    from PIL import Image

    image = image.squeeze(2) if image.shape[2:] == (1,) else image
    return _array(_fitted(Image.fromarray(image), size))


def cropped(
    image: UInt8[np.ndarray, "height width channels"],
    box: tuple[float, float, float, float],
    size: int,
) -> UInt8[np.ndarray, "size size channels"]:
    """A square of an image, resized (bilinear, anti-aliased).

    Args:
      image: of 1 or 3 channels.
      box: left, upper, right and lower side of the square, in pixels.
      size: of the sides of the result, in pixels.

    Example:
      >>> cropped(np.arange(12, dtype="uint8").reshape(2, 6, 1), (2.0, 0.0, 4.0, 2.0), 2)[..., 0]
      array([[2, 3],
             [8, 9]], dtype=uint8)
    """
    from PIL import Image

    of_greys = image.shape[2] == 1
    opened = Image.fromarray(image[..., 0] if of_greys else image)
    return _array(opened.resize((size, size), Image.Resampling.BILINEAR, box=box))


def grey(
    image: UInt8[np.ndarray, "height width channels"],
) -> UInt8[np.ndarray, "height width 1"]:
    """The luminance of an image of 1 or 3 channels.

    Example:
      >>> grey(np.array([[[255, 0, 0]]], "uint8"))
      array([[[76]]], dtype=uint8)
    """
    from PIL import Image

    return image if image.shape[2] == 1 else _array(Image.fromarray(image).convert("L"))


def _fitted(image: Any, size: int) -> Any:
    from PIL import Image, ImageOps

    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def _array(image):
    array = np.array(image)
    return array[..., None] if array.ndim == 2 else array
