"""The search over c: what follows a minimiser of c|r| + loss_f(x + r, l)."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxadv.attacks.lockstep import tuning
from jaxadv.attacks.lockstep.lane import (
    DONE,
    POLISH,
    REFRESH,
    Evaluation,
    Lane,
    affordable_smoothing,
    at_stage,
    entering,
    finely,
    select,
    smoothly,
    succeeds,
)
from jaxadv.attacks.margins import least_lead
from jaxadv.attacks.options import AttackOptions


def minimised(options: AttackOptions, lane: Lane) -> Lane:
    """What follows a minimiser: another c, unless this one will do or there is no better."""
    another = _next_c(options, lane)
    found_any = jnp.isfinite(lane.best_norm_squared)
    steps = affordable_smoothing(options, lane)
    descents_fail = ~found_any & (lane.smoothing_steps == 0) & (steps > 0)
    patience = jnp.where(found_any | descents_fail, 1, tuning.PATIENCE)
    exhausted = (another.c_steps >= patience * options.c_steps) | (
        another.failed_c <= another.succeeded_c * options.bracket
    )
    whole = lane._replace(step=jnp.ones_like(lane.step))
    ray = on_ray(options, whole, lane.at_point, jnp.maximum(lane.at_point.miss, tuning.LEAST_SHARE))
    polish = entering(ray, POLISH, lane.temperature)
    if options.temperature is None:
        # At T = 1 many classes may share in the loss: `miss` does not tell where the boundary is.
        return select(exhausted, polish, another)
    on_boundary = jnp.abs(lane.at_point.miss - 0.5) <= tuning.ON_BOUNDARY
    r = lane.point - lane.x
    norm_squared = ray.step**2 * jnp.vdot(r, r)
    too_large = norm_squared > tuning.HOPELESS**2 * lane.best_norm_squared
    hopeless = (lane.round > 0) & too_large
    after_coarse = select(hopeless, lane._replace(stage=at_stage(DONE)), finely(lane, another.c))
    after_fine = polish
    if options.tol < tuning.COARSE:
        sharpest = tuning.TIE * lane.final_temperature
        tie = (lane.temperature > sharpest) & (_dominance(lane) < tuning.DOMINANT)
        finest = finely(lane, another.c)._replace(temperature=sharpest)
        after_fine = select(tie, finest, polish)
    ended = select(lane.fine, after_fine, after_coarse)
    smooth = smoothly(lane, steps, lane.x)
    otherwise = select(descents_fail, smooth, lane._replace(stage=at_stage(DONE)))
    ended = select(found_any | on_boundary, ended, otherwise)
    return select(on_boundary | exhausted, ended, another)


def _dominance(lane):
    """Of the other classes' exp(logits/T), the share of the largest."""
    largest = jnp.exp(-lane.at_point.margin / lane.temperature)
    return largest / jnp.expm1(lane.at_point.loss / lane.temperature)


def _next_c(options, lane):
    """Narrows the bracket of the largest c that succeeds, and chooses the next.

    At a minimiser the loss's gradient is `miss` times the gap's: so near the boundary, where `miss`
    should be ½, it is c/(2 miss) that would be stationary there.
    """
    success = succeeds(options, lane, lane.at_point)
    succeeded_c = jnp.where(success, jnp.maximum(lane.c, lane.succeeded_c), lane.succeeded_c)
    failed_c = jnp.where(success, lane.failed_c, jnp.minimum(lane.c, lane.failed_c))
    sharp = options.temperature is not None
    if sharp:
        predicted = lane.c * tuning.AIM / jnp.clip(lane.at_point.miss, tuning.LEAST_MISS, 1.0)
    else:
        predicted = lane.c * jnp.where(success, options.growth, 1 / options.growth)
    bracketed = (succeeded_c > 0) & jnp.isfinite(failed_c)
    inset = jnp.where(bracketed, (failed_c / succeeded_c) ** tuning.INSET, 1.0)
    inside = jnp.where(
        (lane.c_steps % tuning.BISECT_EVERY == tuning.BISECT_EVERY - 1) | (not sharp),
        jnp.sqrt(succeeded_c * failed_c),
        jnp.clip(predicted, succeeded_c * inset, failed_c / inset),
    )
    grown = jnp.clip(predicted, tuning.LEAST_CHANGE * lane.c, options.growth**2 * lane.c)
    # Far from the boundary, where `miss` is 1, the prediction says little.
    least = jnp.where(lane.at_point.miss > tuning.FAR, options.growth, tuning.LEAST_CHANGE)
    shrunk = jnp.clip(predicted, lane.c / options.growth**2, lane.c / least)
    # A sharp loss can get stuck where several classes tie, far from the target.
    stuck = sharp & (succeeded_c == 0) & (lane.c_steps >= tuning.STUCK)
    return lane._replace(
        c=jnp.where(bracketed, inside, jnp.where(success, grown, shrunk)),
        succeeded_c=succeeded_c,
        failed_c=failed_c,
        c_steps=lane.c_steps + 1,
        spent=jnp.zeros_like(lane.spent),
        step=jnp.ones_like(lane.step),
        temperature=lane.temperature * jnp.where(stuck, tuning.SOFT, 1.0),
        stage=jnp.where(stuck, REFRESH, lane.stage),
    )


def on_ray(
    options: AttackOptions, lane: Lane, seen: Evaluation, share: Float[jax.Array, ""] | float
) -> Lane:
    """The next point on the ray from x through the lane's point: Newton's on the margin.

    `share` is what part of the gap's gradient the gradient is.
    """
    growth = -jnp.vdot(seen.gradient, lane.point - lane.x) / share
    missing = 2 * least_lead(options.margin, lane.gap, seen.magnitude) - seen.margin
    change = missing / jnp.maximum(growth, tuning.LEAST_GROWTH)
    longest = tuning.LONGEST_ON_RAY
    return lane._replace(step=lane.step + jnp.clip(change, -longest, longest))
