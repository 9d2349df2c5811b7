"""What a lane of the lockstep attack holds: scalars, which decide, and vectors, which are moved."""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from jaxadv.attacks.lockstep.tuning import TUNING
from jaxadv.attacks.margins import least_lead
from jaxadv.attacks.options import AttackOptions


class Stage(enum.IntEnum):
    """What a lane's next gradient is for; `stages` has what follows which."""

    START = 0  # the gap at x
    PROBE = 1  # the gap at a point displaced by noise
    SQP = 2  # the gap after a step of sequential quadratic programming
    AVERAGE = 3  # the gap at a point displaced by noise
    REFRESH = 4  # the loss at the point, at a new temperature
    DESCEND = 5  # a step of L-BFGS on the loss
    POLISH = 6  # the gap on the ray from x through the point
    DONE = 7  # nothing: the problem is solved, or given up


class Evaluation(NamedTuple):
    """What the logits of an image show, at the temperature T and for the target."""

    loss: jax.Array  # T·CE(logits/T) in a descent, else the gap: both tie at `lead_in_loss`
    margin: jax.Array  # logit of the target less the largest other
    magnitude: jax.Array  # |logit| of the target or of the largest other, whichever is larger
    others: jax.Array  # probability of the other classes by that loss: ½ on a boundary of two


class Products(NamedTuple):
    """Inner products at the trial point, of r = trial − x and the gradient g there."""

    r_r: jax.Array
    r_g: jax.Array
    g_g: jax.Array
    change: jax.Array  # ‖g − the gradient at the point‖²
    s_s: jax.Array  # ‖trial − point‖²
    slope: jax.Array  # of trial − point and the objective's projected gradient p at the point
    p_p: jax.Array
    from_best: jax.Array  # ‖trial − the vector best‖²
    rms: jax.Array  # root mean square of r


class Point(NamedTuple):
    """The last accepted point, its vectors aside."""

    seen: Evaluation  # while gradients are averaged, the mean linear model's at x
    r_r: jax.Array
    r_g: jax.Array
    g_g: jax.Array


class Start(NamedTuple):
    """What the gradient at x showed."""

    gap: jax.Array  # lead of the largest other class over the target, 0 before it is known
    r_r: jax.Array  # ‖r‖² to the boundary, were the logits linear
    temperature: jax.Array  # that of the fine descent
    hidden: jax.Array  # lead that orders of summation may hide


class Bracket(NamedTuple):
    """The search over c."""

    c: jax.Array
    succeeded: jax.Array  # the largest whose minimiser succeeded, 0 if none did
    failed: jax.Array  # the smallest whose minimiser failed, ∞ if none did
    tried: jax.Array  # how many are done with


class Best(NamedTuple):
    """The smallest success so far, its vector aside."""

    r_r: jax.Array  # ∞ before the first
    rms: jax.Array  # of its r, 0 before the first
    c: jax.Array
    round: jax.Array  # attacks that were over when one that was hardly farther was found


class Lane(NamedTuple):
    """The scalars of one lane."""

    problem: jax.Array  # index in the queue
    target: jax.Array
    stage: jax.Array
    spent: jax.Array  # gradients in this stage, and at this c
    evaluations: jax.Array  # gradients on this problem
    by_stage: jax.Array  # (7,) the same by the stage they were for
    round: jax.Array  # attacks on the problem that are over
    start: Start
    temperature: jax.Array
    fine: jax.Array  # whether the coarse descent, or averaging, is over
    averaging_steps: jax.Array  # 0 where the boundary is smooth, or few, to begin a further attack
    bracket: Bracket
    point: Point
    refused: jax.Array  # steps of SQP on this problem that were refused
    step: jax.Array  # length of the step to the trial point; on the ray, the fraction of r
    best: Best


class Move(NamedTuple):
    """What a decision does to a lane's vectors."""

    better: jax.Array  # the trial point is the best so far
    to_trial: jax.Array  # the point becomes the trial point, by a step that L-BFGS learns from
    to_x: jax.Array  # the point becomes x
    to_zero: jax.Array  # the point becomes the nearest zero of the mean linear model
    to_shares: jax.Array  # classes count in the gap by the shares that they have in it
    weight: jax.Array  # of the new gradient in that of the point: 0, 1, or that in a mean


class Vectors(NamedTuple):
    """The vectors of all lanes, (L, n) each."""

    x: jax.Array
    point: jax.Array  # the last accepted
    gradient: jax.Array  # of the loss there; while gradients are averaged, their mean
    free: jax.Array  # the objective's gradient there, 0 where the box holds the point
    trial: jax.Array  # where the next gradient is taken
    best: jax.Array  # the smallest success so far; before the first, of an earlier problem
    offsets: jax.Array  # (L, k) added to the logits in the gap: T log of what classes count


def loaded(
    target: Int[jax.Array, ""],
    problem: Int[jax.Array, ""],
    wanted: Bool[jax.Array, ""],
    hidden: Float[jax.Array, ""],
) -> Lane:
    """A lane at the start of a problem, or done if it is not wanted."""
    zero, one = jnp.zeros_like(hidden), jnp.ones_like(hidden)
    none, false = jnp.zeros_like(problem), jnp.array(False)
    return Lane(
        problem=problem,
        target=target,
        stage=jnp.where(wanted, at_stage(Stage.START), at_stage(Stage.DONE)),
        spent=none,
        evaluations=none,
        by_stage=jnp.zeros(Stage.DONE, none.dtype),
        round=none,
        start=Start(gap=zero, r_r=one, temperature=one, hidden=hidden),
        temperature=jnp.finfo(hidden.dtype).tiny ** 0.5 * one,
        fine=false,
        averaging_steps=none,
        bracket=Bracket(c=one, succeeded=zero, failed=jnp.inf * one, tried=none),
        point=Point(Evaluation(zero, zero, zero, zero), zero, zero, zero),
        refused=none,
        step=one,
        best=Best(r_r=jnp.inf * one, rms=zero, c=zero, round=none),
    )


def entering(lane: Lane, stage: Stage, temperature: Float[jax.Array, ""]) -> Lane:
    """The lane at the beginning of a stage."""
    return lane._replace(
        stage=at_stage(stage), temperature=temperature, spent=jnp.zeros_like(lane.spent)
    )


def entering_sqp(lane: Lane) -> Lane:
    """The beginning of sequential quadratic programming: the lane's point is evaluated first."""
    lane = entering(lane, Stage.SQP, TUNING.hot * lane.start.gap)
    return lane._replace(step=jnp.zeros_like(lane.step))


def averaging(lane: Lane, steps: Int[jax.Array, ""]) -> Lane:
    """The beginning of so many steps of gradient averaging."""
    return entering(lane, Stage.AVERAGE, lane.start.temperature)._replace(averaging_steps=steps)


def nonsmooth(lane: Lane) -> Bool[jax.Array, ""]:
    """Whether gradients are averaged over many points on this problem."""
    return lane.averaging_steps > TUNING.scattered


def affordable_averaging(options: AttackOptions, lane: Lane) -> Int[jax.Array, ""]:
    """Steps of gradient averaging that the budget leaves."""
    return jnp.clip(left_for_averaging(options, lane), 0, options.smoothing_steps)


def left_for_averaging(options: AttackOptions, lane: Lane) -> Int[jax.Array, ""]:
    """Gradients that the budget leaves, but for those of the descent afterwards."""
    return options.max_evaluations - lane.evaluations - TUNING.reserve


def averaging_after_descent(options: AttackOptions, lane: Lane) -> Int[jax.Array, ""]:
    """Steps of gradient averaging that the budget leaves if a descent comes first."""
    enough = left_for_averaging(options, lane) > TUNING.reserve
    return jnp.where(enough, affordable_averaging(options, lane), 0)


def best_c(lane: Lane) -> Float[jax.Array, ""]:
    """The c of the smallest success so far; before the first, the current one."""
    return jnp.where(jnp.isfinite(lane.best.r_r), lane.best.c, lane.bracket.c)


def finely(lane: Lane, c: Float[jax.Array, ""]) -> Lane:
    """The beginning of a fine descent from the lane's point."""
    bracket = Bracket(
        c, jnp.zeros_like(c), jnp.full_like(c, jnp.inf), jnp.zeros_like(lane.bracket.tried)
    )
    return entering(lane, Stage.REFRESH, lane.start.temperature)._replace(
        fine=jnp.array(True), bracket=bracket, step=jnp.ones_like(c)
    )


def descending_softly(lane: Lane, softness: ArrayLike) -> Lane:
    """The beginning of a coarse descent from x, at so many times the final temperature."""
    return at_x(finely(lane, best_c(lane)))._replace(
        fine=jnp.array(False), temperature=softness * lane.start.temperature
    )


def at_stage(stage: Stage) -> Int[jax.Array, ""]:
    """A stage as lanes hold it: of no weak type, for which the loop would be compiled anew."""
    return jnp.array(stage, int)


def at_trial(lane: Lane, seen: Evaluation, products: Products) -> Lane:
    """The lane at its trial point."""
    return lane._replace(point=Point(seen, products.r_r, products.r_g, products.g_g))


def at_x(lane: Lane) -> Lane:
    """The lane at x."""
    zero = jnp.zeros_like(lane.point.r_r)
    return lane._replace(point=lane.point._replace(r_r=zero, r_g=zero))


def descends(stage: Int[jax.Array, "*lanes"]) -> Bool[jax.Array, "*lanes"]:
    """Whether the next gradient is of the loss."""
    return (stage == Stage.REFRESH) | (stage == Stage.DESCEND)


def learns(stage: Int[jax.Array, "*lanes"]) -> Bool[jax.Array, "*lanes"]:
    """Whether L-BFGS learns from the steps of the stage."""
    return descends(stage) | (stage == Stage.SQP)


def succeeds(options: AttackOptions, lane: Lane, seen: Evaluation) -> Bool[jax.Array, ""]:
    """Whether the target's logit leads by the margin asked for."""
    return seen.margin >= lead_asked(options.margin, lane, seen)


def lead_asked(margin: ArrayLike, lane: Lane, seen: Evaluation) -> Float[jax.Array, ""]:
    """By how much the target's logit must lead, by a margin."""
    return least_lead(margin, lane.start.gap, seen.magnitude, lane.start.hidden)


def penalty_and_weight(
    options: AttackOptions, lane: Lane, r_r: Float[jax.Array, "*"]
) -> tuple[Float[jax.Array, "*"], Float[jax.Array, "*"] | float]:
    """|r| and the w of its gradient w r, from ‖r‖²; ‖r‖ is smoothed, by δ² = ‖r‖² of the start."""
    if options.penalty == "l2_squared":
        return r_r, 2.0
    root = jnp.sqrt(r_r + lane.start.r_r)
    return root, 1 / root


def c_along_r(
    options: AttackOptions, lane: Lane, r_r: Float[jax.Array, "*"], r_g: Float[jax.Array, "*"]
) -> Float[jax.Array, "*"]:
    """The c for which c|r| + loss is stationary along r, if others are to have the share AIM."""
    return -TUNING.aim * r_g / (penalty_and_weight(options, lane, r_r)[1] * r_r)


def strength(lane: Lane) -> Float[jax.Array, "*lanes"]:
    """c, but in SQP for the gap, of whose gradient the loss has the share AIM at the minimiser."""
    return lane.bracket.c * jnp.where(lane.stage == Stage.SQP, 1 / TUNING.aim, 1.0)
