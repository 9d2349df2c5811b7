"""Grey crops of photographs, at random places and scales, to learn features from without labels."""

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from jaxadv.datasets.examples import SAMPLED, Examples, spaced
from jaxadv.datasets.images import cropped, decoded, grey, open_images
from jaxadv.datasets.reading import read
from jaxadv.storage.errors import InputError, reason


class Crops:
    """A sequence of photographs, each as a dict whose "image" is its crops, one below the other.

    Crops are grey squares, from any place of the photograph, of any size from `side` to all of its
    shorter side, even on a logarithmic scale, which are then brought to `side` × `side` pixels.

    Args:
      photographs: with a method `name(index)`, and dicts whose "image" is the bytes of a PNG or
        JPEG file, as of an `ImageFolder`.
      count: crops of each photograph.
      side: of the crops, in pixels.
      seed: on it and on the photograph's index, nothing else, depend the crops of a photograph.
    """

    def __init__(self, photographs: Any, count: int, side: int, seed: int):
        self._photographs, self._count, self._side, self._seed = photographs, count, side, seed

    def __len__(self):
        return len(self._photographs)

    def __getitem__(self, index):
        try:
            return {"image": self._cropped(index)}
        except Exception as error:  # what decodes broken files may raise any
            raise InputError(f"{self._photographs.name(index)}: {reason(error)}") from error

    def _cropped(self, index):
        image, side = grey(decoded(self._photographs[index]["image"])), self._side
        height, width, _ = image.shape
        if min(height, width) < side:
            raise InputError(f"it has {width} × {height} pixels, expected {side} on each side")
        rng = np.random.default_rng([self._seed, index])
        boxes = [_box(rng, width, height, side) for _ in range(self._count)]
        return np.concatenate([cropped(image, box, side) for box in boxes])


def _box(rng, width, height, smallest):
    """Left, upper, right and lower side of a crop."""
    size = math.exp(rng.uniform(math.log(smallest), math.log(min(width, height))))
    left, upper = rng.uniform(0, width - size), rng.uniform(0, height - size)
    return left, upper, left + size, upper + size


def open_crops(photographs: Any, name: str, count: int, side: int, seed: int) -> Examples:
    """Equally many crops of each photograph, and no fewer than `count` in all.

    Args:
      photographs: as for `Crops`.
      name: of these photographs.
      count: crops.
      side: as for `Crops`.
      seed: as for `Crops`.

    Raises:
      InputError: of up to 16 that are looked at, one is broken or too small; the message names it.
    """
    crops = Crops(photographs, -(-count // len(photographs)), side, seed)
    examples = Examples(crops, name)
    for index in spaced(len(examples), SAMPLED):
        if index not in examples.sampled:
            raise InputError(f"{name}: {examples[index].error}")
    return examples


def open_folder(folder: Path, count: int, side: int, seed: int) -> Examples:
    """`open_crops` of a folder of PNG and JPEG files, or of one with sub-folders of them.

    Raises:
      InputError: it is no folder, or has no such files; and as `open_crops`.
    """
    return open_crops(open_images(folder), str(folder), count, side, seed)


def read_crops(
    examples: Examples, count: int, seed: int
) -> Float32[np.ndarray, "count side side 1"]:
    """So many crops in random order, read photograph by photograph, ahead of what is asked for.

    Memory holds the crops, and a few photographs. Of more photographs than crops, as many as crops
    are read, evenly spaced.

    Args:
      examples: of `open_crops`.
      count: crops.
      seed: of the order.

    Raises:
      InputError: a photograph is broken or too small; the message names it.
    """
    side, parts = examples.image_shape[1], []
    with closing(read(examples, spaced(len(examples), count), batch_size=1)) as batches:
        for batch in batches:
            if batch.errors[0]:
                raise InputError(f"{examples.name}: {batch.errors[0]}")
            parts.append(batch.images.reshape(-1, side, side, 1))
    crops = np.concatenate(parts)
    return crops[np.random.default_rng(seed).permutation(len(crops))[:count]]
