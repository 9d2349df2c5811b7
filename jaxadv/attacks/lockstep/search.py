"""The search over c: what follows a minimiser of c|r| + loss_f(x + r, l)."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jaxadv.attacks.lockstep.averaging import from_minimiser
from jaxadv.attacks.lockstep.state import (
    Bracket,
    Evaluation,
    Lane,
    Stage,
    affordable_averaging,
    at_stage,
    at_x,
    averaging,
    best_c,
    entering,
    finely,
    lead_asked,
    left_for_averaging,
    nonsmooth,
    succeeds,
)
from jaxadv.attacks.lockstep.tuning import TUNING
from jaxadv.attacks.margins import lead_in_loss
from jaxadv.attacks.options import AttackOptions
from jaxadv.solvers.trees import select


def minimised(options: AttackOptions, lane: Lane) -> tuple[Lane, Bool[jax.Array, ""] | bool]:
    """What follows a minimiser: another c, unless this one will do or there is no better.

    Returns:
      The lane; whether it goes back to x.
    """
    another = _next_c(options, lane)
    found_any = jnp.isfinite(lane.best.r_r)
    steps = affordable_averaging(options, lane)
    descents_fail = ~found_any & (lane.averaging_steps == 0) & (steps > 0)
    patience = jnp.where(found_any | descents_fail, 1, TUNING.patience)
    bracket = another.bracket
    exhausted = (bracket.tried >= patience * options.c_steps) | (
        bracket.failed <= bracket.succeeded * options.bracket
    )
    seen = lane.point.seen
    growth = -lane.point.r_g / jnp.maximum(seen.others, TUNING.least_part)
    polish = polishing(options, lane, seen, growth, lane.temperature)
    if options.temperature is None:
        # At T = 1 many classes may share in the loss: it does not tell where the boundary is.
        return select(exhausted, polish, another), False
    on_boundary = jnp.abs(seen.others - 0.5) <= TUNING.on_boundary
    done = lane._replace(stage=at_stage(Stage.DONE))
    too_large = polish.step**2 * lane.point.r_r > TUNING.hopeless**2 * lane.best.r_r
    hopeless = (lane.round > 0) & too_large
    sharpest = TUNING.tie * lane.start.temperature
    tie = (lane.temperature > sharpest) & (_dominance(options, lane) < TUNING.dominant)
    finest = finely(lane, bracket.c)._replace(temperature=sharpest)
    after_fine = select(tie & (options.tol < TUNING.coarse), finest, polish)
    average = ~lane.fine & (lane.averaging_steps > 0) & (steps > 0)
    near = found_any | on_boundary | average
    anew = at_x(averaging(finely(lane, bracket.c), steps))
    after_coarse = select(average, from_minimiser(options, lane, steps), finely(lane, bracket.c))
    ended = select(lane.fine, after_fine, after_coarse)
    elsewhere = select(descents_fail, anew, done)
    ended = select(near, select(hopeless, another_attack(options, lane), ended), elsewhere)
    # Averaging moves to the boundary anyway.
    over = on_boundary | exhausted | (average & (seen.others < TUNING.far))
    return select(over, ended, another), over & ~near & descents_fail


def another_attack(options: AttackOptions, lane: Lane) -> Lane:
    """The beginning of one more attack on the problem, by averaging, or none.

    Where the boundary is smooth, few points far apart are averaged: it is to end elsewhere. A
    problem on which steps settled, but late and far off, is attacked again if nobody asks for it.
    """
    half = jnp.clip(options.smoothing_steps // 2, TUNING.scattered + 1, lane.averaging_steps)
    steps = jnp.where(nonsmooth(lane), half, TUNING.scattered)
    settled = jnp.where(lane.round == 0, ~lane.fine, lane.averaging_steps == TUNING.scattered)
    far = (lane.best.rms >= TUNING.far_rms) & (lane.evaluations >= TUNING.far_gradients)
    unasked = options.restart & (options.rounds == 1) & settled & far
    more = (
        (lane.round + 1 < jnp.where(unasked, TUNING.far_attacks, options.rounds))
        & (lane.round - lane.best.round < TUNING.fruitless)
        & (steps <= left_for_averaging(options, lane))
    )
    anew = averaging(finely(lane, best_c(lane)), steps)._replace(round=lane.round + 1)
    return select(more, anew, lane._replace(stage=at_stage(Stage.DONE)))


def _dominance(options, lane):
    """Of the other classes' exp(logits/T), the share of the largest."""
    seen = lane.point.seen
    margin = seen.margin - lead_in_loss(options.margin, lane.start.gap, lane.start.hidden)
    largest = jnp.exp(-margin / lane.temperature)
    return largest / jnp.expm1(seen.loss / lane.temperature)


def _next_c(options, lane):
    """Narrows the bracket of the largest c that succeeds, and chooses the next.

    At a minimiser the loss's gradient is the others' probability p times the gap's: so near the
    boundary, where p should be ½, it is c/(2p) that would be stationary there.
    """
    c, succeeded, failed, tried = lane.bracket
    others = lane.point.seen.others
    success = succeeds(options, lane, lane.point.seen)
    succeeded = jnp.where(success, jnp.maximum(c, succeeded), succeeded)
    failed = jnp.where(success, failed, jnp.minimum(c, failed))
    sharp = options.temperature is not None
    if sharp:
        predicted = c * TUNING.aim / jnp.clip(others, TUNING.least_others, 1.0)
    else:
        predicted = c * jnp.where(success, options.growth, 1 / options.growth)
    bracketed = (succeeded > 0) & jnp.isfinite(failed)
    inset = jnp.where(bracketed, (failed / succeeded) ** TUNING.inset, 1.0)
    inside = jnp.where(
        (tried % TUNING.bisect_every == TUNING.bisect_every - 1) | (not sharp),
        jnp.sqrt(succeeded * failed),
        jnp.clip(predicted, succeeded * inset, failed / inset),
    )
    grown = jnp.clip(predicted, TUNING.least_change * c, options.growth**2 * c)
    # Far from the boundary, where p is 1, the prediction says little.
    least = jnp.where(others > TUNING.far, options.growth, TUNING.least_change)
    shrunk = jnp.clip(predicted, c / options.growth**2, c / least)
    # A sharp loss can get stuck where several classes tie, far from the target.
    none = (succeeded == 0) & jnp.isinf(lane.best.r_r)
    stuck = sharp & none & (tried >= TUNING.stuck)
    another = jnp.where(bracketed, inside, jnp.where(success, grown, shrunk))
    return lane._replace(
        bracket=Bracket(another, succeeded, failed, tried + 1),
        spent=jnp.zeros_like(lane.spent),
        step=jnp.ones_like(lane.step),
        temperature=lane.temperature * jnp.where(stuck, TUNING.soft, 1.0),
        stage=jnp.where(stuck, Stage.REFRESH, lane.stage),
    )


def polishing(
    options: AttackOptions,
    lane: Lane,
    seen: Evaluation,
    growth: Float[jax.Array, ""],
    temperature: Float[jax.Array, ""],
) -> Lane:
    """The first point on the ray from x through the lane's point, which is what was seen."""
    whole = lane._replace(step=jnp.ones_like(lane.step))
    return entering(on_ray(options, whole, seen, growth), Stage.POLISH, temperature)


def on_ray(
    options: AttackOptions, lane: Lane, seen: Evaluation, growth: Float[jax.Array, ""]
) -> Lane:
    """The next point on the ray from x through the lane's point, by Newton's method.

    `growth` is that of the margin along r, per fraction of r.
    """
    margins = options.margin, jnp.minimum(options.margin, TUNING.beyond)
    lead, beyond = (lead_asked(margin, lane, seen) for margin in margins)
    missing = lead + beyond - seen.margin
    change = missing / jnp.maximum(growth, TUNING.least_growth)
    longest = TUNING.longest_on_ray
    return lane._replace(step=lane.step + jnp.clip(change, -longest, longest))
