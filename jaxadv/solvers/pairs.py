"""L-BFGS directions for an objective with a known quadratic part, for lanes in lockstep.

The objective is loss(z) + ½ w ‖z − x‖². The pairs (s, y) are those of the loss alone, and the
quadratic part adds w s to y exactly: pairs stay valid when w changes.

The two-loop recursion needs inner products alone: of the vectors kept, and of these with the
gradients. So a tick passes four times over the vectors for products, once to combine them, and all
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
    of_loss: Float[jax.Array, "L n"],
    missing: Float[jax.Array, " L"],
    weight: Float[jax.Array, " L"],
    memory: int,
) -> tuple[Float[jax.Array, "L n"], Float[jax.Array, " L"]]:
    """−H·gradient, after the pair of this tick; H is of the last pairs, with positive curvature.

    Where that is no descent, and without pairs: half the step to the minimiser, were the loss
    linear. For a box, gradients and pairs are to be 0 in coordinates that are held at a bound.

    Where the loss is a constraint, the step is that of quadratic programming: to the minimiser of
    the model on the plane where the linearised loss is 0, there being a multiplier of the loss.

    Args:
      pairs: the newest at slot `tick` mod R.
      tick: of the newest pair.
      gradient: of the whole objective.
      of_loss: of the loss.
      missing: the loss, where it is a constraint, else NaN.
      weight: w.
      memory: m, pairs of the last so many ticks count.

    Returns:
      The steps; the multipliers, 1 where there is no constraint.
    """
    slots = pairs.valid.shape[1]
    newest_first = (tick - jnp.arange(memory)) % slots
    rows = jnp.concatenate([newest_first, slots + newest_first])
    along = [jnp.einsum("lkn,ln->lk", pairs.vectors, each) for each in (gradient, of_loss)]
    both_ways = (gradient, gradient), (gradient, of_loss), (of_loss, of_loss)
    squares = [jnp.einsum("ln,ln->l", a, b) for a, b in both_ways]
    valid = pairs.valid[:, newest_first]
    both = jnp.concatenate([valid, valid], axis=1)  # lest one that does not count overflow
    products = jnp.where(both[:, :, None] & both[:, None], pairs.products[:, rows][:, :, rows], 0.0)
    along = [jnp.where(both, each[:, rows], 0.0) for each in along]
    coefficients, scale, multiplier = jax.vmap(_combined)(
        products, along, squares, missing, valid, weight
    )
    # By age, not by slot: the sum's last bits must not depend on when a problem has started.
    direction = gradient + (multiplier - 1)[:, None] * of_loss
    for age in range(2 * memory):
        vector = jax.lax.dynamic_index_in_dim(pairs.vectors, rows[age], 1, keepdims=False)
        direction += coefficients[:, age, None] * vector
    return scale[:, None] * direction, multiplier


def _finite(vector):
    return jnp.where(jnp.isfinite(vector), vector, 0.0)


def _combined(products, along, squares, missing, valid, weight):
    """For one lane: what the step has of each vector, newest first, and of the gradients.

    The same bits on any number of devices: XLA may divide by what is broadcast, or multiply by its
    inverse, and in a sum of two products may round either. So there are neither.

    Args:
      products: (2m, 2m) of the vectors.
      along: (2m,) of the vectors and the objective's gradient g, and that of the loss, l.
      squares: g·g, g·l, l·l.
      missing: the loss, or NaN.
      valid: (m,) which pairs there are.
      weight: w.

    Returns:
      What −H·g has of each vector, relative to what it has of g, which is next; the multiplier.
    """
    constrained = ~jnp.isnan(missing)
    initial = jnp.where(constrained, 1.0, 0.5) / weight
    recursion = jax.vmap(_two_loops, in_axes=(None, 0, None, None, None), out_axes=(0, None))
    (of_g, of_l), scale = recursion(products, jnp.stack(along), valid, weight, initial)
    pairs = ((of_g, along[0]), (of_g, along[1]), (of_l, along[1]))  # g·Hg, l·Hg, l·Hl
    g_g, l_g, l_l = (
        scale * _plus_products(square, a, b) for (a, b), square in zip(pairs, squares, strict=True)
    )
    positive = jnp.where(constrained, l_l, g_g) > 0
    scale = jnp.where(positive, scale, initial)
    l_g, l_l = (
        jnp.where(positive, curved, scale * square)
        for curved, square in zip((l_g, l_l), squares[1:], strict=True)
    )
    multiplier = jnp.where(constrained, 1 + (missing - l_g) / jnp.maximum(l_l, 1e-30), 1.0)
    coefficients = of_g + (multiplier - 1) * jnp.where(constrained, of_l, 0.0)
    return jnp.where(positive, coefficients, 0.0), -scale, multiplier


def _two_loops(products, along, valid, weight, initial):
    """For one lane: what H·gradient has of each vector, newest first, relative to the gradient.

    Args:
      products: (2m, 2m) of the vectors.
      along: (2m,) of the vectors and the gradient.
      valid: (m,) which pairs there are.
      weight: w.
      initial: H without pairs.

    Returns:
      The coefficients; what H·gradient has of the gradient.
    """
    m = len(valid)
    s_s, s_y, y_y = products[:m, :m], products[:m, m:], products[m:, m:]
    s_q, y_q = along[:m], along[m:]
    y_y = y_y + weight * (s_y + s_y.T) + weight**2 * s_s  # of the whole objective, from here on
    y_q = y_q + weight * s_q
    s_y = s_y + weight * s_s
    use = [valid[i] & (s_y[i, i] > 0) for i in range(m)]
    curvature = [jnp.where(use[i], s_y[i, i], 1.0) for i in range(m)]
    rho = [1 / each for each in curvature]
    left, alpha, beta = [], [], {}
    for i in range(m):
        left.append(_plus_products(s_q[i], [-each for each in alpha], s_y[i]))
        alpha.append(jnp.where(use[i], left[i] * rho[i], 0.0))
    scale = initial
    for i in reversed(range(m)):
        scale = jnp.where(use[i], curvature[i] / jnp.maximum(y_y[i, i], 1e-30), scale)
    for i in reversed(range(m)):
        of_s = left[i] - scale * _plus_products(y_q[i], [-each for each in alpha], y_y[i])
        of_s = _plus_products(of_s, [-each for each in beta.values()], [s_y[j, i] for j in beta])
        beta[i] = jnp.where(use[i], of_s * rho[i], 0.0)
    inverse = 1 / scale
    betas = jnp.stack([jnp.where(use[i], beta[i] * inverse, 0.0) for i in range(m)])
    alphas = jnp.stack(alpha)
    return jnp.append(betas - weight * alphas, -alphas), scale


def _plus_products(total, a, b):
    """The sum of `total` and all aᵢ bᵢ, one after the other; b may be longer."""
    for i in range(len(a)):
        total = total + a[i] * b[i]
    return total
