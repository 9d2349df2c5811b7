"""Bounds on the entries of a pytree, as flat vectors."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Float


def flat_box(
    x: Any, bounds: Sequence[Any]
) -> tuple[Float[jax.Array, " n"], Float[jax.Array, " n"]]:
    """The lower and upper bounds of all entries of x, in the order of `ravel_pytree`.

    Args:
      x: pytree of arrays, all of float32 or all of float64.
      bounds: pair (lower, upper). Each is None, for no bound, or a number, or a pytree like x of
        these and of arrays in the shapes of its leaves.

    Raises:
      ValueError: for other arguments, and for bounds that leave nothing between them, or are NaN,
        where they are not traced.
    """
    leaves = jax.tree.leaves(x)
    dtypes = {jnp.result_type(leaf) for leaf in leaves}
    if len(dtypes) != 1 or not dtypes <= {jnp.dtype("float32"), jnp.dtype("float64")}:
        got = ", ".join(sorted(map(str, dtypes))) or "no arrays"
        raise ValueError(f"x0 must be all of float32 or all of float64, got {got}")
    if not any(jnp.size(leaf) for leaf in leaves):
        raise ValueError("x0 must not be empty")
    if not (isinstance(bounds, tuple | list) and len(bounds) == 2):
        raise ValueError(
            f"bounds must be a pair (lower, upper), got {bounds!r:.200}; SciPy's, of an array, are"
            " tuple(numpy.array(pairs).T), or (bounds.lb, bounds.ub)"
        )
    (dtype,) = dtypes
    lower = _of_leaves("lower", bounds[0], x, -np.inf)
    upper = _of_leaves("upper", bounds[1], x, np.inf)
    for low, high in zip(lower, upper, strict=True):
        _check_order(low, high)

    def flat(side):
        full = [
            jnp.broadcast_to(jnp.asarray(bound, dtype), jnp.shape(leaf))
            for bound, leaf in zip(side, leaves, strict=True)
        ]
        return ravel_pytree(full)[0]

    return flat(lower), flat(upper)


def _of_leaves(name, bound, x, default):
    """One bound per leaf of x: a number, or an array in its shape."""
    leaves, structure = jax.tree.flatten(x)
    if bound is None or (jax.tree_util.all_leaves([bound]) and jnp.ndim(bound) == 0):
        found = [bound] * len(leaves)
    else:
        found, like = jax.tree.flatten(bound, is_leaf=lambda leaf: leaf is None)
        if like != structure:
            raise ValueError(
                f"{name} bounds must be None, a number or a pytree like x0, {structure}, got {like}"
            )
    found = [default if bound is None else bound for bound in found]
    for bound, leaf in zip(found, leaves, strict=True):
        if jnp.ndim(bound) and jnp.shape(bound) != jnp.shape(leaf):
            shapes = f"{jnp.shape(leaf)}, got {jnp.shape(bound)}"
            raise ValueError(f"{name} bounds must have the shape of x0, {shapes}")
    return found


def _check_order(lower, upper):
    if isinstance(lower, Tracer) or isinstance(upper, Tracer):
        return
    lower, upper = np.broadcast_arrays(np.asarray(lower), np.asarray(upper))
    wrong = ~(lower <= upper) | (lower == np.inf) | (upper == -np.inf)
    if wrong.any():
        pair = f"{lower[wrong][0]} and {upper[wrong][0]}"
        raise ValueError(
            f"lower bounds must be numbers, below ∞, and not above upper ones, got {pair}"
        )
