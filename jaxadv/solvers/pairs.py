"""L-BFGS directions for an objective with a known quadratic part, for lanes in lockstep.

The objective is loss(z) + ½ w ‖z − x‖². The pairs (s, y) are those of the loss alone, and the
quadratic part adds w s to y exactly: pairs stay valid when w changes.

The two-loop recursion needs inner products alone: of the vectors kept, and of these with the
gradient. So a tick passes three times over the vectors for products, once to combine them, and all
else is scalars.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

SLOTS = 4  # rings are multiples of it: else the bits of a product depend on the vector's row


class Pairs(NamedTuple):
    """Rings of R pairs: all lanes write at slot `tick` mod R on every tick, in place.

    A lane that has no pair to write clears its flag.
    """

    vectors: Float[jax.Array, "L 2R n"]  # moves s; then changes y of the loss's gradient; finite
    products: Float[jax.Array, "L 2R 2R"]  # their inner products
    valid: Bool[jax.Array, "L R"]


def no_pairs(memory: int, lanes: int, size: int, dtype: DTypeLike) -> Pairs:
    """An empty ring for each lane, of so many slots or a few more."""
    slots = SLOTS * math.ceil(memory / SLOTS)
    vectors = jnp.zeros((lanes, 2 * slots, size), dtype)
    products = jnp.zeros((lanes, 2 * slots, 2 * slots), dtype)
    return Pairs(vectors, products, jnp.zeros((lanes, slots), bool))


def push(
    pairs: Pairs,
    tick: Int[jax.Array, ""],
    s: Float[jax.Array, "L n"],
    y: Float[jax.Array, "L n"],
    valid: Bool[jax.Array, " L"],
) -> Pairs:
    """Writes one pair per lane, 0 in place of what is not finite, and its products."""
    slots = pairs.valid.shape[1]
    slot = tick % slots
    vectors, products = pairs.vectors, pairs.products
    rows = [(slot, _finite(s)), (slots + slot, _finite(y))]
    for row, vector in rows:
        vectors = jax.lax.dynamic_update_index_in_dim(vectors, vector, row, 1)
    for row, vector in rows:
        with_all = jnp.einsum("lkn,ln->lk", vectors, vector)
        products = jax.lax.dynamic_update_index_in_dim(products, with_all, row, 1)
        products = jax.lax.dynamic_update_index_in_dim(products, with_all, row, 2)
    valid = jnp.where(jnp.arange(slots) == slot, valid[:, None], pairs.valid)
    return Pairs(vectors, products, valid)


def directions(
    pairs: Pairs,
    tick: Int[jax.Array, ""],
    gradient: Float[jax.Array, "L n"],
    weight: Float[jax.Array, " L"],
    memory: int,
) -> Float[jax.Array, "L n"]:
    """−H·gradient, after the pair of this tick; H is of the last pairs, with positive curvature.

    Where that is no descent, and without pairs: half the step to the minimiser, were the loss
    linear. For a box, gradient and pairs are to be 0 in coordinates that are held at a bound.

    Args:
      pairs: the newest at slot `tick` mod R.
      tick: of the newest pair.
      gradient: of the whole objective.
      weight: w.
      memory: m, pairs of the last so many ticks count.
    """
    slots = pairs.valid.shape[1]
    newest_first = (tick - jnp.arange(memory)) % slots
    rows = jnp.concatenate([newest_first, slots + newest_first])
    along = jnp.einsum("lkn,ln->lk", pairs.vectors, gradient)
    square = jnp.sum(gradient**2, axis=1)
    valid = pairs.valid[:, newest_first]
    both = jnp.concatenate([valid, valid], axis=1)  # lest one that does not count overflow
    products = jnp.where(both[:, :, None] & both[:, None], pairs.products[:, rows][:, :, rows], 0.0)
    along = jnp.where(both, along[:, rows], 0.0)
    coefficients, scale = jax.vmap(_two_loops)(products, along, square, valid, weight)
    # By age, not by slot: the sum's last bits must not depend on when a problem has started.
    direction = scale[:, None] * gradient
    for age in range(2 * memory):
        vector = jax.lax.dynamic_index_in_dim(pairs.vectors, rows[age], 1, keepdims=False)
        direction += coefficients[:, age, None] * vector
    return direction


def _finite(vector):
    return jnp.where(jnp.isfinite(vector), vector, 0.0)


def _two_loops(products, along, square, valid, weight):
    """For one lane: what −H·gradient has of each vector, newest first, and of the gradient.

    Args:
      products: (2m, 2m) of the vectors.
      along: (2m,) of the vectors and the gradient.
      square: ‖gradient‖².
      valid: (m,) which pairs there are.
      weight: w.
    """
    m = len(valid)
    s_s, s_y, y_y = products[:m, :m], products[:m, m:], products[m:, m:]
    s_q, y_q = along[:m], along[m:]
    y_y = y_y + weight * (s_y + s_y.T) + weight**2 * s_s  # of the whole objective, from here on
    y_q = y_q + weight * s_q
    s_y = s_y + weight * s_s
    use = [valid[i] & (s_y[i, i] > 0) for i in range(m)]
    curvature = [jnp.where(use[i], s_y[i, i], 1.0) for i in range(m)]
    alpha, beta = [], {}
    for i in range(m):
        left = s_q[i] - sum(alpha[j] * s_y[i, j] for j in range(i))
        alpha.append(jnp.where(use[i], left / curvature[i], 0.0))
    scale = 0.5 / weight
    for i in reversed(range(m)):
        scale = jnp.where(use[i], curvature[i] / jnp.maximum(y_y[i, i], 1e-30), scale)
    for i in reversed(range(m)):
        left = scale * (y_q[i] - sum(alpha[j] * y_y[i, j] for j in range(m)))
        left = left + sum(beta[j] * s_y[j, i] for j in beta)
        beta[i] = jnp.where(use[i], alpha[i] - left / curvature[i], 0.0)
    alphas, betas = jnp.stack(alpha), jnp.stack([beta[i] for i in range(m)])
    of_s, of_y = betas - scale * weight * alphas, -scale * alphas
    is_descent = of_s @ s_q + of_y @ (y_q - weight * s_q) + scale * square > 0
    coefficients = jnp.where(is_descent, jnp.append(of_s, of_y), 0.0)
    return -coefficients, -jnp.where(is_descent, scale, 0.5 / weight)
