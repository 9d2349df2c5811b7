"""Gradient averaging: the boundary's linear model, averaged over points displaced by noise.

The gap between the logits is linearised at each point, the models are averaged, and the lane moves
to the nearest zero of the average, while the noise is lowered step by step.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxadv.attacks.lockstep import tuning
from jaxadv.attacks.lockstep.lane import (
    PROBE,
    REFRESH,
    SMOOTH,
    Evaluation,
    Lane,
    affordable_smoothing,
    entering,
    finely,
    penalty_and_weight,
    select,
    smoothly,
)
from jaxadv.attacks.options import AttackOptions


def probed(options: AttackOptions, lane: Lane, found: Evaluation) -> Lane:
    """Compares gradients at two points displaced by noise; averaging starts from both."""
    model = _linear_model(lane, found)
    one, other = lane.at_point.gradient, model.gradient
    cosine = jnp.vdot(one, other) / jnp.sqrt(jnp.vdot(one, one) * jnp.vdot(other, other))
    steps = affordable_smoothing(options, lane)
    nonsmooth = (cosine < tuning.NONSMOOTH) & (steps > 0)
    mean = jax.tree.map(lambda one, other: (one + other) / 2, lane.at_point, model)
    r = _smallest_r(lane.x, mean.loss, mean.gradient)
    smooth = smoothly(lane, steps, lane.x + r)
    descend = entering(lane, REFRESH, tuning.SOFT * lane.final_temperature)
    first = lane._replace(at_point=model)
    return select(lane.spent == 1, first, select(nonsmooth, smooth, descend))


def smoothed(options: AttackOptions, lane: Lane, found: Evaluation) -> Lane:
    """Averages the gap's linear model at the trial point, and moves to the nearest of its zeros.

    To be called after `received`; changes only lanes that smooth. One that meets NaN descends.
    """
    model = _linear_model(lane, found)
    most, least = tuning.AVERAGING
    weight = jnp.maximum(most * (1 - (lane.spent - 1) / lane.smoothing_steps), least)
    mean = jax.tree.map(lambda old, new: old + weight * (new - old), lane.at_point, model)
    mean = select(lane.spent == 1, model, mean)
    r = _smallest_r(lane.x, mean.loss, mean.gradient)
    moved = lane._replace(point=lane.x + r, at_point=mean)
    # Where c|r| + loss is stationary there, if `miss` is to be AIM.
    norm_squared = jnp.vdot(r, r)
    weight = penalty_and_weight(options, lane, norm_squared)[1]
    c = -tuning.AIM * jnp.vdot(mean.gradient, r) / (weight * norm_squared)
    c = jnp.where(jnp.isfinite(c) & (c > 0), c, lane.c)
    moved = select(lane.spent >= lane.smoothing_steps, finely(moved, c), moved)
    descend = entering(lane, REFRESH, tuning.SOFT * lane.final_temperature)
    descend = descend._replace(point=lane.x, smoothing_steps=jnp.zeros_like(lane.spent))
    finite = jnp.isfinite(found.loss) & jnp.isfinite(found.gradient).all()
    # A lane that has just entered this stage has yet to evaluate its first point.
    return select((lane.stage == SMOOTH) & (lane.spent > 0), select(finite, moved, descend), lane)


def _linear_model(lane, found):
    """The gap's linear model at the trial point: its loss is the model's at x."""
    loss = found.loss - jnp.vdot(found.gradient, lane.trial - lane.x)
    return found._replace(loss=loss)


def _smallest_r(x, offset, gradient):
    """The smallest r in the box with offset + gradient·r = 0, clip(−λ gradient): Newton's method.

    gradient·r is convex in λ, and falls: from λ = 0, Newton's method does not overshoot.
    """
    multiplier = jnp.zeros_like(offset)
    for _ in range(tuning.NEWTON_STEPS):
        r = jnp.clip(x - multiplier * gradient, 0, 1) - x
        held = ((x + r <= 0) & (gradient > 0)) | ((x + r >= 1) & (gradient < 0))
        free = jnp.where(held, 0.0, gradient)
        missing = offset + jnp.vdot(gradient, r)
        multiplier = multiplier + missing / jnp.maximum(jnp.vdot(free, free), tuning.TINY)
    return jnp.clip(x - multiplier * gradient, 0, 1) - x


def displaced(lane: Lane, noise: Float[jax.Array, " m"]) -> Lane:
    """The lane, its trial point displaced by noise if it probes or smooths.

    The noise of a step is a window on one long vector, the same for all problems: moved by
    `tuning.SHIFT` from step to step, it is as good as new.
    """
    r = lane.point - lane.x
    norm_squared = jnp.where(lane.stage == PROBE, lane.linear_norm_squared, jnp.vdot(r, r))
    last = (1 - tuning.NOISELESS) * jnp.maximum(lane.smoothing_steps, 1)
    remaining = jnp.maximum(1 - lane.spent / last, 0)
    size = jnp.select([lane.stage == PROBE, lane.stage == SMOOTH], [1.0, remaining], 0.0)
    size = tuning.NOISE * size * jnp.sqrt(norm_squared / len(r))
    steps = lane.round * lane.smoothing_steps + lane.spent
    window = jax.lax.dynamic_slice(noise, [tuning.SHIFT * steps], r.shape)
    return lane._replace(trial=jnp.clip(lane.trial + size * window, 0.0, 1.0))


def noise_for(options: AttackOptions, x: Float[jax.Array, " n"]) -> Float[jax.Array, " m"]:
    """The noise that lanes with images like the (n,) x are displaced by."""
    size = len(x) + tuning.SHIFT * options.smoothing_steps * options.smoothing_rounds
    return jax.random.normal(jax.random.key(0), (size,), x.dtype)
