"""Gradient averaging: the boundary's linear model, averaged over points displaced by noise.

The gap between the logits is linearised at each point, the models are averaged, and the lane moves
to the nearest zero of the average, while the noise is lowered step by step.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxadv.attacks.lockstep.state import (
    Evaluation,
    Lane,
    Move,
    Products,
    Stage,
    at_x,
    averaging,
    averaging_after_descent,
    c_along_r,
    descending_softly,
    entering,
    entering_sqp,
    finely,
    nonsmooth,
)
from jaxadv.attacks.lockstep.tuning import TUNING
from jaxadv.attacks.margins import lead_in_loss
from jaxadv.attacks.options import AttackOptions
from jaxadv.solvers.trees import select


def probed(
    options: AttackOptions, lane: Lane, seen: Evaluation, products: Products, stay: Move
) -> tuple[Lane, Move]:
    """Is the boundary smooth? Compares the gradients at two points.

    Before the steps, these are x and a point displaced from it by little noise; where steps were
    refused, two that are displaced from x by more than the boundary is far, were the logits linear.
    """
    before = lane.refused == 0
    first = ~before & (lane.spent == 1)
    squares = lane.point.g_g, products.g_g
    norms = jnp.sqrt(squares[0]), jnp.sqrt(squares[1])
    cosine = (sum(squares) - products.change) / (2 * norms[0] * norms[1])
    least = jnp.where(before, TUNING.nonsmooth, TUNING.nonsmooth_afar)
    smooth = cosine >= least  # NaN is not
    steps = jnp.where(cosine < least, averaging_after_descent(options, lane), 0)
    factor = jnp.where(steps > 0, TUNING.nonsmooth_temperature, 1.0)
    start = lane.start._replace(temperature=factor * lane.start.temperature)
    descend = descending_softly(lane._replace(start=start, averaging_steps=steps), TUNING.soft)
    # From x, whose gradient is there already, as after any accepted step; or on from the point.
    begin = entering(lane, Stage.SQP, TUNING.cooling * lane.temperature)
    sqp = select(before, begin, entering_sqp(lane))
    second = lane._replace(point=lane.point._replace(g_g=products.g_g))
    move = stay._replace(to_x=~smooth & ~first, weight=first.astype(stay.weight.dtype))
    return select(first, second, select(smooth, sqp, descend)), move


def from_minimiser(options: AttackOptions, lane: Lane, steps: Int[jax.Array, ""]) -> Lane:
    """The beginning of gradient averaging from a minimiser of c|r| + loss.

    The average begins with the loss's linear model there, whose zero is at once nearest to x. It is
    the gap's times the other classes' probability, which lowers its weight.
    """
    seen = lane.point.seen
    lead = lead_in_loss(options.margin, lane.start.gap, lane.start.hidden)
    at_x = seen.others * (lead - seen.margin) - lane.point.r_g
    return _with_model(averaging(lane, steps), seen._replace(loss=at_x))


def averaged(lane: Lane, seen: Evaluation, products: Products, stay: Move) -> tuple[Lane, Move]:
    """Averages the gap's linear model at the trial point, to move to the nearest of its zeros.

    The average begins with the model of the coarse minimiser, or else anew. A lane that meets NaN
    descends.
    """
    most, least = TUNING.averaging
    weight = jnp.maximum(most * (1 - (lane.spent - 1) / lane.averaging_steps), least)
    anew = lane.fine & (lane.spent == 1)
    weight = jnp.where(anew, 1.0, weight)
    model = _linear_model(seen, products)
    mean = jax.tree.map(lambda old, new: old + weight * (new - old), lane.point.seen, model)
    mean = select(anew, model, mean)
    moved = _with_model(lane, mean)
    over = lane.spent >= lane.averaging_steps
    fine = finely(moved, lane.bracket.c)
    smooth = entering_sqp(fine)
    moved = select(over, select(nonsmooth(lane), fine, smooth), moved)
    descend = at_x(entering(lane, Stage.REFRESH, TUNING.soft * lane.start.temperature))
    descend = descend._replace(fine=jnp.array(False), averaging_steps=jnp.zeros_like(lane.spent))
    finite = jnp.isfinite(seen.loss + products.g_g)
    weight = jnp.where(finite, weight, 0.0)
    move = stay._replace(weight=weight, to_zero=finite, to_x=~finite)
    return select(finite, moved, descend), move


def _with_model(lane, seen):
    return lane._replace(point=lane.point._replace(seen=seen))


def _linear_model(seen, products):
    """The gap's linear model at the trial point: its loss is the model's at x."""
    return seen._replace(loss=seen.loss - products.r_g)


def at_zero(
    options: AttackOptions, lane: Lane, r_r: Float[jax.Array, ""], r_g: Float[jax.Array, ""]
) -> Lane:
    """The lane at the nearest zero of its linear model, where ‖r‖² and r · gradient are these.

    After the last step c is that for which c|r| + loss is stationary there, if the others are to
    have the probability AIM.
    """
    c = c_along_r(options, lane, r_r, r_g)
    usable = (lane.stage != Stage.AVERAGE) & jnp.isfinite(c) & (c > 0)
    bracket = lane.bracket._replace(c=jnp.where(usable, c, lane.bracket.c))
    return lane._replace(point=lane.point._replace(r_r=r_r, r_g=r_g), bracket=bracket)


def smallest_r(
    x: Float[jax.Array, "*image"],
    offset: Float[jax.Array, ""],
    gradient: Float[jax.Array, "*image"],
    lower: float = 0.0,
    upper: float = 1.0,
) -> Float[jax.Array, "*image"]:
    """The smallest r in the box with offset + gradient·r = 0, clip(−λ gradient): Newton's method.

    gradient·r is convex in λ, and falls: from λ = 0, Newton's method does not overshoot.
    """

    def step(_, multiplier):
        r = jnp.clip(x - multiplier * gradient, lower, upper) - x
        held = ((x + r <= lower) & (gradient > 0)) | ((x + r >= upper) & (gradient < 0))
        free = jnp.where(held, 0.0, gradient)
        missing = offset + jnp.vdot(gradient, r)
        return multiplier + missing / jnp.maximum(jnp.vdot(free, free), TUNING.tiny)

    multiplier = jax.lax.fori_loop(0, TUNING.newton_steps, step, jnp.zeros_like(offset))
    return jnp.clip(x - multiplier * gradient, lower, upper) - x


def noise_for(x: Float[jax.Array, " n"]) -> Float[jax.Array, " m"]:
    """The noise that lanes with images like the (n,) x are displaced by."""
    size = len(x) + TUNING.shift * TUNING.windows
    return jax.random.normal(jax.random.key(0), (size,), x.dtype)


def window(lane: Lane, size: int) -> tuple[Int[jax.Array, ""], Float[jax.Array, ""]]:
    """Where the noise of a lane that probes or averages begins, and its size per pixel.

    It is a window on one long vector, the same for all problems: moved by `TUNING.shift` from step
    to step, it is as good as new.
    """
    probing = lane.stage == Stage.PROBE
    last = (1 - TUNING.noiseless) * jnp.maximum(lane.averaging_steps, 1)
    remaining = jnp.maximum(1 - lane.spent / last, 0)
    share = jnp.select([probing, lane.stage == Stage.AVERAGE], [1.0, remaining], 0.0)
    unit = jnp.sqrt(jnp.where(probing, lane.start.r_r, lane.point.r_r) / size)
    steps = lane.round * TUNING.apart + lane.spent
    noises = jnp.array(TUNING.noises, unit.dtype)
    in_turn = jnp.where(nonsmooth(lane), noises, jnp.array(TUNING.scattering, unit.dtype))
    noise = jnp.where(lane.round > 0, in_turn[lane.round % len(in_turn)], TUNING.noise)
    before = probing & (lane.refused == 0)
    noise = jnp.where(before, TUNING.probing, noise)
    return TUNING.shift * (steps % TUNING.windows), noise * share * unit
