"""The state of a lane of the lockstep attack, and how its stages begin."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxadv.attacks.lockstep import tuning
from jaxadv.attacks.margins import least_lead
from jaxadv.attacks.options import AttackOptions

_Tree = TypeVar("_Tree")

# What a lane's next gradient is for.
START = 0  # the gap at x
PROBE = 1  # the gap to all other classes, at two points displaced by noise
SMOOTH = 2  # the gap at a point displaced by noise
REFRESH = 3  # the loss at the point, at a new temperature
DESCEND = 4  # a step of L-BFGS
POLISH = 5  # the gap on the ray from x through the point
DONE = 6  # nothing: the problem is solved, or given up


class Evaluation(NamedTuple):
    """What is known of a point: T·CE(logits/T) in a descent, else the gap to the other classes."""

    loss: jax.Array
    gradient: jax.Array
    margin: jax.Array  # logit of the target less the largest other
    magnitude: jax.Array  # |logit| of the target or of the largest other, whichever is larger
    miss: jax.Array  # 1 − softmax(logits/T) of the target: ½ on a boundary of two classes


class Lane(NamedTuple):
    """The state of one lane, images flattened to (n,)."""

    problem: jax.Array  # index in the queue
    stage: jax.Array
    x: jax.Array
    target: jax.Array
    gap: jax.Array  # lead of the largest other class over the target at x, 0 before it is known
    linear_norm_squared: jax.Array  # ‖r‖² to the boundary, were the logits linear
    final_temperature: jax.Array
    temperature: jax.Array
    fine: jax.Array  # whether the coarse descent, or smoothing, is over
    round: jax.Array  # attacks on the problem that are over
    smoothing_steps: jax.Array  # 0 where the boundary is smooth
    c: jax.Array
    succeeded_c: jax.Array  # largest c whose minimiser succeeded, 0 if none did
    failed_c: jax.Array  # smallest c whose minimiser failed, ∞ if none did
    c_steps: jax.Array  # values of c that are done with
    spent: jax.Array  # gradients in this stage, and at this c
    point: jax.Array  # last accepted point
    at_point: Evaluation  # there; while smoothing, the averaged linear model's at x
    trial: jax.Array  # where the next gradient is taken
    step: jax.Array  # length of the step to the trial point; on the ray, the fraction of r
    best: jax.Array  # smallest success so far
    best_norm_squared: jax.Array  # ∞ before the first
    best_c: jax.Array
    evaluations: jax.Array


def loaded(
    x: Float[jax.Array, " n"],
    target: Int[jax.Array, ""],
    problem: Int[jax.Array, ""],
    count: Int[jax.Array, ""],
) -> Lane:
    """A lane at the start of a problem, or done if its index is `count` or more."""
    zero, one = jnp.zeros((), x.dtype), jnp.ones((), x.dtype)
    integer, false = jnp.zeros_like(problem), jnp.array(False)
    return Lane(
        problem=problem,
        stage=jnp.where(problem < count, START, DONE),
        x=x,
        target=target,
        gap=zero,
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
        spent=integer,
        point=x,
        at_point=Evaluation(zero, jnp.zeros_like(x), zero, zero, zero),
        trial=x,
        step=one,
        best=x,
        best_norm_squared=jnp.inf * one,
        best_c=zero,
        evaluations=integer,
    )


def entering(lane: Lane, stage: int, temperature: Float[jax.Array, ""]) -> Lane:
    """The lane at the beginning of a stage."""
    return lane._replace(
        stage=at_stage(stage), temperature=temperature, spent=jnp.zeros_like(lane.spent)
    )


def smoothly(lane: Lane, steps: Int[jax.Array, ""], point: Float[jax.Array, " n"]) -> Lane:
    """The beginning of so many steps of gradient averaging from a point."""
    return entering(lane, SMOOTH, lane.final_temperature)._replace(
        smoothing_steps=steps, point=point
    )


def finely(lane: Lane, c: Float[jax.Array, ""]) -> Lane:
    """The beginning of a fine descent from the lane's point."""
    return entering(lane, REFRESH, lane.final_temperature)._replace(
        fine=jnp.array(True),
        c=c,
        succeeded_c=jnp.zeros_like(c),
        failed_c=jnp.full_like(c, jnp.inf),
        c_steps=jnp.zeros_like(lane.c_steps),
        step=jnp.ones_like(c),
    )


def at_stage(stage: int) -> Int[jax.Array, ""]:
    """A stage as lanes hold it."""
    return jnp.array(stage, int)


def affordable_smoothing(options: AttackOptions, lane: Lane) -> Int[jax.Array, ""]:
    """Steps of gradient averaging that the budget leaves."""
    left = options.max_evaluations - lane.evaluations - tuning.RESERVE
    return jnp.clip(left, 0, options.smoothing_steps)


def succeeds(options: AttackOptions, lane: Lane, found: Evaluation) -> Bool[jax.Array, ""]:
    """Whether the target's logit leads by the margin asked for."""
    return found.margin >= least_lead(options.margin, lane.gap, found.magnitude)


def penalty_and_weight(
    options: AttackOptions, lane: Lane, norm_squared: Float[jax.Array, ""]
) -> tuple[Float[jax.Array, ""], Float[jax.Array, ""] | float]:
    """|r| and the w of its gradient w r, from ‖r‖²; ‖r‖ is smoothed, by δ² = ‖r‖² of START."""
    if options.penalty == "l2_squared":
        return norm_squared, 2.0
    root = jnp.sqrt(norm_squared + lane.linear_norm_squared)
    return root, 1 / root


def select(condition: Bool[jax.Array, ""], if_true: _Tree, if_false: _Tree) -> _Tree:
    """One of two pytrees."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
