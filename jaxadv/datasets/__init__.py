"""Data sets as NumPy arrays."""

from jaxadv.datasets.dataset import Dataset, DatasetInfo
from jaxadv.datasets.tfds import info, load

__all__ = ["Dataset", "DatasetInfo", "info", "load"]
