"""What a lane of the lockstep attack does between two gradients: pure functions of one lane.

A lane works on one problem, an image and a target, in stages:

- START, PROBE: how far would the boundary be, were the logits linear? Is it rugged?
- SMOOTH, where it is, or where descents fail: to the nearest zero of a linear model of the gap
  between the logits, averaged over points displaced by noise (randomised smoothing), which is
  lowered step by step.
- DESCEND, where it is not: coarsely on c|r| + loss_f(x + r, l), by box-constrained L-BFGS, at a
  raised temperature, with a search over c.
- DESCEND: finely, from there; where classes tie, once more at a lower temperature.
- POLISH: to the boundary on the ray through the minimiser.

A problem that was hard is attacked once more, from a much softer loss: it may end elsewhere.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.attacks.options import AttackOptions
from jaxadv.solvers.pairs import Pairs, projected_direction

# What a lane's next gradient is for.
START = 0  # the gap at x
PROBE = 1  # the gap to all other classes, at two points displaced by noise
SMOOTH = 2  # the gap at a point displaced by noise
REFRESH = 3  # the loss at the point, at a new temperature
DESCEND = 4  # a step of L-BFGS
POLISH = 5  # the gap on the ray from x through the point
DONE = 6  # nothing: the problem is solved, or given up

ARMIJO = 1e-4
SHORTEST_STEP = 1e-3
COARSE = 3e-4  # tolerance of the coarse descent, where that asked for is smaller
STUCK = 3  # values of c without a success after which the temperature rises
PATIENCE = 3  # times as many values of c while there is no success at all
POLISHING = 2  # Newton steps on the ray to the boundary
HARD = 70  # gradients after which a problem was hard
HOPELESS = 1.01  # a second attack whose coarse distortion is so much larger than the first's ends

# Temperatures, in units of the final one.
SOFT = 4.0  # of the coarse descent
VERY_SOFT = 30.0  # of the coarse descent on a hard problem
TIE = 0.25  # of the last descent, where classes tie
DOMINANT = 0.9  # share of the largest class among the others, above which there is no tie

NOISE = 1.5  # root mean square of the noise at first, in units of that of r
SHIFT = 101  # pixels by which the window on the noise moves; not a side of any common image
NOISELESS = 0.2  # of the steps of smoothing, those at the end without noise
AVERAGING = 0.8, 0.01  # weight of a new gradient in the average, at first and at least
RUGGED = 0.8  # the boundary is rugged if gradients at displaced points have a smaller cosine
RESERVE = 20  # gradients that smoothing leaves to the descent after it


class Evaluation(NamedTuple):
    """What is known of a point: T·CE(logits/T) in a descent, else the gap to the other classes."""

    loss: jax.Array
    gradient: jax.Array
    margin: jax.Array  # logit of the target less the largest other
    magnitude: jax.Array  # largest |logit|
    miss: jax.Array  # 1 − softmax(logits/T) of the target: ½ on a boundary of two classes


class Lane(NamedTuple):
    """The state of one lane, images flattened to (n,)."""

    problem: jax.Array  # index in the queue
    stage: jax.Array
    x: jax.Array
    target: jax.Array
    linear_norm_squared: jax.Array  # ‖r‖² to the boundary, were the logits linear
    final_temperature: jax.Array
    temperature: jax.Array
    fine: jax.Array  # whether the coarse descent, or smoothing, is over
    round: jax.Array  # attacks on the problem that are over
    smoothing_steps: jax.Array  # 0 where the boundary is not rugged
    c: jax.Array
    succeeded_c: jax.Array  # largest c whose minimiser succeeded, 0 if none did
    failed_c: jax.Array  # smallest c whose minimiser failed, ∞ if none did
    c_steps: jax.Array  # values of c that are done with
    count: jax.Array  # gradients spent in this stage, and at this c
    point: jax.Array  # last accepted point
    at_point: Evaluation  # there; while smoothing, the averaged linear model's at x
    trial: jax.Array  # where the next gradient is taken
    step: jax.Array  # length of the step to the trial point; on the ray, the fraction of r
    best: jax.Array  # smallest success so far
    best_norm_squared: jax.Array  # ∞ before the first
    best_c: jax.Array
    evaluations: jax.Array


def loaded(x: jax.Array, target: jax.Array, problem: jax.Array, count: jax.Array) -> Lane:
    """A lane at the start of a problem, or done if its index is `count` or more."""
    zero, one = jnp.zeros((), x.dtype), jnp.ones((), x.dtype)
    integer, false = jnp.zeros_like(problem), jnp.array(False)
    return Lane(
        problem=problem,
        stage=jnp.where(problem < count, START, DONE),
        x=x,
        target=target,
        linear_norm_squared=one,
        final_temperature=one,
        temperature=jnp.finfo(x.dtype).tiny ** 0.5 * one,
        fine=false,
        round=integer,
        smoothing_steps=integer,
        c=one,
        succeeded_c=zero,
        failed_c=jnp.inf * one,
        c_steps=integer,
        count=integer,
        point=x,
        at_point=Evaluation(zero, jnp.zeros_like(x), zero, zero, zero),
        trial=x,
        step=one,
        best=x,
        best_norm_squared=jnp.inf * one,
        best_c=zero,
        evaluations=integer,
    )


def received(
    options: AttackOptions, lane: Lane, found: Evaluation
) -> tuple[Lane, jax.Array, jax.Array, jax.Array]:
    """Takes in what was found at the trial point.

    Returns:
      The lane; a pair (s, y) of L-BFGS; whether it is one. Lanes that smooth are left to
      `smoothed`.
    """
    s, y = lane.trial - lane.point, found.gradient - lane.at_point.gradient
    r = lane.trial - lane.x
    norm_squared = jnp.vdot(r, r)
    success = _succeeds(options, found) | ((lane.stage == START) & (found.margin > 0))
    better = success & (norm_squared < lane.best_norm_squared)
    lane = lane._replace(
        best=jnp.where(better, lane.trial, lane.best),
        best_norm_squared=jnp.where(better, norm_squared, lane.best_norm_squared),
        best_c=jnp.where(better, lane.c, lane.best_c),
        evaluations=lane.evaluations + 1,
        count=lane.count + 1,
    )
    no = jnp.array(False)
    lane, accepted = jax.lax.switch(
        lane.stage,
        [
            lambda: (_started(options, lane, found), no),
            lambda: (_probed(options, lane, found), no),
            lambda: (lane, no),
            lambda: (lane._replace(stage=_stage(DESCEND), at_point=found), no),
            lambda: _descended(options, lane, found, s, norm_squared),
            lambda: (_polished(options, lane, found), no),
            lambda: (lane, no),
        ],
    )
    spent = lane.evaluations >= options.max_evaluations
    return lane._replace(stage=jnp.where(spent, DONE, lane.stage)), s, y, accepted


def _stage(stage):
    return jnp.array(stage, int)


def _succeeds(options, found):
    return found.margin >= options.margin * found.magnitude


def _started(options, lane, found):
    """Sets c and the temperature from the gap g between the logits at x, and its gradient's norm G.

    If the logits were linear, the boundary would be at ‖r‖ = g/G, where the loss of two classes has
    the gradient G/2: stationary for c = G²/(4g) with ‖r‖².
    """
    least = options.margin * found.magnitude + jnp.finfo(found.loss.dtype).tiny ** 0.5
    gap = jnp.maximum(-found.margin, least)  # classes may tie at x
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
        fine=jnp.array(not sharp),
        c=jnp.where(usable, c, 1.0),
        final_temperature=final,
        linear_norm_squared=jnp.where(usable, linear_norm_squared, 1.0),
        at_point=found,
    )
    if options.smoothing_steps and sharp:
        # At so high a temperature all classes count, and a tie does not look rugged.
        lane = _entering(lane, PROBE, gap)
    else:
        lane = _entering(lane, REFRESH, SOFT * final if sharp else final)
    return lane._replace(stage=jnp.where(over, DONE, lane.stage))


def _entering(lane, stage, temperature):
    return lane._replace(
        stage=_stage(stage), temperature=temperature, count=jnp.zeros_like(lane.count)
    )


def _probed(options, lane, found):
    """Compares gradients at two points displaced by noise; smoothing starts from both."""
    model = _linear_model(lane, found)
    one, other = lane.at_point.gradient, model.gradient
    cosine = jnp.vdot(one, other) / jnp.sqrt(jnp.vdot(one, one) * jnp.vdot(other, other))
    steps = _affordable_smoothing(options, lane)
    rugged = (cosine < RUGGED) & (steps > 0)
    mean = jax.tree.map(lambda one, other: (one + other) / 2, lane.at_point, model)
    r = _smallest_r(lane.x, mean.loss, mean.gradient)
    smooth = _smoothly(lane, steps, lane.x + r)
    descend = _entering(lane, REFRESH, SOFT * lane.final_temperature)
    first = lane._replace(at_point=model)
    return _select(lane.count == 1, first, _select(rugged, smooth, descend))


def _affordable_smoothing(options, lane):
    left = options.max_evaluations - lane.evaluations - RESERVE
    return jnp.clip(left, 0, options.smoothing_steps)


def _smoothly(lane, steps, point):
    """The beginning of so many steps of smoothing from a point."""
    return _entering(lane, SMOOTH, lane.final_temperature)._replace(
        smoothing_steps=steps, point=point
    )


def _linear_model(lane, found):
    """The gap's linear model at the trial point: its loss is the model's at x."""
    loss = found.loss - jnp.vdot(found.gradient, lane.trial - lane.x)
    return found._replace(loss=loss)


def smoothed(options: AttackOptions, lane: Lane, found: Evaluation) -> Lane:
    """Averages the gap's linear model at the trial point, and moves to the nearest of its zeros.

    To be called after `received`; changes only lanes that smooth. One that meets NaN descends.
    """
    model = _linear_model(lane, found)
    most, least = AVERAGING
    weight = jnp.maximum(most * (1 - (lane.count - 1) / lane.smoothing_steps), least)
    mean = jax.tree.map(lambda old, new: old + weight * (new - old), lane.at_point, model)
    mean = _select(lane.count == 1, model, mean)
    r = _smallest_r(lane.x, mean.loss, mean.gradient)
    moved = lane._replace(point=lane.x + r, at_point=mean)
    # Where c|r| + loss is stationary there, if `miss` is to be 0.45.
    norm_squared = jnp.vdot(r, r)
    weight = _penalty(options, lane, norm_squared)[1]
    c = -0.45 * jnp.vdot(mean.gradient, r) / (weight * norm_squared)
    c = jnp.where(jnp.isfinite(c) & (c > 0), c, lane.c)
    moved = _select(lane.count >= lane.smoothing_steps, _finely(moved, c), moved)
    descend = _entering(lane, REFRESH, SOFT * lane.final_temperature)
    descend = descend._replace(point=lane.x, smoothing_steps=jnp.zeros_like(lane.count))
    finite = jnp.isfinite(found.loss) & jnp.isfinite(found.gradient).all()
    # A lane that has just entered this stage has yet to evaluate its first point.
    return _select((lane.stage == SMOOTH) & (lane.count > 0), _select(finite, moved, descend), lane)


def _smallest_r(x, offset, gradient):
    """The smallest r in the box with offset + gradient·r = 0, clip(−λ gradient): Newton's method.

    gradient·r is convex in λ, and falls: from λ = 0, Newton's method does not overshoot.
    """
    multiplier = jnp.zeros_like(offset)
    for _ in range(4):
        r = jnp.clip(x - multiplier * gradient, 0, 1) - x
        held = ((x + r <= 0) & (gradient > 0)) | ((x + r >= 1) & (gradient < 0))
        free = jnp.where(held, 0.0, gradient)
        missing = offset + jnp.vdot(gradient, r)
        multiplier = multiplier + missing / jnp.maximum(jnp.vdot(free, free), 1e-30)
    return jnp.clip(x - multiplier * gradient, 0, 1) - x


def displaced(lane: Lane, noise: jax.Array) -> Lane:
    """The lane, its trial point displaced by noise if it probes or smooths.

    The noise of a step is a window on one long vector, the same for all problems: moved by SHIFT
    from step to step, it is as good as new.
    """
    r = lane.point - lane.x
    norm_squared = jnp.where(lane.stage == PROBE, lane.linear_norm_squared, jnp.vdot(r, r))
    last = (1 - NOISELESS) * jnp.maximum(lane.smoothing_steps, 1)
    remaining = jnp.maximum(1 - lane.count / last, 0)
    size = jnp.select([lane.stage == PROBE, lane.stage == SMOOTH], [1.0, remaining], 0.0)
    size = NOISE * size * jnp.sqrt(norm_squared / len(r))
    steps = lane.round * lane.smoothing_steps + lane.count
    window = jax.lax.dynamic_slice(noise, [SHIFT * steps], r.shape)
    return lane._replace(trial=jnp.clip(lane.trial + size * window, 0.0, 1.0))


def noise_for(options: AttackOptions, x: jax.Array) -> jax.Array:
    """The noise that lanes with images like the (n,) x are displaced by."""
    size = len(x) + SHIFT * options.smoothing_steps * options.smoothing_rounds
    return jax.random.normal(jax.random.key(0), (size,), x.dtype)


def _descended(options, lane, found, moved, norm_squared):
    """The line search, and what follows the end of a descent: (lane, whether it accepted)."""
    r = lane.point - lane.x
    old_penalty, weight = _penalty(options, lane, jnp.vdot(r, r))
    penalty = lane.c * _penalty(options, lane, norm_squared)[0]
    change = found.loss - lane.at_point.loss + penalty - lane.c * old_penalty
    slope = jnp.vdot(lane.at_point.gradient + lane.c * weight * r, moved)
    accepted = change <= ARMIJO * slope
    shrink = jnp.clip(-0.5 * slope / (change - slope), 0.1, 0.5)
    lane = lane._replace(
        point=jnp.where(accepted, lane.trial, lane.point),
        at_point=_select(accepted, found, lane.at_point),
        step=jnp.where(accepted, 1.0, lane.step * jnp.where(shrink > 0, shrink, 0.1)),
    )
    tol = jnp.where(lane.fine, options.tol, max(options.tol, COARSE))
    over = (
        (accepted & (-change <= tol * lane.c * weight * norm_squared / 2))
        | (lane.step < SHORTEST_STEP)
        | (lane.count >= options.max_iterations)
    )
    return _select(over, _minimised(options, lane), lane), accepted


def _penalty(options, lane, norm_squared):
    """|r| and the w of its gradient w r, from ‖r‖²; ‖r‖ is smoothed, by δ² = ‖r‖² of START."""
    if options.penalty == "l2_squared":
        return norm_squared, 2.0
    root = jnp.sqrt(norm_squared + lane.linear_norm_squared)
    return root, 1 / root


def _minimised(options, lane):
    """What follows a minimiser: another c, unless this one will do or there is no better."""
    another = _next_c(options, lane)
    found_any = jnp.isfinite(lane.best_norm_squared)
    steps = _affordable_smoothing(options, lane)
    descents_fail = ~found_any & (lane.smoothing_steps == 0) & (steps > 0)
    patience = jnp.where(found_any | descents_fail, 1, PATIENCE)
    exhausted = (another.c_steps >= patience * options.c_steps) | (
        another.failed_c <= another.succeeded_c * options.bracket
    )
    whole = lane._replace(step=jnp.ones_like(lane.step))
    ray = _on_ray(options, whole, lane.at_point, jnp.maximum(lane.at_point.miss, 1e-6))
    polish = _entering(ray, POLISH, lane.temperature)
    if options.temperature is None:
        # At T = 1 many classes may share in the loss: `miss` does not tell where the boundary is.
        return _select(exhausted, polish, another)
    on_boundary = jnp.abs(lane.at_point.miss - 0.5) <= 0.3
    r = lane.point - lane.x
    norm_squared = ray.step**2 * jnp.vdot(r, r)
    too_large = norm_squared > HOPELESS**2 * lane.best_norm_squared
    hopeless = (lane.round > 0) & too_large
    after_coarse = _select(hopeless, lane._replace(stage=_stage(DONE)), _finely(lane, another.c))
    after_fine = polish
    if options.tol < COARSE:
        sharpest = TIE * lane.final_temperature
        tie = (lane.temperature > sharpest) & (_dominance(lane) < DOMINANT)
        finest = _finely(lane, another.c)._replace(temperature=sharpest)
        after_fine = _select(tie, finest, polish)
    ended = _select(lane.fine, after_fine, after_coarse)
    smooth = _smoothly(lane, steps, lane.x)
    otherwise = _select(descents_fail, smooth, lane._replace(stage=_stage(DONE)))
    ended = _select(found_any | on_boundary, ended, otherwise)
    return _select(on_boundary | exhausted, ended, another)


def _dominance(lane):
    """Of the other classes' exp(logits/T), the share of the largest."""
    largest = jnp.exp(-lane.at_point.margin / lane.temperature)
    return largest / jnp.expm1(lane.at_point.loss / lane.temperature)


def _finely(lane, c):
    """The beginning of a fine descent from the lane's point."""
    return _entering(lane, REFRESH, lane.final_temperature)._replace(
        fine=jnp.array(True),
        c=c,
        succeeded_c=jnp.zeros_like(c),
        failed_c=jnp.full_like(c, jnp.inf),
        c_steps=jnp.zeros_like(lane.c_steps),
        step=jnp.ones_like(c),
    )


def _next_c(options, lane):
    """Narrows the bracket of the largest c that succeeds, and chooses the next.

    At a minimiser the loss's gradient is `miss` times the gap's: so near the boundary, where `miss`
    should be ½, it is c/(2 miss) that would be stationary there.
    """
    success = _succeeds(options, lane.at_point)
    succeeded_c = jnp.where(success, jnp.maximum(lane.c, lane.succeeded_c), lane.succeeded_c)
    failed_c = jnp.where(success, lane.failed_c, jnp.minimum(lane.c, lane.failed_c))
    sharp = options.temperature is not None
    if sharp:
        predicted = lane.c * 0.45 / jnp.clip(lane.at_point.miss, 1e-3, 1.0)
    else:
        predicted = lane.c * jnp.where(success, options.growth, 1 / options.growth)
    bracketed = (succeeded_c > 0) & jnp.isfinite(failed_c)
    inset = jnp.where(bracketed, (failed_c / succeeded_c) ** 0.1, 1.0)
    inside = jnp.where(
        # Now and then bisect, lest one end never moves.
        (lane.c_steps % 3 == 2) | (not sharp),
        jnp.sqrt(succeeded_c * failed_c),
        jnp.clip(predicted, succeeded_c * inset, failed_c / inset),
    )
    grown = jnp.clip(predicted, 1.1 * lane.c, options.growth**2 * lane.c)
    # Far from the boundary, where `miss` is 1, the prediction says little.
    least = jnp.where(lane.at_point.miss > 0.95, options.growth, 1.1)
    shrunk = jnp.clip(predicted, lane.c / options.growth**2, lane.c / least)
    # A sharp loss can get stuck where several classes tie, far from the target.
    stuck = sharp & (succeeded_c == 0) & (lane.c_steps >= STUCK)
    return lane._replace(
        c=jnp.where(bracketed, inside, jnp.where(success, grown, shrunk)),
        succeeded_c=succeeded_c,
        failed_c=failed_c,
        c_steps=lane.c_steps + 1,
        count=jnp.zeros_like(lane.count),
        step=jnp.ones_like(lane.step),
        temperature=lane.temperature * jnp.where(stuck, SOFT, 1.0),
        stage=jnp.where(stuck, REFRESH, lane.stage),
    )


def _on_ray(options, lane, seen, share):
    """The next point on the ray from x through the lane's point: Newton's on the margin.

    `share` is what part of the gap's gradient the gradient is.
    """
    growth = -jnp.vdot(seen.gradient, lane.point - lane.x) / share
    change = (2 * options.margin * seen.magnitude - seen.margin) / jnp.maximum(growth, 1e-12)
    return lane._replace(step=lane.step + jnp.clip(change, -0.1, 0.1))


def _polished(options, lane, found):
    """The next Newton step, or the end of this attack on the problem."""
    over = lane.count >= POLISHING
    another = _on_ray(options, lane, found, 1.0)._replace(stage=jnp.where(over, DONE, POLISH))
    if options.temperature is None:
        return another
    found_any = jnp.isfinite(lane.best_norm_squared)
    anew = _finely(lane, jnp.where(found_any, lane.best_c, lane.c))._replace(
        fine=jnp.array(False), round=lane.round + 1
    )
    softly = anew._replace(temperature=VERY_SOFT * lane.final_temperature, point=lane.x)
    hard = options.restart & (lane.evaluations > HARD) & (lane.round == 0)
    rugged = lane.smoothing_steps > 0
    affordable = lane.smoothing_steps <= options.max_evaluations - lane.evaluations - RESERVE
    more = (lane.round + 1 < options.smoothing_rounds) & affordable
    another = _select(over & ~rugged & hard, softly, another)
    return _select(over & rugged & more, anew._replace(stage=_stage(SMOOTH)), another)


def aimed(options: AttackOptions, lane: Lane, pairs: Pairs, tick: jax.Array) -> Lane:
    """Chooses the next trial point, before any noise."""
    r = lane.point - lane.x
    weight = lane.c * _penalty(options, lane, jnp.vdot(r, r))[1]
    gradient = lane.at_point.gradient + weight * r
    direction = projected_direction(pairs, tick, lane.point, gradient, weight)
    trial = jnp.where(lane.stage == DESCEND, lane.point + lane.step * direction, lane.point)
    trial = jnp.where(lane.stage == POLISH, lane.x + lane.step * r, trial)
    return lane._replace(trial=jnp.clip(trial, 0.0, 1.0))


def _select(condition, if_true, if_false):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
