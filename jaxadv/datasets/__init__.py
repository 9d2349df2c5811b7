"""Data sets as NumPy arrays."""

from jaxadv.datasets.tfds import Dataset, load

__all__ = ["Dataset", "load"]
