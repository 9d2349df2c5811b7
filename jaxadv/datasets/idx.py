"""IDX files of unsigned bytes, the format of MNIST."""

import math
import struct

import numpy as np
from jaxtyping import UInt8


def encode(array: np.ndarray) -> bytes:
    """The contents of an IDX file of an array, which is rounded down to bytes."""
    return _header(array.shape) + array.astype(np.uint8).tobytes()


def decode(name: str, data: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """The array in an IDX file.

    Raises:
      ValueError: the file `name` does not hold an array of this shape.

    Example:
      >>> decode("labels", encode(np.array([3, 1, 4])), (3,))
      array([3, 1, 4], dtype=uint8)
    """
    header = _header(shape)
    if not data.startswith(header) or len(data) != len(header) + math.prod(shape):
        raise ValueError(f"{name} is not an IDX file of {shape} unsigned bytes")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(height, width, channels) as IDX files have it: without the channels where there is one."""
    return shape[:-1] if shape[-1] == 1 else shape


def _header(shape: tuple[int, ...]) -> bytes:
    unsigned_byte = 8
    return struct.pack(f">4B{len(shape)}I", 0, 0, unsigned_byte, len(shape), *shape)
