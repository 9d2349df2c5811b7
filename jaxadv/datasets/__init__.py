"""Data sets as NumPy arrays, and a user's own images from wherever they are."""

from jaxadv.datasets.dataset import Dataset, DatasetInfo
from jaxadv.datasets.examples import Example, Examples, open_source
from jaxadv.datasets.reading import Batch, read
from jaxadv.datasets.tfds import info, load

__all__ = [
    "Batch",
    "Dataset",
    "DatasetInfo",
    "Example",
    "Examples",
    "info",
    "load",
    "open_source",
    "read",
]
