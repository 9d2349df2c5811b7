"""Pytrees of which a scalar decides."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Bool

_Tree = TypeVar("_Tree")


def select(condition: Bool[jax.Array, ""], if_true: _Tree, if_false: _Tree) -> _Tree:
    """One of two pytrees.

    Example:
      >>> select(jnp.array(True), {"a": jnp.array(1)}, {"a": jnp.array(2)})["a"].item()
      1
    """
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
