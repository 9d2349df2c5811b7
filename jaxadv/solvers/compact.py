"""Compact limited-memory BFGS: a quadratic model of the objective, and its minimiser over a box.

The model's matrix is B = θ (I − W M Wᵀ) with W = [Y/√θ, √θ S] and M⁻¹ = [[−D, Lᵀ], [L, θ SᵀS]]; D
is the diagonal of SᵀY and L what is below it, in order of time ([BLN] eq. 3.2 to 3.4). Pairs (s, y)
are divided by √(sᵀy): this leaves B as it is, makes D the identity, and all well conditioned in
float32.

[BLN] Byrd, Lu, Nocedal, Zhu: A limited memory algorithm for bound constrained optimization, 1995.
[MN] Morales, Nocedal: Remark on "Algorithm 778: L-BFGS-B", 2011.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Int


class Model(NamedTuple):
    """The last m pairs in a ring, and the curvature θ where they say nothing."""

    s: Float[jax.Array, "m n"]  # moves; of no account in slots without a pair
    y: Float[jax.Array, "m n"]  # changes of the gradient
    lower: Float[jax.Array, "m m"]  # L: s_iᵀ y_j where pair i is newer than j, else 0
    pairs: Int[jax.Array, ""]  # written so far: the next goes to this slot, mod m
    theta: Float[jax.Array, ""]


def no_pairs(memory: int, size: int, dtype: DTypeLike) -> Model:
    """B = I."""
    vectors, lower = jnp.zeros((memory, size), dtype), jnp.zeros((memory, memory), dtype)
    return Model(vectors, vectors, lower, jnp.zeros((), int), jnp.ones((), dtype))


def without_pairs(model: Model) -> Model:
    """B = θ I."""
    return model._replace(lower=jnp.zeros_like(model.lower), pairs=jnp.zeros_like(model.pairs))


def pushed(model: Model, s: Float[jax.Array, " n"], y: Float[jax.Array, " n"]) -> Model:
    """With one more pair, of positive curvature sᵀy, in place of the oldest."""
    scale = jax.lax.rsqrt(s @ y)
    s, y = scale * s, scale * y
    new = jnp.arange(len(model.s)) == model.pairs % len(model.s)
    row = new[:, None]
    return Model(
        s=jnp.where(row, s, model.s),
        y=jnp.where(row, y, model.y),
        lower=jnp.where(new, 0.0, jnp.where(row, model.y @ s, model.lower)),
        pairs=model.pairs + 1,
        theta=y @ y,
    )


def step_to_minimiser(
    model: Model,
    gradient: Float[jax.Array, " n"],
    down: Float[jax.Array, " n"],
    up: Float[jax.Array, " n"],
) -> Float[jax.Array, " n"]:
    """A descent step d, −down ≤ d ≤ up, close to the minimiser of gᵀd + ½ dᵀBd among these.

    A gradient step of length 1/θ, projected, says which coordinates to put on a bound; over the
    others the model is minimised ([BLN] sec. 5.1), and this minimiser projected onto the box. Where
    that loses half of the descent, the way there is cut at the first bound instead ([MN]).
    """
    gradient_step = -gradient / model.theta
    cauchy = jnp.clip(gradient_step, -down, up)
    free = cauchy == gradient_step
    newton = cauchy + jnp.where(free, _correction(model, cauchy, free), 0.0)
    projected = jnp.clip(newton, -down, up)
    further = newton - cauchy
    room = (jnp.where(further > 0, up, -down) - cauchy) / jnp.where(further == 0, 1.0, further)
    fraction = jnp.min(jnp.where((further != 0) & (room < 1), room, 1.0))
    cut = jnp.clip(cauchy + fraction * further, -down, up)
    step = jnp.where(gradient @ projected < 0.5 * (gradient @ newton), projected, cut)
    return jnp.where(gradient @ step < 0, step, cauchy)  # NaN


def _correction(model, cauchy, free):
    """W_F K⁻¹ Wᵀ c for K = M⁻¹ − W_Fᵀ W_F, where F is of free coordinates, and c the Cauchy step.

    With c = −g/θ in F, and d fixed to c elsewhere, c + F W K⁻¹ Wᵀ c minimises the model: it solves
    B_FF d_F = −g_F − B_FA c_A, by the formula of Sherman, Morrison & Woodbury.
    """
    s, y, theta, root = model.s, model.y, model.theta, jnp.sqrt(model.theta)
    y_free, s_held = jnp.where(free, y, 0.0), jnp.where(free, 0.0, s)
    there = jnp.arange(len(s)) < model.pairs
    both, identity = there[:, None] & there, jnp.eye(len(s), dtype=s.dtype)
    high = -identity - jnp.where(both, y_free @ y.T, 0.0) / theta
    corner = jnp.where(both, model.lower - s @ y_free.T, 0.0)
    low = jnp.where(both, s_held @ s.T * theta, jnp.where(there, 0.0, identity))
    k = jnp.block([[high, corner.T], [corner, low]])
    along = jnp.where(there, jnp.stack([y @ cauchy / root, s @ cauchy * root]), 0.0)
    a, b = jnp.split(jnp.linalg.solve(k, along.ravel()), 2)
    return (a / root) @ y + (b * root) @ s
