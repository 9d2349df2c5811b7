"""The lockstep attack: one tick is one gradient of every lane, and no lane waits for another.

What a lane decides, it decides between two gradients (`stages`). A lane that has finished takes the
next problem of the queue. Everything is pure and runs under one jit.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxadv.attacks.lockstep.averaging import displaced, noise_for, smoothed
from jaxadv.attacks.lockstep.lane import (
    DESCEND,
    DONE,
    PROBE,
    REFRESH,
    SMOOTH,
    Evaluation,
    Lane,
    loaded,
)
from jaxadv.attacks.lockstep.stages import aimed, received
from jaxadv.attacks.margins import lead_and_magnitude, target_and_others
from jaxadv.attacks.options import AttackOptions
from jaxadv.attacks.results import Found
from jaxadv.attacks.types import LogitsFn
from jaxadv.solvers.pairs import no_pairs, push


def solve(
    logits_fn: LogitsFn,
    options: AttackOptions,
    lanes: int,
    params: Any,
    images: Float[jax.Array, "Q *image"],
    targets: Int[jax.Array, " Q"],
    count: Int[jax.Array, ""],
) -> Found:
    """Attacks the first `count` of a queue of (Q, …) images, `lanes` at a time."""
    queue = images.reshape(len(images), -1), targets
    size, dtype = queue[0].shape[1], images.dtype
    noise = noise_for(options, queue[0][0])
    evaluate = functools.partial(_evaluate, logits_fn, params, images.shape[1:])

    def tick_all(carry):
        tick, next_problem, lane, pairs, found = carry
        working = lane.stage < DONE
        lane, pairs = _tick(options, noise, evaluate, tick, lane, pairs)
        finished = working & (lane.stage == DONE)
        refill = functools.partial(_refill, queue, count, finished, next_problem)
        lane, found = _if_any(finished, refill, (lane, found))
        return tick + 1, next_problem + finished.sum(), lane, pairs, found

    def unfinished(carry):
        return (carry[2].stage < DONE).any()

    lane = _loaded(queue, count, jnp.arange(lanes))
    pairs = no_pairs(options.history_size, lanes, size, dtype)
    carry = jnp.array(0), jnp.array(lanes), lane, pairs, _nothing_found(queue[0])
    ticks, *_, found = jax.lax.while_loop(unfinished, tick_all, carry)
    return found._replace(image=found.image.reshape(images.shape), lane_ticks=ticks * lanes)


def _tick(options, noise, evaluate, tick, lane, pairs):
    """One gradient of every lane, and what the lanes make of it."""
    evaluation = evaluate(lane.trial, lane.target, lane.temperature, lane.stage)
    take_in = jax.vmap(functools.partial(received, options))
    take_in_smooth = jax.vmap(functools.partial(smoothed, options))
    aim = jax.vmap(functools.partial(aimed, options), in_axes=(0, 1, None))
    lane, *pair = take_in(lane, evaluation)
    if options.smoothing_steps:
        lane = _if_any(lane.stage == SMOOTH, lambda lane: take_in_smooth(lane, evaluation), lane)
    pairs = push(pairs, tick, *pair)
    descending = (lane.stage == DESCEND) | (lane.stage == REFRESH)
    pairs = pairs._replace(valid=pairs.valid & descending)
    lane = aim(lane, pairs, tick)
    if options.smoothing_steps:
        noisy = (lane.stage == SMOOTH) | (lane.stage == PROBE)
        lane = _if_any(noisy, lambda lane: jax.vmap(displaced, (0, None))(lane, noise), lane)
    return lane, pairs


def _if_any(condition, change, state):
    """change(state), unless the condition holds for no lane: then it would change nothing."""
    return jax.lax.cond(condition.any(), change, lambda state: state, state)


def _evaluate(logits_fn, params, shape, points, target, temperature, stage) -> Evaluation:
    """One gradient of every lane: (L, n) points; of the loss in a descent, else of the gap."""
    descending = (stage == REFRESH) | (stage == DESCEND)

    def total_loss(points):
        logits = logits_fn(params, points.reshape(-1, *shape)).astype(points.dtype)
        margin, magnitude = lead_and_magnitude(logits, target)
        at_target, others = target_and_others(logits, target)
        rivals = jnp.where(descending[:, None], logits, others) - at_target[:, None]
        # A product: XLA makes one of a quotient or not, depending on the number of devices.
        scaled = rivals * (1 / temperature)[:, None]
        loss = temperature * jax.nn.logsumexp(scaled, axis=1)
        return loss.sum(), (loss, margin, magnitude, -jnp.expm1(-loss / temperature))

    gradient, (loss, margin, magnitude, miss) = jax.grad(total_loss, has_aux=True)(points)
    return Evaluation(loss, gradient, margin, magnitude, miss)


def _loaded(queue, count, problem) -> Lane:
    """Lanes at the start of the problems, (L,) indices; done from `count` on."""
    images, targets = (array[jnp.minimum(problem, len(array) - 1)] for array in queue)
    return jax.vmap(loaded, in_axes=(0, 0, 0, None))(images, targets, problem, count)


def _nothing_found(images) -> Found:
    no = jnp.zeros(len(images), bool)
    zeros, integers = jnp.zeros(len(images), images.dtype), jnp.zeros(len(images), int)
    return Found(images, no, no, zeros, integers, jnp.array(0))


def _refill(queue, count, finished, next_problem, state):
    """Writes the results of finished lanes, and loads the next problems into them."""
    lane, found = state
    success = jnp.isfinite(lane.best_norm_squared)
    loss, gradient = lane.at_point.loss, lane.at_point.gradient
    last = jnp.where(jnp.isfinite(lane.point), lane.point, lane.x)
    results = Found(
        image=jnp.where(success[:, None], lane.best, last),
        success=success,
        finite=jnp.isfinite(loss) & jnp.isfinite(gradient).all(axis=1),
        c=jnp.where(success, lane.best_c, lane.c),
        evaluations=lane.evaluations,
        lane_ticks=found.lane_ticks,
    )
    where = jnp.where(finished, lane.problem, len(queue[0]))

    def written(old, new):
        return old.at[where].set(new, mode="drop") if old.ndim else new

    fresh = _loaded(queue, count, next_problem + jnp.cumsum(finished) - 1)
    lane = jax.tree.map(
        lambda new, old: jnp.where(finished.reshape(-1, *[1] * (new.ndim - 1)), new, old),
        *(fresh, lane),
    )
    return lane, jax.tree.map(written, found, results)
