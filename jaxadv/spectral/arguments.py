"""Checking of the arguments of norms and bounds."""

import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

ITERATIONS = {"exact": 0, "gram": 8, "power": 30}  # by default, of each method


def checked_array(name: str, array: Any, ranks: tuple[int, ...]) -> jax.Array:
    """The array in a floating-point type of at least 32 bits, or ValueError."""
    # To put what is NumPy's on the device compiles nothing, as asarray does for each shape.
    array = jax.device_put(array) if isinstance(array, np.ndarray) else jnp.asarray(array)
    if array.ndim not in ranks or array.size == 0:
        described = {(2,): "(m, n)", (3, 4): "(length, in, out) or (height, width, in, out)"}[ranks]
        raise ValueError(f"{name} must have the shape {described}, not empty, got {array.shape}")
    check_finite(name, array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def check_finite(name: str, array: Any) -> None:
    """Raises ValueError for an array that is complex, or not finite, unless it is traced."""
    if jnp.iscomplexobj(array):
        raise ValueError(f"{name} must be real, got {array.dtype}")
    if not isinstance(array, Tracer) and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")


def per_axis(name: str, value: Any, axes: int) -> tuple[int, ...]:
    """A tuple of ints of at least 1, one per axis, or ValueError."""
    values = (value,) * axes if isinstance(value, numbers.Integral) else value
    if not _are_integers(values, axes, least=1):
        raise ValueError(f"{name} must be at least 1, one integer or {axes}, got {value!r}")
    return tuple(map(int, values))


def _are_integers(values, count, least):
    return (
        isinstance(values, Sequence | np.ndarray)
        and len(values) == count
        and all(isinstance(value, numbers.Integral) and value >= least for value in values)
    )


def checked_options(
    kernel: jax.Array, groups: Any, method: str, iterations: Any
) -> tuple[int, str, int]:
    """Groups, method and iterations, by default those of the method; or ValueError."""
    if not _are_integers([groups], 1, least=1) or kernel.shape[-1] % groups:
        raise ValueError(f"groups must divide the {kernel.shape[-1]} features, got {groups!r}")
    if method not in ITERATIONS:
        raise ValueError(f"method must be one of {list(ITERATIONS)}, got {method!r}")
    iterations = ITERATIONS[method] if iterations is None else iterations
    if method != "exact" and not _are_integers([iterations], 1, least=1):
        raise ValueError(f"iterations must be an integer of at least 1, got {iterations!r}")
    return groups, method, iterations


def pads_per_axis(
    padding: Any,
    input_shape: Sequence[int],
    size: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Sequence[tuple[int, int]]:
    """((before, after), …) for each axis, or ValueError."""
    if padding in ("SAME", "VALID"):
        window = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
        return jax.lax.padtype_to_pads(input_shape, window, strides, padding)
    pads = [padding] * len(size) if isinstance(padding, numbers.Integral) else padding
    if isinstance(pads, Sequence) and not isinstance(pads, str) and len(pads) == len(size):
        pads = [(pad,) * 2 if isinstance(pad, numbers.Integral) else pad for pad in pads]
        if all(_are_integers(pad, 2, least=0) for pad in pads):
            return [(int(before), int(after)) for before, after in pads]
    raise ValueError(
        'padding must be "SAME", "VALID", or for each axis an integer of at least 0 or a pair'
        f" of them, got {padding!r}"
    )
