"""The lockstep attack: one tick is one gradient of every lane, and no lane waits for another.

Each lane works on one image: a box-constrained L-BFGS descent with a line search, on
c|r| + loss_f(x + r, l), and a search over c. Whatever the lane has to decide (accept the step or
shorten it, end the descent, change c, finish) it decides between two gradients. A lane that has
finished takes the next image of the queue. Everything is pure and runs under one jit.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import Found
from jaxadv.solvers.pairs import no_pairs, projected_direction, push

# What a lane's next gradient is for.
START = 0  # the gap at x: sets c and the temperature
REFRESH = 1  # the loss at the point, at a new temperature
DESCEND = 2  # a step of L-BFGS
POLISH = 3  # a point on the ray from x through the last minimiser
IDLE = 4  # nothing: the queue is empty

ARMIJO = 1e-4
SHORTEST_STEP = 1e-3
POLISHING = 2  # Newton steps on the ray to the boundary
SOFT = 4.0  # the first descent is at this multiple of the temperature
STUCK = 3  # values of c without a success after which the temperature rises
PATIENCE = 3  # times as many values of c while there is no success at all


class Lane(NamedTuple):
    """The state of one lane (vmapped), images flattened to (n,)."""

    problem: jax.Array  # index in the queue
    stage: jax.Array
    x: jax.Array
    target: jax.Array
    temperature: jax.Array
    final_temperature: jax.Array
    scale: jax.Array  # largest component of the gap's gradient at x
    smoothing: jax.Array  # δ² of the penalty l2: √(‖r‖² + δ²)
    c: jax.Array
    succeeded_c: jax.Array  # largest c whose minimiser succeeded, 0 if none did
    failed_c: jax.Array  # smallest c whose minimiser failed, ∞ if none did
    c_steps: jax.Array  # values of c that are done with
    iterations: jax.Array  # gradients spent at this c
    point: jax.Array  # last accepted point, and the loss, its gradient, … there
    at_point: "Evaluation"
    trial: jax.Array  # where the next gradient is taken
    step: jax.Array  # length of the step to the trial point; on the ray, the fraction of r
    polishing: jax.Array  # Newton steps left
    best: jax.Array  # smallest success so far
    best_norm_squared: jax.Array  # ∞ before the first
    best_c: jax.Array
    evaluations: jax.Array


class Evaluation(NamedTuple):
    """The loss T·CE(logits/T) and what else is known of a point."""

    loss: jax.Array
    gradient: jax.Array
    margin: jax.Array  # logit of the target less the largest other
    magnitude: jax.Array  # largest |logit|
    miss: jax.Array  # 1 − softmax(logits/T) of the target: ½ on a boundary of two classes


def solve(
    logits_fn: Callable,
    options: AttackOptions,
    lanes: int,
    params: Any,
    images: jax.Array,
    targets: jax.Array,
    count: jax.Array,
) -> Found:
    """Attacks the first `count` of a queue of (Q, …) images, `lanes` at a time."""
    queue = images.reshape(len(images), -1), targets
    evaluate = functools.partial(_evaluate, logits_fn, params, images.shape[1:])
    receive = jax.vmap(functools.partial(_receive, options))
    aim = jax.vmap(functools.partial(_aim, options), in_axes=(0, 1, None))

    def tick_all(carry):
        tick, next_problem, lane, pairs, found = carry
        working = lane.stage < IDLE
        lane, pair, finished = receive(lane, evaluate(lane.trial, lane.target, lane.temperature))
        pairs = push(pairs, tick, *pair)
        lane = aim(lane, pairs, tick)
        finished = finished & working
        pairs = pairs._replace(valid=pairs.valid & ~finished)
        lane, found = jax.lax.cond(
            finished.any(),
            functools.partial(_refill, queue, count, finished, next_problem),
            lambda *unchanged: unchanged,
            *(lane, found),
        )
        return tick + 1, next_problem + finished.sum(), lane, pairs, found

    lane = _loaded(queue, count, jnp.arange(lanes))
    pairs = no_pairs(options.history_size, lanes, queue[0].shape[1], images.dtype)
    carry = jnp.array(0), jnp.array(lanes), lane, pairs, _nothing_found(queue[0])
    *_, found = jax.lax.while_loop(lambda carry: (carry[2].stage < IDLE).any(), tick_all, carry)
    return found._replace(image=found.image.reshape(images.shape))


def _evaluate(logits_fn, params, shape, points, target, temperature) -> Evaluation:
    """One gradient of every lane: (L, n) points."""

    def total_loss(points):
        logits = logits_fn(params, points.reshape(-1, *shape))
        at_target = jnp.take_along_axis(logits, target[:, None], axis=1)[:, 0]
        is_target = jnp.arange(logits.shape[1]) == target[:, None]
        others = jnp.max(jnp.where(is_target, -jnp.inf, logits), axis=1)
        soft_max = temperature * jax.nn.logsumexp(logits / temperature[:, None], axis=1)
        loss = soft_max - at_target
        magnitude = jnp.max(jnp.abs(logits), axis=1)
        return loss.sum(), (loss, at_target - others, magnitude, -jnp.expm1(-loss / temperature))

    gradient, (loss, margin, magnitude, miss) = jax.grad(total_loss, has_aux=True)(points)
    return Evaluation(loss, gradient, margin, magnitude, miss)


def _receive(options, lane: Lane, found: Evaluation):
    """Takes in the evaluation of the trial point: (lane, (s, y, valid), finished)."""
    starting, refreshing = lane.stage == START, lane.stage == REFRESH
    descending, polishing = lane.stage == DESCEND, lane.stage == POLISH
    norm_squared = jnp.sum((lane.trial - lane.x) ** 2)
    success = _succeeds(found, options) | (starting & (found.margin >= 0))
    lane = _with_candidate(lane, success, norm_squared)
    lane = lane._replace(evaluations=lane.evaluations + 1, iterations=lane.iterations + 1)
    lane = _select(starting, _started(lane, found, options), lane)

    # Line search: sufficient decrease of the whole objective.
    moved = lane.trial - lane.point
    old_norm_squared = jnp.sum((lane.point - lane.x) ** 2)
    value_change = (
        found.loss
        - lane.at_point.loss
        + lane.c
        * (_penalty(norm_squared, lane, options)[0] - _penalty(old_norm_squared, lane, options)[0])
    )
    slope = jnp.vdot(_whole_gradient(lane, options), moved)
    accepted = starting | refreshing | (descending & (value_change <= ARMIJO * slope))
    new_pair = accepted & descending
    pair = moved, found.gradient - lane.at_point.gradient, new_pair
    shrink = jnp.clip(-0.5 * slope / (value_change - slope), 0.1, 0.5)
    lane = lane._replace(
        point=jnp.where(accepted, lane.trial, lane.point),
        at_point=_select(accepted, found, lane.at_point),
        step=jnp.where(
            descending & ~accepted, lane.step * jnp.where(shrink > 0, shrink, 0.1), lane.step
        ),
    )
    lane = lane._replace(step=jnp.where(accepted, 1.0, lane.step))
    lane = _select(refreshing, lane._replace(stage=jnp.full_like(lane.stage, DESCEND)), lane)

    over, settled = _descent_over(lane, options)
    over, settled = over & descending, settled & descending
    lane = _select(over, _next_c(lane, options), lane)
    found_any = jnp.isfinite(lane.best_norm_squared)
    exhausted = (lane.c_steps >= jnp.where(found_any, 1, PATIENCE) * options.c_steps) | (
        lane.failed_c <= lane.succeeded_c * options.bracket
    )
    to_polish = descending & over & (settled | exhausted)
    lane = _select(to_polish | polishing, _polished(lane, found, to_polish, options), lane)

    already = starting & (found.margin >= 0)
    broken = starting & ~jnp.isfinite(found.loss + jnp.sum(found.gradient))
    spent = lane.evaluations >= options.max_evaluations
    finished = already | broken | spent | (polishing & (lane.polishing == 0))
    return lane, pair, finished


def _succeeds(found, options):
    return found.margin >= options.margin * found.magnitude


def _with_candidate(lane, success, norm_squared):
    better = success & (norm_squared < lane.best_norm_squared)
    return lane._replace(
        best=jnp.where(better, lane.trial, lane.best),
        best_norm_squared=jnp.where(better, norm_squared, lane.best_norm_squared),
        best_c=jnp.where(better, lane.c, lane.best_c),
    )


def _started(lane, found, options):
    """Sets c and the scales from the gap g between the logits at x, and its gradient's norm G.

    If the logits were linear, the boundary would be at ‖r‖ = g/G, where the loss of two classes has
    the gradient G/2: stationary for c = G²/(4g) with ‖r‖².
    """
    gap, norm_squared = -found.margin, jnp.sum(found.gradient**2)
    distance_squared = gap**2 / norm_squared
    c = norm_squared / (4 * gap)
    if options.penalty == "l2":  # the same minimisers, for c times 2 √(‖r‖² + δ²)
        c = c * 2 * jnp.sqrt(2 * distance_squared)
    usable = jnp.isfinite(c) & (c > 0)
    final = jnp.ones_like(gap) if options.temperature is None else options.temperature * gap
    scale = jnp.max(jnp.abs(found.gradient))
    return lane._replace(
        stage=jnp.full_like(lane.stage, REFRESH),
        c=jnp.where(usable, c, 1.0),
        temperature=final if options.temperature is None else SOFT * final,
        final_temperature=final,
        scale=jnp.where(scale > 0, scale, 1.0),
        smoothing=jnp.where(usable, distance_squared, 1.0),
    )


def _penalty(norm_squared, lane, options):
    """|r| and the w of its gradient w r, from ‖r‖²."""
    if options.penalty == "l2_squared":
        return norm_squared, 2.0
    root = jnp.sqrt(norm_squared + lane.smoothing)
    return root, 1 / root


def _weight(lane, options):
    """The w of the penalty's gradient w r at the lane's point, times c."""
    return lane.c * _penalty(jnp.sum((lane.point - lane.x) ** 2), lane, options)[1]


def _whole_gradient(lane, options):
    return lane.at_point.gradient + _weight(lane, options) * (lane.point - lane.x)


def _descent_over(lane, options):
    """Whether the lane is done with this c, and whether its point is as good as final."""
    gradient = _whole_gradient(lane, options) / lane.scale
    error = jnp.max(jnp.abs(jnp.clip(lane.point - gradient, 0, 1) - lane.point))
    bracketed = (lane.succeeded_c > 0) & jnp.isfinite(lane.failed_c)
    over = (
        (error <= jnp.where(bracketed, options.tol, 2 * options.tol))
        | (lane.iterations >= options.max_iterations)
        | (lane.step < SHORTEST_STEP)
    )
    # At T = 1 many classes may share in the loss, and `miss` does not tell where the boundary is.
    sharp = options.temperature is not None
    on_boundary = sharp & (jnp.abs(lane.at_point.miss - 0.5) <= 0.3)
    final = lane.temperature <= lane.final_temperature
    return over, on_boundary & final & (error <= options.tol)


def _next_c(lane, options):
    """Narrows the bracket of the largest c that succeeds, and chooses the next.

    At a minimiser the loss's gradient is `miss` times the gap's: so near the boundary, where `miss`
    should be ½, it is c/(2 miss) that would be stationary there.
    """
    success = _succeeds(lane.at_point, options)
    succeeded_c = jnp.where(success, jnp.maximum(lane.c, lane.succeeded_c), lane.succeeded_c)
    failed_c = jnp.where(success, lane.failed_c, jnp.minimum(lane.c, lane.failed_c))
    if options.temperature is None:
        predicted = lane.c * jnp.where(success, options.growth, 1 / options.growth)
    else:
        predicted = lane.c * 0.45 / jnp.clip(lane.at_point.miss, 1e-3, 1.0)
    bracketed = (succeeded_c > 0) & jnp.isfinite(failed_c)
    inset = jnp.where(bracketed, (failed_c / succeeded_c) ** 0.1, 1.0)
    inside = jnp.where(
        # Now and then bisect, lest one end never moves.
        (lane.c_steps % 3 == 2) | (options.temperature is None),
        jnp.sqrt(succeeded_c * failed_c),
        jnp.clip(predicted, succeeded_c * inset, failed_c / inset),
    )
    grown = jnp.clip(predicted, 1.1 * lane.c, options.growth**2 * lane.c)
    # Far from the boundary, where `miss` is 1, the prediction says little.
    least = jnp.where(lane.at_point.miss > 0.95, options.growth, 1.1)
    shrunk = jnp.clip(predicted, lane.c / options.growth**2, lane.c / least)
    if options.temperature is None:
        temperature = lane.temperature
    else:
        # A sharp loss can get stuck where several classes tie, far from the target.
        stuck = (succeeded_c == 0) & (lane.c_steps >= STUCK)
        softer = lane.temperature * jnp.where(stuck, SOFT, 1.0)
        sharper = jnp.maximum(lane.temperature / SOFT, lane.final_temperature)
        temperature = jnp.where(success, sharper, softer)
    return lane._replace(
        c=jnp.where(bracketed, inside, jnp.where(success, grown, shrunk)),
        succeeded_c=succeeded_c,
        failed_c=failed_c,
        c_steps=lane.c_steps + 1,
        iterations=jnp.zeros_like(lane.iterations),
        step=jnp.ones_like(lane.step),
        temperature=temperature,
        stage=jnp.where(temperature == lane.temperature, lane.stage, REFRESH),
    )


def _polished(lane, found, entering, options):
    """The next point on the ray from x through the lane's point: Newton's on the margin.

    At a minimiser the gap's gradient is the loss's over `miss`.
    """
    seen = _select(entering, lane.at_point, found)
    ray = lane.point - lane.x
    growth = -jnp.vdot(seen.gradient, ray) / jnp.maximum(seen.miss, 1e-6)  # of the margin
    change = (2 * options.margin * seen.magnitude - seen.margin) / jnp.maximum(growth, 1e-12)
    return lane._replace(
        stage=jnp.full_like(lane.stage, POLISH),
        step=jnp.where(entering, 1.0, lane.step) + jnp.clip(change, -0.1, 0.1),
        polishing=jnp.where(entering, POLISHING, lane.polishing - 1),
    )


def _aim(options, lane: Lane, pairs, tick):
    """Chooses the next trial point."""
    weight = _weight(lane, options)
    gradient = lane.at_point.gradient + weight * (lane.point - lane.x)
    direction = projected_direction(pairs, tick, lane.point, gradient, weight)
    ahead = lane.point + lane.step * direction
    on_ray = lane.x + lane.step * (lane.point - lane.x)
    trial = jnp.where(lane.stage == POLISH, on_ray, ahead)
    trial = jnp.where(lane.stage <= REFRESH, lane.point, jnp.clip(trial, 0.0, 1.0))
    return lane._replace(trial=trial)


def _loaded(queue, count, problem) -> Lane:
    """Lanes at the start of the problems, (L,) indices; idle from `count` on."""
    images, targets = (array[jnp.minimum(problem, len(array) - 1)] for array in queue)
    zeros = jnp.zeros(len(problem), images.dtype)
    integers = jnp.zeros_like(problem)
    return Lane(
        problem=problem,
        stage=jnp.where(problem < count, START, IDLE),
        x=images,
        target=targets,
        temperature=zeros + jnp.finfo(images.dtype).tiny ** 0.5,  # the loss is the gap itself
        final_temperature=zeros + 1,
        scale=zeros + 1,
        smoothing=zeros + 1,
        c=zeros + 1,
        succeeded_c=zeros,
        failed_c=zeros + jnp.inf,
        c_steps=integers,
        iterations=integers,
        point=images,
        at_point=Evaluation(zeros, jnp.zeros_like(images), zeros, zeros, zeros),
        trial=images,
        step=zeros + 1,
        polishing=integers,
        best=images,
        best_norm_squared=zeros + jnp.inf,
        best_c=zeros,
        evaluations=integers,
    )


def _nothing_found(images) -> Found:
    count = len(images)
    no = jnp.zeros(count, bool)
    return Found(images, no, no, jnp.zeros(count, images.dtype), jnp.zeros(count, int))


def _refill(queue, count, finished, next_problem, lane, found):
    """Writes the results of finished lanes, and loads the next problems into them."""
    success = jnp.isfinite(lane.best_norm_squared)
    results = Found(
        image=jnp.where(success[:, None], lane.best, lane.point),
        success=success,
        finite=jnp.isfinite(lane.at_point.loss) & jnp.isfinite(lane.at_point.gradient).all(axis=1),
        c=jnp.where(success, lane.best_c, lane.c),
        evaluations=lane.evaluations,
    )
    where = jnp.where(finished, lane.problem, len(queue[0]))
    found = jax.tree.map(lambda all, new: all.at[where].set(new, mode="drop"), found, results)
    loaded = _loaded(queue, count, next_problem + jnp.cumsum(finished) - 1)
    lane = jax.tree.map(
        lambda new, old: jnp.where(finished.reshape(-1, *[1] * (new.ndim - 1)), new, old),
        *(loaded, lane),
    )
    return lane, found


def _select(condition, if_true, if_false):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
