"""Pools of adversarial examples, of which a random subset is replaced all the time (sec. 4.2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxadv.training.perturbations import Examples


class Pool(NamedTuple):
    """P slots for examples of a layer's output; those never filled are not usable."""

    activations: Float[jax.Array, "P *shape"]
    labels: Int[jax.Array, " P"]
    usable: Bool[jax.Array, " P"]
    age: Int[jax.Array, " P"]  # calls of `refreshed` since the slot was written


def empty(size: int, shape: tuple[int, ...]) -> Pool:
    """A pool of so many slots for activations of this shape, none of them filled."""
    return Pool(
        jnp.zeros((size, *shape)),
        jnp.zeros(size, int),
        jnp.zeros(size, bool),
        jnp.zeros(size, int),
    )


def refreshed(
    pool: Pool, examples: Examples, key: jax.Array, on: Bool[jax.Array, ""] | bool = True
) -> Pool:
    """Replaces a random subset of the slots by new examples, R ≤ P of them.

    Args:
      pool: what is kept.
      examples: R new ones.
      key: chooses the slots, all equally likely.
      on: whether to; else the pool only ages.

    Returns:
      The pool, with age 0 for what is new.
    """
    size, count = len(pool.labels), len(examples.labels)
    slots = jnp.where(on, subset(key, size, count), size)  # beyond the end nothing is written

    def written(kept, new):
        return kept.at[slots].set(new.astype(kept.dtype), mode="drop")

    return Pool(
        written(pool.activations, examples.activations),
        written(pool.labels, examples.labels),
        written(pool.usable, examples.usable),
        (pool.age + 1).at[slots].set(0, mode="drop"),
    )


def drawn(pool: Pool, key: jax.Array, count: int) -> Examples:
    """So many of the pool's slots, each at random and independent of the others."""
    slots = jax.random.randint(key, (count,), 0, len(pool.labels))
    return Examples(pool.activations[slots], pool.labels[slots], pool.usable[slots])


def subset(key: jax.Array, size: int, count: int) -> Int[jax.Array, " R"]:
    """A random subset of so many of `size` slots."""
    return jax.lax.top_k(jax.random.bits(key, (size,)), count)[1]
