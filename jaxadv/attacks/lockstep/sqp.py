"""Sequential quadratic programming: to the smallest r where the boundary is smooth.

Each step goes to the smallest r on the linearised boundary, with L-BFGS's model of how the boundary
curves. So c follows from each step, and is not searched for.

Where classes tie, the gap between the logits has an edge, which log Σ exp rounds off; on the edge,
that is larger than the gap. Once steps are small, each class counts by the share that it has
there, the exponential method of multipliers (Bertsekas, 1982, sec. 5.1), until both agree.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jaxadv.attacks.lockstep.search import another_attack, polishing
from jaxadv.attacks.lockstep.state import (
    Evaluation,
    Lane,
    Move,
    Products,
    Stage,
    at_trial,
    averaging_after_descent,
    c_along_r,
    descending_softly,
    entering,
    penalty_and_weight,
    strength,
)
from jaxadv.attacks.lockstep.tuning import TUNING
from jaxadv.attacks.margins import lead_in_loss
from jaxadv.attacks.options import AttackOptions
from jaxadv.solvers.trees import select


def stepped(
    options: AttackOptions, lane: Lane, seen: Evaluation, products: Products, stay: Move
) -> tuple[Lane, Move]:
    """Accepts a step or shortens it; at the end, polishes, or descends where steps do not settle.

    Where many were refused, it is asked again whether the boundary is smooth, unless the problem
    was averaged already, or cannot be. A step of length 0 evaluates the point, at a new temperature
    or with new multipliers. A further attack that nobody asked for is over where it comes near to
    what earlier ones have found, or does not settle.
    """
    finite = jnp.isfinite(seen.loss + products.g_g)
    anew = lane.step == 0
    accepted = finite & (anew | _lowers(options, lane, seen, products))
    lenience = 10 ** (jnp.maximum(lane.spent - TUNING.strict_steps, 0) / 10)
    tol = lenience * options.tol**TUNING.power
    still = accepted & ~anew & _is_still(options, lane, seen, products, tol)
    settled = still & (_rounded_off(options, lane, seen) <= TUNING.agreement * tol * lane.start.gap)
    shorter = jnp.where(accepted, 1.0, TUNING.shortened * lane.step)
    failed = ~settled & ((lane.spent >= TUNING.sqp_steps) | (anew & ~finite))
    unasked = (options.rounds == 1) & (lane.round > lane.best.round) & jnp.isfinite(lane.best.r_r)
    near = accepted & (products.from_best <= TUNING.near_known**2 * products.r_r)
    fruitless = unasked & ~settled & (near | failed)
    reweighed = still & ~settled & ~failed
    lane = select(accepted, at_trial(lane, seen, products), lane)
    lane = lane._replace(refused=lane.refused + ~accepted)
    averages = (lane.averaging_steps == 0) & (averaging_after_descent(options, lane) > 0)
    doubtful = ~accepted & (lane.refused == TUNING.refusals) & averages
    goes_on = lane._replace(
        step=jnp.where(reweighed, 0.0, shorter),
        temperature=jnp.maximum(TUNING.cooling * lane.temperature, _coldest(lane)),
    )
    probe = entering(lane, Stage.PROBE, TUNING.hot * lane.start.gap)
    goes_on = select(doubtful, probe, goes_on)
    sharpest = TUNING.tie * lane.start.temperature
    polish = polishing(options, lane, seen, -products.r_g, sharpest)
    # What began a further attack says nothing against a smooth boundary.
    smooth = lane._replace(averaging_steps=jnp.zeros_like(lane.averaging_steps))
    descend = descending_softly(smooth, TUNING.soft)
    unsettled = select(fruitless, another_attack(options, lane), descend)
    ended = select(settled, polish, unsettled)
    to_x, weight = failed & ~fruitless, jnp.where(accepted, 1.0, stay.weight)
    move = stay._replace(to_trial=accepted & ~anew, to_x=to_x, to_shares=reweighed, weight=weight)
    return select(settled | failed | fruitless, ended, goes_on), move


def c_of_step(
    options: AttackOptions, lane: Lane, multiplier: Float[jax.Array, " L"]
) -> Float[jax.Array, " L"]:
    """The c of lanes after a step with these multipliers of the gap.

    It stays near the c for which c|r| + loss is stationary along r: where steps do not settle, it
    would drift to 0 or ∞, by what each of them asks for.
    """
    at = lane.point
    c, along_r = lane.bracket.c / multiplier, c_along_r(options, lane, at.r_r, at.r_g)
    usable = jnp.isfinite(along_r) & (along_r > 0)
    near = jnp.clip(c, along_r / TUNING.multiplier, along_r * TUNING.multiplier)
    first = (at.r_r == 0) & jnp.isfinite(c) & (c > 0)
    return jnp.select([usable & jnp.isfinite(c), first], [near, c], lane.bracket.c)


def _lowers(options, lane, seen, products) -> Bool[jax.Array, ""]:
    """Whether the step lowers c|r| and what is missing to the boundary, an exact penalty."""
    penalty, _ = penalty_and_weight(options, lane, products.r_r)
    old_penalty, _ = penalty_and_weight(options, lane, lane.point.r_r)
    missing, before = (jnp.maximum(at.loss, 0) for at in (seen, lane.point.seen))
    change = strength(lane) * (penalty - old_penalty)
    return change + TUNING.exact * (missing - before) <= 0


def _is_still(options, lane, seen, products, tol) -> Bool[jax.Array, ""]:
    """Whether the step was small, and what it was to gain, on the boundary at the final T."""
    weight = strength(lane) * penalty_and_weight(options, lane, products.r_r)[1]
    small = TUNING.small * tol * products.r_r
    # Where c is far off, a step that is short says nothing. The slopes of c|r| and of the gap along
    # r, which only differ if c is off: the smaller is what the gradient is compared with.
    along_r = jnp.clip(-products.r_g, 0.0, weight * products.r_r)
    return (
        (products.s_s <= lane.step**2 * small)
        & (jnp.abs(products.slope) <= TUNING.flat * weight * small)
        & (products.p_p * products.r_r <= (TUNING.residual * along_r) ** 2)
        & (jnp.abs(seen.loss) <= TUNING.near * lane.start.gap)
        & (lane.temperature <= _coldest(lane))
    )


def _rounded_off(options, lane, seen) -> Float[jax.Array, ""]:
    """By how much the loss differs from the gap."""
    lead = lead_in_loss(options.margin, lane.start.gap, lane.start.hidden)
    return jnp.abs(seen.loss - (lead - seen.margin))


def _coldest(lane):
    return TUNING.smooth_temperature * lane.start.gap
