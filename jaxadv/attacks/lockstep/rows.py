"""Rare work, for few lanes at a time: their rows of the arrays that all lanes have."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int

_Tree = TypeVar("_Tree")


def for_lanes(wanted: Bool[jax.Array, " L"], change: Callable, state: Any) -> Any:
    """Changes the state for the lanes that are wanted, an eighth of all at a time.

    What is rare, and passes over vectors, is to cost a pass over those of few lanes.

    Args:
      wanted: lanes.
      change: (rows, where, state) -> state, with (l,) indices of lanes: to read, and to write, L
        and so to be dropped where there are no more.
      state: what to change.
    """
    lanes = len(wanted)
    few, total = max(1, lanes // 8), wanted.sum()
    (order,) = jnp.nonzero(wanted, size=lanes, fill_value=0)

    def body(i, state):
        place = i * few + jnp.arange(few)
        rows = order[jnp.minimum(place, lanes - 1)]
        return change(rows, jnp.where(place < total, rows, lanes), state)

    if lanes == 1:  # whose row is the same in all turns: XLA would do the work before the loop
        return jax.lax.cond(wanted[0], functools.partial(body, 0), lambda state: state, state)
    return jax.lax.fori_loop(0, (total + few - 1) // few, body, state)


def rows_of(tree: _Tree, rows: Int[jax.Array, " l"]) -> _Tree:
    """Rows, (l,) indices from 0 on, of all arrays."""
    there = {"mode": "promise_in_bounds", "wrap_negative_indices": False}
    return jax.tree.map(lambda array: array.at[rows].get(**there), tree)


def written(tree: _Tree, where: Int[jax.Array, " l"], new: _Tree) -> _Tree:
    """New rows of all arrays, at (l,) indices from 0 on; dropped beyond the end."""
    there = {"mode": "drop", "wrap_negative_indices": False}
    return jax.tree.map(lambda old, part: old.at[where].set(part, **there), tree, new)
