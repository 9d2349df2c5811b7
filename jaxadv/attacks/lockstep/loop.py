"""The lockstep attack: one tick is one gradient of every lane, and no lane waits for another.

`begin` loads a queue, `advance` works on it, for some time or to its end, `found` is the outcome.

Scalars decide and vectors move: what a lane does next follows from what its logits show and from
inner products (`stages`), and then the vectors of all lanes are moved at once. A lane that has
finished takes the next problem of the queue. Everything is pure and runs under one jit.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxadv.attacks.lockstep.averaging import at_zero, noise_for, smallest_r, window
from jaxadv.attacks.lockstep.rows import for_lanes, rows_of, written
from jaxadv.attacks.lockstep.sqp import c_of_step
from jaxadv.attacks.lockstep.stages import decided
from jaxadv.attacks.lockstep.state import (
    Evaluation,
    Lane,
    Products,
    Stage,
    Vectors,
    descends,
    learns,
    loaded,
    penalty_and_weight,
    strength,
)
from jaxadv.attacks.lockstep.tuning import TUNING
from jaxadv.attacks.margins import beyond_reach, lead_and_magnitude, lead_in_loss, target_and_others
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import Found
from jaxadv.attacks.types import LogitsFn
from jaxadv.solvers.pairs import Pairs, directions, no_pairs, push
from jaxadv.solvers.trees import select


class State(NamedTuple):
    """Where the work on a queue of Q problems stands, with L lanes."""

    hidden: jax.Array  # (Q,) lead that orders of summation may hide
    order: jax.Array  # (Q,) in which the problems are loaded
    noise: jax.Array  # of `noise_for`
    tick: jax.Array  # (1,)
    next_place: jax.Array  # (1,) in that order; less L, how many have finished
    lane: Lane
    vectors: Vectors
    pairs: Pairs
    found: Found  # of those that have finished; its lane_ticks are not counted yet

    def unfinished(self) -> Bool[jax.Array, ""]:
        """Whether there is anything left to do."""
        return (self.lane.stage < Stage.DONE).any()


def begin(
    options: AttackOptions,
    lanes: int,
    images: Float[jax.Array, "Q *image"],
    targets: Int[jax.Array, " Q"],
    hidden: Float[jax.Array, " Q"],
    order: Int[jax.Array, " Q"],
    count: Int[jax.Array, ""],
    classes: int,
) -> State:
    """Loads a queue of (Q, …) images, of which the first `count` in the order are attacked."""
    flat = images.reshape(len(images), -1)
    lane = _loaded((flat, targets, hidden, order), count, jnp.arange(lanes))
    x, offsets = flat[lane.problem], jnp.zeros((lanes, classes), images.dtype)
    return State(
        hidden=hidden,
        order=order,
        noise=noise_for(flat[0]),
        tick=jnp.zeros(1, int),
        next_place=jnp.full(1, lanes, int),
        lane=lane,
        vectors=Vectors(x, x, jnp.zeros_like(x), jnp.zeros_like(x), x, x, offsets),
        pairs=no_pairs(options.history_size, lanes, flat.shape[1], images.dtype),
        found=_nothing_found(flat),
    )


def advance(
    logits_fn: LogitsFn,
    options: AttackOptions,
    params: Any,
    ticks: Int[jax.Array, ""],
    images: Float[jax.Array, "Q *image"],
    targets: Int[jax.Array, " Q"],
    count: Int[jax.Array, ""],
    state: State,
) -> State:
    """Works on a queue until it is done, for so many ticks at most."""
    queue = images.reshape(len(images), -1), targets, state.hidden, state.order
    evaluate = functools.partial(_evaluate, logits_fn, params, images.shape[1:])
    last = state.tick + ticks

    def tick_all(state):
        hidden, order, noise, tick, next_place, lane, vectors, pairs, found = state
        working = lane.stage < Stage.DONE
        lane, vectors, pairs = _tick(options, noise, evaluate, tick[0], lane, vectors, pairs)
        finished = working & (lane.stage == Stage.DONE)
        lane, vectors, found = _refilled(queue, count, next_place, finished, lane, vectors, found)
        next_place += finished.sum()
        return State(hidden, order, noise, tick + 1, next_place, lane, vectors, pairs, found)

    def goes_on(state):
        return state.unfinished() & (state.tick < last)[0]

    return jax.lax.while_loop(goes_on, tick_all, state)


def found(state: State, images: Float[jax.Array, "Q *image"]) -> Found:
    """What was found for the images of a queue that is done."""
    image = state.found.image.reshape(images.shape)
    return state.found._replace(image=image, lane_ticks=state.tick * len(state.lane.stage))


def _tick(options, noise, evaluate, tick, lane, vectors, pairs):
    """One gradient of every lane, and what the lanes make of it."""
    lead = lead_in_loss(options.margin, lane.start.gap, lane.start.hidden)
    seen, shares, gradient = evaluate(
        vectors.trial, lane.target, lead, vectors.offsets, lane.temperature, lane.stage
    )
    return _after_gradient(options, noise, tick, lane, vectors, pairs, seen, shares, gradient)


@functools.partial(jax.jit, inline=True)  # traced once for all networks
def _after_gradient(options, noise, tick, lane, vectors, pairs, seen, shares, gradient):
    s, y = vectors.trial - vectors.point, gradient - vectors.gradient
    products = _products(vectors, gradient, s, y)
    lane, move = jax.vmap(functools.partial(decided, options))(lane, seen, products)
    vectors = _moved(lane, move, vectors, gradient, shares, y)
    lane, vectors, pairs = _aimed(options, tick, lane, move, vectors, pairs, s, y)
    lane, vectors = _averaged(options, noise, lane, move, vectors)
    return lane, vectors, pairs


def _evaluate(logits_fn, params, shape, points, target, lead, offsets, temperature, stage):
    """What is found at (L, n) points: the loss in a descent, else the gap; and its gradients."""

    def total_loss(points):
        logits = logits_fn(params, points.reshape(-1, *shape)).astype(points.dtype)
        margin, magnitude = lead_and_magnitude(logits, target)
        logits = logits - lead[:, None] * jax.nn.one_hot(target, logits.shape[1], dtype=lead.dtype)
        at_target, others = target_and_others(logits, target)
        rivals = jnp.where(descends(stage)[:, None], logits, others) + offsets - at_target[:, None]
        # At x the temperature follows from the gap, which no lane knows before this gradient.
        hot = jnp.maximum(TUNING.hot * jax.lax.stop_gradient(-margin), temperature)
        used = jnp.where(stage == Stage.START, hot, temperature)
        # A product: XLA makes one of a quotient or not, depending on the number of devices.
        scaled = rivals * (1 / used)[:, None]
        loss = used * jax.nn.logsumexp(scaled, axis=1)
        seen = Evaluation(loss, margin, magnitude, -jnp.expm1(-loss / used))
        shares = jax.nn.softmax(jax.lax.stop_gradient(scaled), axis=1)
        return loss.sum(), (seen, shares)

    gradient, (seen, shares) = jax.grad(total_loss, has_aux=True)(points)
    return seen, shares, gradient


def _products(vectors, g, s, y):
    r, b = vectors.trial - vectors.x, vectors.trial - vectors.best
    r_r, g_g, change, s_s, p_p, from_best = (_dot(a, a) for a in (r, g, y, s, vectors.free, b))
    rms, slope = jnp.sqrt(r_r / r.shape[1]), _dot(vectors.free, s)
    return Products(r_r, _dot(r, g), g_g, change, s_s, slope, p_p, from_best, rms)


def _moved(lane, move, vectors, gradient, shares, y):
    """The vectors after a move, but for what averaging does."""
    better, to_trial, to_x, _, to_shares, weight = (each[:, None] for each in move)
    logarithms = jnp.maximum(jnp.log(shares), TUNING.least_share)
    offsets = jnp.where(to_shares, lane.temperature[:, None] * logarithms, vectors.offsets)
    point = jnp.where(to_trial, vectors.trial, vectors.point)
    mean = jnp.where(weight == 1, gradient, vectors.gradient + weight * y)
    return vectors._replace(
        best=jnp.where(better, vectors.trial, vectors.best),
        point=jnp.where(to_x, vectors.x, point),
        gradient=jnp.where(weight == 0, vectors.gradient, mean),  # the new one may be NaN
        offsets=jnp.where((lane.stage == Stage.SQP)[:, None], offsets, 0.0),
    )


def _aimed(options, tick, lane, move, vectors, pairs, s, y):
    """The next trial points, before any noise, after L-BFGS has learnt from the last ones."""
    x, point = vectors.x, vectors.point
    weight = strength(lane) * penalty_and_weight(options, lane, lane.point.r_r)[1]
    whole = vectors.gradient + weight[:, None] * (point - x)
    held = ((point <= 0) & (whole > 0)) | ((point >= 1) & (whole < 0))
    free = jnp.where(held, 0.0, whole)
    accepted = move.to_trial[:, None] & ~held
    s, y = jnp.where(accepted, s, 0.0), jnp.where(accepted, y, 0.0)
    pairs = push(pairs, tick, s, y, move.to_trial)
    learning = learns(lane.stage) & ~move.to_x
    pairs = pairs._replace(valid=pairs.valid & learning[:, None])
    sqp = lane.stage == Stage.SQP
    missing = jnp.where(sqp, lane.point.seen.loss, jnp.nan)
    of_loss = jnp.where(held, 0.0, vectors.gradient)
    direction, multiplier = directions(
        pairs, tick, free, of_loss, missing, weight, options.history_size
    )
    direction = jnp.where(held, 0.0, direction)
    c = jnp.where(sqp, c_of_step(options, lane, multiplier), lane.bracket.c)
    lane = lane._replace(bracket=lane.bracket._replace(c=c))
    stage, step = lane.stage[:, None], lane.step[:, None]
    steps = (stage == Stage.DESCEND) | (stage == Stage.SQP)
    ahead = jnp.where(steps, point + step * direction, point)
    trial = jnp.where(stage == Stage.POLISH, x + step * (point - x), ahead)
    return lane, vectors._replace(free=free, trial=jnp.clip(trial, 0.0, 1.0)), pairs


def _averaged(options, noise, lane, move, vectors):
    """Moves points to zeros of mean linear models, and displaces trial points by noise."""
    size = vectors.x.shape[1]
    noisy = (lane.stage == Stage.AVERAGE) | (lane.stage == Stage.PROBE)

    def of_lane(lane, point, to_zero, x, gradient):
        r = smallest_r(x, lane.point.seen.loss, gradient)
        there = select(to_zero, at_zero(options, lane, _dot(r, r), _dot(r, gradient)), lane)
        start, scale = window(there, size)
        point = jnp.where(to_zero, x + r, point)
        origin = jnp.where(lane.stage == Stage.PROBE, x, point)
        displaced = origin + scale * jax.lax.dynamic_slice(noise, [start], [size])
        return _of_zero(there), point, jnp.clip(displaced, 0.0, 1.0)

    def of_lanes(rows, where, state):
        held = lane, state[1], move.to_zero, vectors.x, vectors.gradient
        new = jax.vmap(of_lane)(*rows_of(held, rows))
        return written(state, where, new)

    state = _of_zero(lane), vectors.point, vectors.trial
    (r_r, r_g, c), point, trial = for_lanes(noisy | move.to_zero, of_lanes, state)
    at = lane.point._replace(r_r=r_r, r_g=r_g)
    lane = lane._replace(point=at, bracket=lane.bracket._replace(c=c))
    return lane, vectors._replace(point=point, trial=trial)


def _of_zero(lane):
    """What `at_zero` changes: few scalars, as each that rare work writes takes a kernel."""
    return lane.point.r_r, lane.point.r_g, lane.bracket.c


def _dot(a, b):
    return jnp.einsum("...n,...n->...", a, b)  # of one lane, XLA sums a product ten times as slowly


def _loaded(queue, count, place) -> Lane:
    """Lanes at the start of the problems at (L,) places of the order; done from `count` on."""
    _, targets, hidden, order = queue
    problem = order[jnp.minimum(place, len(order) - 1)]
    return jax.vmap(loaded)(targets[problem], problem, place < count, hidden[problem])


def _nothing_found(images) -> Found:
    no = jnp.zeros(len(images), bool)
    zeros, integers = jnp.zeros(len(images), images.dtype), jnp.zeros(len(images), int)
    return Found(images, no, no, zeros, integers, jnp.zeros((len(images), Stage.DONE), int), None)


def _refilled(queue, count, next_place, finished, lane, vectors, found):
    """Writes the results of finished lanes, and loads the next problems into them."""
    images = queue[0]
    new = _loaded(queue, count, next_place + jnp.cumsum(finished) - 1)
    held = lane.problem, _result(lane, vectors), beyond_reach(lane.start.gap), vectors, new.problem

    def of_lanes(rows, where, state):
        x, trial, found = state
        at, result, out, now, new_at = rows_of(held, rows)
        # From the queue: XLA would copy all x if they were read here, where they are written.
        last = jnp.where(jnp.isfinite(now.point), now.point, images[at])
        result = result._replace(
            image=jnp.where(result.success[:, None], result.image, last),
            finite=(result.finite & jnp.isfinite(now.gradient).all(axis=1)) | out,
        )
        at = jnp.where(where < len(finished), at, len(images))
        new_x = images[new_at]
        return *written((x, trial), where, (new_x, new_x)), written(found, at, result)

    x, trial, found = for_lanes(finished, of_lanes, (vectors.x, vectors.trial, found))
    lane = jax.vmap(select)(finished, new, lane)
    return lane, vectors._replace(x=x, trial=trial), found


def _result(lane, vectors) -> Found:
    """What the scalars of all lanes say of their results."""
    success = jnp.isfinite(lane.best.r_r)
    return Found(
        image=vectors.best,
        success=success,
        finite=jnp.isfinite(lane.point.seen.loss),
        c=jnp.where(success, lane.best.c, lane.bracket.c),
        evaluations=lane.evaluations,
        by_stage=lane.by_stage,
        lane_ticks=None,
    )
