"""Pytrees of which a scalar decides."""

from typing import TypeVar

import jax
from jaxtyping import Bool

_Tree = TypeVar("_Tree")


def select(condition: Bool[jax.Array, ""], if_true: _Tree, if_false: _Tree) -> _Tree:
    """One of two pytrees of arrays, of the same shapes and types.

    What is the same array in both is passed on: each selection takes time to compile.

    Example:
      >>> import jax.numpy as jnp
      >>> select(jnp.array(True), {"a": jnp.array(1)}, {"a": jnp.array(2)})["a"].item()
      1
    """

    def leaf(a, b):
        return a if a is b else jax.lax.select(condition, a, b)

    return jax.tree.map(leaf, if_true, if_false)


def select_changes(condition: Bool[jax.Array, ""], old: _Tree, new: _Tree, other: _Tree) -> _Tree:
    """`select(condition, new, other)`, where `other` is `old` if the condition holds.

    Arrays that are the same in `old` and `new` are not selected: of many cases that exclude each
    other, each costs as many selections as it has changes.

    Example:
      >>> import jax.numpy as jnp
      >>> old, new = (jnp.array(0), jnp.array(0)), jnp.array(1)
      >>> first = select_changes(jnp.array(False), old, (new, old[1]), old)
      >>> second = select_changes(jnp.array(True), old, (old[0], new), first)
      >>> [each.item() for each in second]
      [0, 1]
    """

    def leaf(old, new, other):
        return other if new is old else jax.lax.select(condition, new, other)

    return jax.tree.map(leaf, old, new, other)
