"""What a data set is, in memory and by description."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer


class Dataset(NamedTuple):
    """Images and their labels."""

    images: Float[np.ndarray, "N *image_shape"]  # float32 in [0, 1]
    labels: Integer[np.ndarray, " N"]  # int32, from 0

    def part(self, index: slice | np.ndarray) -> "Dataset":
        """The examples of a slice, of indices, or where a mask is true."""
        return Dataset(self.images[index], self.labels[index])


class DatasetInfo(NamedTuple):
    """What is known of a data set before it is loaded."""

    name: str
    image_shape: tuple[int, ...]  # of one image: (height, width, channels)
    classes: int
    examples: Mapping[str, int]  # by split: "train" and "test"
