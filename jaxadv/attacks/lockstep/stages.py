"""What a lane of the lockstep attack does between two gradients: pure functions of one lane.

A lane works on one problem, an image and a target, in stages:

- START, PROBE: how far would the boundary be, were the logits linear? Is it non-smooth?
- SMOOTH, where it is, or where descents fail: `averaging` of gradients over noise.
- DESCEND, where it is not: coarsely on c|r| + loss_f(x + r, l), by box-constrained L-BFGS, at a
  raised temperature, with a `search` over c. REFRESH comes before: the loss, at a new temperature.
- DESCEND: finely, from there; where classes tie, once more at a lower temperature.
- POLISH: to the boundary on the ray through the minimiser.
- DONE, the problem being solved or given up, or `max_evaluations` spent.

A problem that was hard is attacked once more, from a much softer loss: it may end elsewhere.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxadv.attacks.lockstep import tuning
from jaxadv.attacks.lockstep.averaging import probed
from jaxadv.attacks.lockstep.lane import (
    DESCEND,
    DONE,
    POLISH,
    PROBE,
    REFRESH,
    SMOOTH,
    START,
    Evaluation,
    Lane,
    at_stage,
    entering,
    finely,
    penalty_and_weight,
    select,
    succeeds,
)
from jaxadv.attacks.lockstep.search import minimised, on_ray
from jaxadv.attacks.margins import rounding
from jaxadv.attacks.options import AttackOptions
from jaxadv.solvers.pairs import Pairs, projected_direction


def received(
    options: AttackOptions, lane: Lane, found: Evaluation
) -> tuple[Lane, Float[jax.Array, " n"], Float[jax.Array, " n"], Bool[jax.Array, ""]]:
    """Takes in what was found at the trial point.

    Returns:
      The lane; a pair (s, y) of L-BFGS; whether it is one. Lanes that smooth are left to
      `smoothed`.
    """
    s, y = lane.trial - lane.point, found.gradient - lane.at_point.gradient
    r = lane.trial - lane.x
    norm_squared = jnp.vdot(r, r)
    success = succeeds(options, lane, found) | ((lane.stage == START) & (found.margin > 0))
    better = success & (norm_squared < lane.best_norm_squared)
    lane = lane._replace(
        best=jnp.where(better, lane.trial, lane.best),
        best_norm_squared=jnp.where(better, norm_squared, lane.best_norm_squared),
        best_c=jnp.where(better, lane.c, lane.best_c),
        evaluations=lane.evaluations + 1,
        spent=lane.spent + 1,
    )
    no = jnp.array(False)
    lane, accepted = jax.lax.switch(
        lane.stage,
        [
            lambda: (_started(options, lane, found), no),  # START
            lambda: (probed(options, lane, found), no),  # PROBE
            lambda: (lane, no),  # SMOOTH: left to `smoothed`
            lambda: (lane._replace(stage=at_stage(DESCEND), at_point=found), no),  # REFRESH
            lambda: _descended(options, lane, found, s, norm_squared),  # DESCEND
            lambda: (_polished(options, lane, found), no),  # POLISH
            lambda: (lane, no),  # DONE
        ],
    )
    over = lane.evaluations >= options.max_evaluations
    return lane._replace(stage=jnp.where(over, DONE, lane.stage)), s, y, accepted


def _started(options, lane, found):
    """Sets c and the temperature from the gap g between the logits at x, and its gradient's norm G.

    If the logits were linear, the boundary would be at ‖r‖ = g/G, where the loss of two classes has
    the gradient G/2: stationary for c = G²/(4g) with ‖r‖².
    """
    least = tuning.LEAST_GAP * rounding(found.magnitude)
    gap = jnp.maximum(-found.margin, least + jnp.finfo(least.dtype).tiny ** 0.5)  # classes may tie
    gradient_squared = jnp.vdot(found.gradient, found.gradient)
    linear_norm_squared = gap**2 / gradient_squared
    c = gradient_squared / (4 * gap)
    if options.penalty == "l2":  # the same minimisers, for c times 2 √(‖r‖² + δ²)
        c = c * 2 * jnp.sqrt(2 * linear_norm_squared)
    usable = jnp.isfinite(c) & (c > 0)
    over = (found.margin > 0) | ~jnp.isfinite(found.loss + gradient_squared)
    sharp = options.temperature is not None
    final = options.temperature * gap if sharp else jnp.ones_like(gap)
    lane = lane._replace(
        gap=gap,
        fine=jnp.array(not sharp),
        c=jnp.where(usable, c, 1.0),
        final_temperature=final,
        linear_norm_squared=jnp.where(usable, linear_norm_squared, 1.0),
        at_point=found,
    )
    if options.smoothing_steps and sharp:
        # At so high a temperature all classes count, and a tie does not look non-smooth.
        lane = entering(lane, PROBE, gap)
    else:
        lane = entering(lane, REFRESH, tuning.SOFT * final if sharp else final)
    return lane._replace(stage=jnp.where(over, DONE, lane.stage))


def _descended(options, lane, found, moved, norm_squared):
    """The line search, and what follows the end of a descent: (lane, whether it accepted)."""
    r = lane.point - lane.x
    old_penalty, weight = penalty_and_weight(options, lane, jnp.vdot(r, r))
    penalty = lane.c * penalty_and_weight(options, lane, norm_squared)[0]
    change = found.loss - lane.at_point.loss + penalty - lane.c * old_penalty
    slope = jnp.vdot(lane.at_point.gradient + lane.c * weight * r, moved)
    accepted = change <= tuning.ARMIJO * slope
    shrink = jnp.clip(-0.5 * slope / (change - slope), *tuning.SHRINK)
    lane = lane._replace(
        point=jnp.where(accepted, lane.trial, lane.point),
        at_point=select(accepted, found, lane.at_point),
        step=jnp.where(accepted, 1.0, lane.step * jnp.where(shrink > 0, shrink, tuning.SHRINK[0])),
    )
    tol = jnp.where(lane.fine, options.tol, max(options.tol, tuning.COARSE))
    over = (
        (accepted & (-change <= tol * lane.c * weight * norm_squared / 2))
        | (lane.step < tuning.SHORTEST_STEP)
        | (lane.spent >= options.max_iterations)
    )
    return select(over, minimised(options, lane), lane), accepted


def _polished(options, lane, found):
    """The next Newton step, or the end of this attack on the problem."""
    over = lane.spent >= tuning.POLISHING
    another = on_ray(options, lane, found, 1.0)._replace(stage=jnp.where(over, DONE, POLISH))
    if options.temperature is None:
        return another
    found_any = jnp.isfinite(lane.best_norm_squared)
    anew = finely(lane, jnp.where(found_any, lane.best_c, lane.c))._replace(
        fine=jnp.array(False), round=lane.round + 1
    )
    softly = anew._replace(temperature=tuning.VERY_SOFT * lane.final_temperature, point=lane.x)
    hard = options.restart & (lane.evaluations > tuning.HARD) & (lane.round == 0)
    nonsmooth = lane.smoothing_steps > 0
    affordable = lane.smoothing_steps <= options.max_evaluations - lane.evaluations - tuning.RESERVE
    more = (lane.round + 1 < options.smoothing_rounds) & affordable
    another = select(over & ~nonsmooth & hard, softly, another)
    return select(over & nonsmooth & more, anew._replace(stage=at_stage(SMOOTH)), another)


def aimed(options: AttackOptions, lane: Lane, pairs: Pairs, tick: Int[jax.Array, ""]) -> Lane:
    """Chooses the next trial point, before any noise."""
    r = lane.point - lane.x
    weight = lane.c * penalty_and_weight(options, lane, jnp.vdot(r, r))[1]
    gradient = lane.at_point.gradient + weight * r
    direction = projected_direction(pairs, tick, lane.point, gradient, weight)
    trial = jnp.where(lane.stage == DESCEND, lane.point + lane.step * direction, lane.point)
    trial = jnp.where(lane.stage == POLISH, lane.x + lane.step * r, trial)
    return lane._replace(trial=jnp.clip(trial, 0.0, 1.0))
