"""Settings in the types that are declared for them, whether from code, a file or the terminal."""

import numbers
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS: dict[Any, Any] = {int: numbers.Integral, float: numbers.Real, bool: np.bool_}


def converted(name: str, value: Any, expected: Any) -> Any:
    """The value of a setting in its type, which is among those of JSON, tuple, Path and Literal.

    An int passes for a float, a number of NumPy's for one of Python's, str for Path, and list for
    tuple.

    Args:
      name: what messages call the setting.
      value: what it is given.
      expected: its type, as annotated.

    Raises:
      ValueError: the value is of another type.

    Example:
      >>> converted("noise", [1, np.float32(0.5)], tuple[float, ...])
      (1.0, 0.5)
    """
    origin, arguments = typing.get_origin(expected) or expected, typing.get_args(expected)
    if origin is types.UnionType:  # with None
        return None if value is None else converted(name, value, arguments[0])
    if origin is typing.Literal:
        if not isinstance(value, str) or value not in arguments:
            raise ValueError(f"{name} must be one of {arguments}, got {value!r}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(converted(name, item, arguments[0]) for item in value)
    if origin is Path and isinstance(value, str):
        return Path(value)
    if _is_long(value):
        raise ValueError(f"{name} must have at most 64 bits")
    truth = isinstance(value, bool | np.bool_)  # which Python takes for an int
    if truth != (origin is bool) or not isinstance(value, (origin, NUMBERS.get(origin, origin))):
        raise ValueError(f"{name} must be of type {origin.__name__}, got {value!r}")
    return origin(value)


def _is_long(value):
    return type(value) is int and not -(2**63) <= value < 2**63
