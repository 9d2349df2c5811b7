"""What a lane of the lockstep attack decides between two gradients: pure functions of scalars.

What is decided follows from inner products and from what the logits show; what that does to the
lane's vectors is a `Move`, which is carried out for all lanes at once (`loop`).

A lane works on one problem, an image and a target, in stages:

- START, PROBE: how far would the boundary be, were the logits linear? Is it non-smooth?
- SQP, where it is smooth: steps to the smallest r on the linearised boundary, each with its own c.
  Where many are refused, PROBE again, farther from x.
- DESCEND, where it is not, or where steps do not settle: coarsely on c|r| + loss_f(x + r, l), by
  box-constrained L-BFGS, at a raised temperature, with a `search` over c. REFRESH comes before: the
  loss, at a new temperature.
- AVERAGE, from there where the boundary is non-smooth, or from x where descents fail: `averaging`
  of gradients over noise.
- DESCEND: finely, from there; where classes tie, once more at a lower temperature.
- POLISH: to the boundary on the ray through the minimiser.
- DONE, the problem being solved or given up, or `max_evaluations` spent.

A problem that was hard is attacked once more, from a much softer loss: it may end elsewhere. With
`rounds`, each is attacked again, from AVERAGE on: of two points, then SQP, where it is smooth. Many
such attacks in a row that find nothing nearer end it. Without `rounds`, so are those on which steps
settled late and far off; there, an attack is over once it comes near to what is known.
"""

import jax.numpy as jnp

from jaxadv.attacks.lockstep.averaging import averaged, probed
from jaxadv.attacks.lockstep.search import another_attack, minimised, on_ray
from jaxadv.attacks.lockstep.sqp import stepped
from jaxadv.attacks.lockstep.state import (
    Best,
    Evaluation,
    Lane,
    Move,
    Products,
    Stage,
    Start,
    at_stage,
    at_trial,
    descending_softly,
    entering,
    nonsmooth,
    penalty_and_weight,
    succeeds,
)
from jaxadv.attacks.lockstep.tuning import TUNING
from jaxadv.attacks.margins import lead_in_loss, rounding
from jaxadv.attacks.options import AttackOptions
from jaxadv.solvers.trees import select, select_changes

SUCCESSORS = {
    Stage.START: {Stage.PROBE, Stage.REFRESH},
    Stage.PROBE: {Stage.PROBE, Stage.SQP, Stage.REFRESH},
    Stage.SQP: {Stage.SQP, Stage.PROBE, Stage.POLISH, Stage.REFRESH, Stage.AVERAGE},
    Stage.AVERAGE: {Stage.AVERAGE, Stage.SQP, Stage.REFRESH},
    Stage.REFRESH: {Stage.DESCEND},
    Stage.DESCEND: {Stage.DESCEND, Stage.REFRESH, Stage.AVERAGE, Stage.POLISH},
    Stage.POLISH: {Stage.POLISH, Stage.REFRESH, Stage.AVERAGE},
    Stage.DONE: set(),
}
"""Which stages follow a stage; besides, DONE follows each."""


def decided(
    options: AttackOptions, lane: Lane, seen: Evaluation, products: Products
) -> tuple[Lane, Move]:
    """Takes in what was found at the trial point."""
    success = succeeds(options, lane, seen) | ((lane.stage == Stage.START) & (seen.margin > 0))
    better = success & (products.r_r < lane.best.r_r)
    gains = products.r_r < (1 - TUNING.gain) ** 2 * lane.best.r_r
    found_in = jnp.where(gains, lane.round, lane.best.round)
    best = Best(products.r_r, products.rms, c=lane.bracket.c, round=found_in)
    lane = lane._replace(
        best=select(better, best, lane.best),
        evaluations=lane.evaluations + 1,
        by_stage=lane.by_stage + (jnp.arange(Stage.DONE) == lane.stage),
        spent=lane.spent + 1,
    )
    no, weight = jnp.array(False), jnp.zeros_like(seen.loss)
    stay = Move(better, to_trial=no, to_x=no, to_zero=no, to_shares=no, weight=weight)
    after = {
        Stage.START: _started(options, lane, seen, products, stay),
        Stage.PROBE: probed(options, lane, seen, products, stay),
        Stage.SQP: stepped(options, lane, seen, products, stay),
        Stage.AVERAGE: averaged(lane, seen, products, stay),
        Stage.REFRESH: _refreshed(lane, seen, products, stay),
        Stage.DESCEND: _descended(options, lane, seen, products, stay),
        Stage.POLISH: _polished(options, lane, seen, products, stay),
    }
    before = outcome = lane, stay
    for stage, each in after.items():
        outcome = select_changes(lane.stage == stage, before, each, outcome)
    lane, move = outcome
    over = lane.evaluations >= options.max_evaluations
    return lane._replace(stage=jnp.where(over, Stage.DONE, lane.stage)), move


def _started(options, lane, seen, products, stay):
    """Sets c and the temperature from the gap g between the logits at x, and its gradient's norm G.

    If the logits were linear, the boundary would be at ‖r‖ = g/G, where the loss of two classes has
    the gradient G/2: stationary for c = G²/(4g) with ‖r‖². What the margin asks for adds to g.
    """
    least = jnp.maximum(TUNING.least_gap * rounding(seen.magnitude), lane.start.hidden)
    gap = jnp.maximum(-seen.margin, least + jnp.finfo(least.dtype).tiny ** 0.5)  # classes may tie
    lead = gap + lead_in_loss(options.margin, gap, lane.start.hidden)
    r_r = lead**2 / products.g_g
    c = products.g_g / (4 * lead)
    if options.penalty == "l2":  # the same minimisers, for c times 2 √(‖r‖² + δ²)
        c = c * 2 * jnp.sqrt(2 * r_r)
    usable = jnp.isfinite(c) & (c > 0)
    over = (seen.margin > 0) | ~jnp.isfinite(seen.loss + products.g_g)
    sharp = options.temperature is not None
    final = options.temperature * gap if sharp else jnp.ones_like(gap)
    lane = at_trial(lane, seen, products)._replace(
        start=Start(gap, jnp.where(usable, r_r, 1.0), final, lane.start.hidden),
        fine=jnp.array(not sharp),
        bracket=lane.bracket._replace(c=jnp.where(usable, c, 1.0)),
    )
    descend = entering(lane, Stage.REFRESH, TUNING.soft * final if sharp else final)
    probe = entering(lane, Stage.PROBE, TUNING.hot * gap)
    lane = probe if sharp else descend
    move = stay._replace(to_x=jnp.array(True), weight=jnp.ones_like(gap))
    return lane._replace(stage=jnp.where(over, Stage.DONE, lane.stage)), move


def _refreshed(lane, seen, products, stay):
    """The point again, with the loss at the new temperature."""
    lane = at_trial(lane, seen, products)._replace(stage=at_stage(Stage.DESCEND))
    return lane, stay._replace(weight=jnp.ones_like(seen.loss))


def _descended(options, lane, seen, products, stay):
    """The line search, and what follows the end of a descent."""
    c = lane.bracket.c
    old_penalty, _ = penalty_and_weight(options, lane, lane.point.r_r)
    penalty, weight = penalty_and_weight(options, lane, products.r_r)
    change = seen.loss - lane.point.seen.loss + c * (penalty - old_penalty)
    accepted = change <= TUNING.armijo * products.slope
    shrink = jnp.clip(-0.5 * products.slope / (change - products.slope), *TUNING.shrink)
    shrink = jnp.where(shrink > 0, shrink, TUNING.shrink[0])  # NaN
    lane = select(accepted, at_trial(lane, seen, products), lane)
    lane = lane._replace(step=jnp.where(accepted, 1.0, lane.step * shrink))
    coarse, fine = TUNING.nonsmooth_tols
    coarse = jnp.where(nonsmooth(lane), coarse, TUNING.coarse)
    promising = (lane.round > 0) & (products.r_r < TUNING.promising**2 * lane.best.r_r)
    fine = jnp.where(nonsmooth(lane) & ~promising, fine, options.tol)
    tol = jnp.maximum(options.tol, jnp.where(lane.fine, fine, coarse))
    over = (
        (accepted & (-change <= tol * c * weight * products.r_r / 2))
        | (lane.step < TUNING.shortest_step)
        | (lane.spent >= options.max_iterations)
    )
    ended, to_x = minimised(options, lane)
    move = stay._replace(
        to_trial=accepted, to_x=over & to_x, weight=jnp.where(accepted, 1.0, stay.weight)
    )
    return select(over, ended, lane), move


def _polished(options, lane, seen, products, stay):
    """The next Newton step, or the end of this attack on the problem."""
    success = succeeds(options, lane, seen)
    least, most = TUNING.polishing
    over = (lane.spent >= least) & (success | (lane.spent >= most))
    another = on_ray(options, lane, seen, -products.r_g / lane.step)
    another = another._replace(stage=jnp.where(over, Stage.DONE, Stage.POLISH))
    if options.temperature is None:
        return another, stay
    farthest = TUNING.too_far**2 * lane.start.r_r, TUNING.tangential**2 * lane.point.r_r
    far = products.r_r > jnp.minimum(*farthest)
    missed = over & ~lane.fine & (~success | far)  # after SQP
    hard = options.restart & (lane.evaluations > TUNING.hard) & (lane.round == 0)
    unfound = jnp.isinf(lane.best.r_r)
    restarts = over & hard & (unfound | (lane.averaging_steps == 0))
    softly = descending_softly(lane, jnp.where(missed, TUNING.soft, TUNING.very_soft))
    softly = softly._replace(
        round=jnp.where(missed, lane.round, lane.round + 1),
        averaging_steps=jnp.where(unfound, 0, lane.averaging_steps),
    )
    another = select(over, another_attack(options, lane), another)
    again = missed | restarts
    return select(again, softly, another), stay._replace(to_x=again)
