"""L-BFGS directions for a box and an objective with a known quadratic part, for vmapped lanes.

The objective is loss(z) + ½ w ‖z − x‖². The pairs (s, y) are those of the loss alone, and the
quadratic part adds w s to y exactly: pairs stay valid when w changes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int


class Pairs(NamedTuple):
    """A ring of m pairs, written at slot `tick` mod m on every tick; lanes are vmapped over axis 1.

    All lanes write at the same slot, in place; a lane that has no pair to write clears its flag.
    """

    s: Float[jax.Array, "m n"]  # moves
    y: Float[jax.Array, "m n"]  # changes of the loss's gradient
    valid: Bool[jax.Array, " m"]


def no_pairs(slots: int, lanes: int, size: int, dtype: DTypeLike) -> Pairs:
    """An empty ring for each lane."""
    zeros = jnp.zeros((slots, lanes, size), dtype)
    return Pairs(zeros, zeros, jnp.zeros((slots, lanes), bool))


def push(
    pairs: Pairs,
    tick: Int[jax.Array, ""],
    s: Float[jax.Array, "lanes n"],
    y: Float[jax.Array, "lanes n"],
    valid: Bool[jax.Array, " lanes"],
) -> Pairs:
    """Writes one pair per lane."""
    slot = tick % len(pairs.s)
    return Pairs(*(ring.at[slot].set(new) for ring, new in zip(pairs, (s, y, valid), strict=True)))


def projected_direction(
    pairs: Pairs,
    tick: Int[jax.Array, ""],
    point: Float[jax.Array, " n"],
    gradient: Float[jax.Array, " n"],
    weight: Float[jax.Array, ""],
) -> Float[jax.Array, " n"]:
    """Descent direction at a point of the box [0, 1]ⁿ, for one lane, after the pair of this tick.

    The two-loop recursion, restricted to the free coordinates: those that are not at a bound which
    the negative gradient points out of.

    Args:
      pairs: (m, n), the newest at slot `tick` mod m.
      tick: of the newest pair.
      point: (n,) in [0, 1].
      gradient: (n,) of the whole objective.
      weight: w.
    """
    held = ((point <= 0) & (gradient > 0)) | ((point >= 1) & (gradient < 0))
    q = jnp.where(held, 0.0, gradient)
    slots = [(tick - age) % len(pairs.s) for age in range(len(pairs.s))]  # newest first
    moves, changes, curvatures, usable = [], [], [], []
    for slot in slots:
        s = jnp.where(held, 0.0, pairs.s[slot])
        y = jnp.where(held, 0.0, pairs.y[slot] + weight * pairs.s[slot])
        curvature = jnp.vdot(s, y)
        usable.append(pairs.valid[slot] & (curvature > 0))
        moves.append(s)
        changes.append(y)
        curvatures.append(jnp.where(usable[-1], curvature, 1.0))

    alphas = []
    for s, y, curvature, use in zip(moves, changes, curvatures, usable, strict=True):
        alphas.append(jnp.where(use, jnp.vdot(s, q) / curvature, 0.0))
        q = q - alphas[-1] * y
    # Without pairs: half the step to the minimiser if the loss were linear.
    scale = 0.5 / weight
    for y, curvature, use in reversed(list(zip(changes, curvatures, usable, strict=True))):
        scale = jnp.where(use, curvature / jnp.maximum(jnp.vdot(y, y), 1e-30), scale)
    q = scale * q
    for s, y, curvature, use, alpha in reversed(
        list(zip(moves, changes, curvatures, usable, alphas, strict=True))
    ):
        beta = jnp.where(use, jnp.vdot(y, q) / curvature, 0.0)
        q = q + (alpha - beta) * s
    is_descent = jnp.vdot(q, gradient) > 0
    return -jnp.where(is_descent, q, jnp.where(held, 0.0, 0.5 / weight * gradient))
