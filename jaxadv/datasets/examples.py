"""A user's images from wherever they are, one by one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Shaped

from jaxadv.datasets import images, tfds
from jaxadv.datasets.arrays import Arrays, open_arrays
from jaxadv.storage import cache, imports
from jaxadv.storage.errors import InputError, reason

KINDS = (
    "an .npy or .npz file, a folder of images or of TFDS's array_record files, tfds:NAME/SPLIT, or "
    "module:function"
)
SAMPLED = 16  # examples that are looked at before any work
UNKNOWN = -1  # label or target
LARGEST_LABEL = 2**31 - 1


class Example(NamedTuple):
    """An image, or the reason why there is none."""

    image: Float32[np.ndarray, "*image_shape"] | None  # in [0, 1]
    label: int | None = None
    target: int | None = None
    error: str | None = None


class Examples:
    """A sequence of examples, each read when it is asked for.

    One that cannot be read has an error in place of its image, and harms no other.

    Args:
      records: a sequence of images, of tuples (image, label) or (image, label, target), or of dicts
        with these keys. An image is an array of uint8 or uint16, which are scaled to [0, 1], or of
        floating-point numbers in [0, 1]; or the bytes of a PNG or JPEG file. A label or target of
        −1 or None is not known.
      name: by which a run knows the data again.
      classes: their names.
      size: to which `images.fitted` brings images.

    Raises:
      InputError: there are no records, or of those looked at, evenly spaced, none can be read, or
        they have several shapes.

    Example:
      >>> examples = Examples([(np.full((1, 2), 51, "uint8"), 3), np.full((1, 2), 7.0)], "mine")
      >>> examples[0].image, examples[0].label, examples.image_shape
      (array([[0.2, 0.2]], dtype=float32), 3, (1, 2))
      >>> examples[1].error
      'it has values from 7 to 7, expected [0, 1]'
    """

    image_shape: tuple[int, ...] = ()  # until it is known

    def __init__(
        self,
        records: Any,
        name: str,
        *,
        classes: tuple[str, ...] | None = None,
        size: int | None = None,
    ):
        self.name, self.classes = name, classes
        self._records, self._size, self._length = records, size, len(records)
        if not self._length:
            raise InputError("there are no examples")
        sample = {index: self[index] for index in spaced(self._length, SAMPLED)}
        self.image_shape = _common_shape(sample)
        self.labelled = self._any_known("label", sample)
        self.targeted = self._any_known("target", sample)
        self.sampled = [index for index, each in sample.items() if each.image is not None]
        rows = [tuple(example[:3]) for example in sample.values()]
        self._fingerprint = cache.fingerprint(name, self._length, rows)

    def __len__(self):
        return self._length

    def __getitem__(self, index: int) -> Example:
        index = range(self._length)[index]
        label = target = None
        try:
            record = _fields(self._records[index])
            label, target = _class(record, "label"), _class(record, "target")
            return Example(self._image(record["image"]), label, target)
        except Exception as error:  # the user's code, and what decodes images, may raise any
            folder, of_file = self._records, ""
            if isinstance(folder, images.ImageFolder):
                of_file = folder.name(index).replace("\n", "\\n") + ": "  # in one line
            return Example(None, label, target, of_file + reason(error))

    def at_once(
        self, indices: Sequence[int] | Int[np.ndarray, " N"]
    ) -> tuple[np.ndarray, Any, Any] | None:
        """Images, labels and targets, as a `Batch` has them, where all are rows of sound arrays.

        Images one by one would cost small attacks on an accelerator their time. None where they
        have to be asked for so.
        """
        if not self.are_arrays or self._size is not None:
            return None
        rows = self._records[np.asarray(indices)]
        try:
            labels, targets = (
                _classes(rows[name], name) if name in rows else None for name in ("label", "target")
            )
            return _scaled(rows["image"]), labels, targets
        except InputError:  # of some
            return None

    @property
    def are_arrays(self) -> bool:
        """Whether they are arrays, which other processes would but copy."""
        return isinstance(self._records, Arrays)

    def at_hand(self, name: Literal["label", "target"]) -> np.ndarray | None:
        """The labels or targets of all, as given; None unless they are an array."""
        return self._records.columns.get(name) if self.are_arrays else None

    def files(self, count: int) -> list[str] | None:
        """Paths of the first images in their folder; None where they are not of one."""
        folder = self._records
        return [*map(folder.name, range(count))] if isinstance(folder, images.ImageFolder) else None

    def fingerprint(self) -> str:
        """16 hexadecimal digits from name, length and the examples looked at."""
        return self._fingerprint

    def _any_known(self, name, sample):
        numbers = self.at_hand(name)
        if numbers is not None:
            return bool((numbers != UNKNOWN).any())
        return any(getattr(example, name) is not None for example in sample.values())

    def _image(self, given):
        if isinstance(given, bytes):
            image = _scaled(images.decoded(given, self._size))
            if image.shape == _grey(self.image_shape):
                image = np.repeat(image, 3, axis=-1)
        else:
            image = np.asarray(given)
            image = _scaled(image if self._size is None else images.fitted(image, self._size))
        if self.image_shape not in ((), image.shape):
            raise InputError(f"its shape is {image.shape}, expected {self.image_shape}")
        return image


class _Called:
    """What a user's function returns; in another process, what it returns there."""

    def __init__(self, name: str):
        self._name, (self._records, _) = name, imports.called(name)

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        return self._records[index]

    def __reduce__(self):
        return _Called, (self._name,)


def open_source(spec: str, *, size: int | None = None, data_dir: Path | None = None) -> Examples:
    """Opens a user's images.

    Args:
      spec: an .npy file of images, or an .npz file of images, and of labels and targets where there
        are any; a folder of PNG and JPEG images, with a sub-folder per class, labelled by the order
        of their names; a folder of array_record files that TFDS has written, or FOLDER/SPLIT;
        "tfds:NAME/SPLIT"; or "module:function", which is called without arguments and returns
        records as `Examples` has them.
      size: to which images are cropped and resized, (size, size) pixels.
      data_dir: where TFDS keeps data sets.

    Raises:
      InputError: there is no such thing, or it is broken, or does not hold what it should.
    """
    if size is not None and size < 1:
        raise InputError(f"size must be at least 1, got {size}")
    try:
        records, name, classes = _opened(spec, data_dir)
        return Examples(records, name, classes=classes, size=size)
    except Exception as error:  # broken files, and the user's code, may raise any
        raise InputError(f"cannot read {spec}: {reason(error)}") from error


def _opened(spec, data_dir):
    """The records of a source, its name, and the names of its classes."""
    path = Path(spec).expanduser()
    if spec.startswith("tfds:"):
        return tfds.open_split(spec.removeprefix("tfds:"), data_dir)
    if (path / "features.json").exists():
        return tfds.open_split(f"{path}/")
    if (path.parent / "features.json").exists() and not path.exists():
        return tfds.open_split(str(path))
    if path.is_dir():
        folder = images.ImageFolder(path)
        return folder, path.resolve().name, folder.classes
    if path.exists():
        return open_arrays(path), path.name, None
    if ":" in spec:
        return _Called(spec), spec, None
    raise InputError(f"it does not exist; expected {KINDS}")


def spaced(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 0 on, evenly spaced; of what lies between, the lower.

    Example:
      >>> spaced(10, 4), spaced(3, 4)
      ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.linspace(0, count - 1, min(count, most)).astype(int).tolist()


def _fields(record):
    if isinstance(record, tuple):
        record = dict(zip(("image", "label", "target"), record, strict=False))
    elif not isinstance(record, Mapping):
        record = {"image": record}
    if "image" not in record:
        raise InputError(f"it has {list(record)}, expected image, label and target")
    return record


def _class(record, name):
    """The label or target of a record."""
    given = record.get(name)
    number = None if given is None else int(_classes(np.asarray(given)[None], name)[0])
    return None if number == UNKNOWN else number


def _classes(numbers, name):
    """The labels or targets of several records."""
    if numbers.ndim > 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(f"its {name} is {numbers.dtype} {numbers.shape[1:]}, expected an integer")
    for number in (numbers.min(), numbers.max()):
        if not UNKNOWN <= number <= LARGEST_LABEL:
            raise InputError(f"its {name} is {number}, expected {UNKNOWN} to {LARGEST_LABEL}")
    return numbers.astype(np.int32)


def _scaled(image: Shaped[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    if not image.size:
        raise InputError(f"its shape is {image.shape}")
    if image.dtype.kind == "u" and image.dtype.itemsize <= 2:
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    if not np.issubdtype(image.dtype, np.floating):
        raise InputError(
            f"it is of {image.dtype}, expected uint8, uint16 or floating-point numbers in [0, 1]"
        )
    smallest, largest = image.min(), image.max()  # NaN where there is one
    if not (smallest >= 0 and largest <= 1):
        raise InputError(f"it has values from {smallest:g} to {largest:g}, expected [0, 1]")
    return image.astype(np.float32)


def _grey(shape):
    """The shape of an image of greys that stands among ones in colour."""
    return (*shape[:-1], 1) if shape and shape[-1] == 3 else None


def _common_shape(sample):
    shapes = {index: each.image.shape for index, each in sample.items() if each.image is not None}
    if not shapes:
        raise InputError(f"example 0: {sample[0].error}")
    largest = max(shapes.values())
    for index, shape in shapes.items():
        if shape not in (largest, _grey(largest)):
            raise InputError(
                f"example {index} has the shape {shape}, another {largest}; with a size, images "
                "are cropped and resized"
            )
    return largest
