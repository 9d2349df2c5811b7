"""A line search as a state machine: one evaluation, one decision, and all of it on scalars.

It ends at the weak Wolfe conditions: the objective has decreased enough, and its slope is less
steep. Where the decrease is below the objective's rounding the slope alone decides, by the
approximate Wolfe conditions (Hager & Zhang, 2005, eq. 4.1).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from jaxadv.solvers.trees import select

ARMIJO, WOLFE = 1e-4, 0.9
APPROXIMATE = 0.1  # δ of Hager & Zhang
ROUNDING = 2  # of the objective, in units of its machine epsilon
TRIALS = 20
SHRINK, GROW = (0.1, 0.9), (1.5, 10.0)  # of the bracket; of the step


class Point(NamedTuple):
    """A point on the line."""

    step: Float[jax.Array, ""]
    value: Float[jax.Array, ""]
    slope: Float[jax.Array, ""]


class Search(NamedTuple):
    """What a search has found so far: its end is between `low` and `high`."""

    start: Point  # at step 0
    low: Point  # the longest step that was too short
    high: Point  # the shortest that was too long
    step: Float[jax.Array, ""]  # to try next
    trials: Int[jax.Array, ""]


def begun(
    value: Float[jax.Array, ""], slope: Float[jax.Array, ""], step: ArrayLike = 1.0
) -> Search:
    """A search from a point with that value and slope along the direction, and its first step."""
    zero, infinity = jnp.zeros_like(value), jnp.full_like(value, jnp.inf)
    start = Point(zero, value, slope)
    return Search(start, start, Point(infinity, infinity, zero), zero + step, jnp.zeros((), int))


def decided(
    search: Search,
    value: Float[jax.Array, ""],
    slope: Float[jax.Array, ""],
    predicted: Float[jax.Array, ""],
    longest: ArrayLike = jnp.inf,
    most: ArrayLike = TRIALS,
) -> tuple[Search, Bool[jax.Array, ""], Bool[jax.Array, ""]]:
    """Takes in what was found at the step that was tried.

    Args:
      search: with that step.
      value: of the objective; ∞ where it, or its gradient, is not finite.
      slope: along what of the direction still moves there.
      predicted: the objective's change to first order; 0 where the step was too short to move.
      longest: step, which is not too short.
      most: steps to try.

    Returns:
      The search with the next step to try; whether this one is accepted; whether none will be.
    """
    start, low, here = search.start, search.low, Point(search.step, value, slope)
    eps = jnp.finfo(value.dtype).eps
    decreased = value <= start.value + ARMIJO * predicted
    level = value <= start.value + ROUNDING * eps * jnp.abs(start.value)
    flat = slope <= (2 * APPROXIMATE - 1) * start.slope
    sufficient = (value < jnp.inf) & (predicted < 0) & (decreased | (level & flat))
    too_short = sufficient & (slope < WOLFE * start.slope) & (here.step > low.step)
    too_short &= here.step < longest
    low, high = select(too_short, here, low), select(sufficient, search.high, here)
    beyond = jnp.minimum(_beyond(search.low, here), longest)
    step = jnp.where(jnp.isinf(high.step), beyond, _between(low, high))
    trials = search.trials + 1
    exhausted = (trials >= most) | (high.step * (1 - 4 * eps) <= low.step)
    exhausted |= ~too_short & ((predicted >= 0) | (here.step * descent(search) <= eps))
    accepted = sufficient & (exhausted | ~too_short)
    failed = ~accepted & exhausted & (low.step == 0)
    step = jnp.where(exhausted, low.step, step)  # which will do
    return Search(start, low, high, step, trials), accepted, failed


def descent(search: Search) -> Float[jax.Array, ""]:
    """What the objective loses over the whole direction, to first order and relative to itself."""
    return -search.start.slope / jnp.abs(search.start.value)


def _beyond(low: Point, here: Point):
    """Where the slope would vanish, if it went on as from low to here."""
    remaining = here.slope / (low.slope - here.slope)
    step = here.step + (here.step - low.step) * jnp.where(remaining > 0, remaining, jnp.inf)
    return jnp.clip(step, GROW[0] * here.step, GROW[1] * here.step)


def _between(low: Point, high: Point):
    """The minimiser of the cubic through both (Nocedal & Wright, 2006, eq. 3.59)."""
    width = high.step - low.step
    d1 = low.slope + high.slope - 3 * (high.value - low.value) / width
    d2 = jnp.sqrt(d1**2 - low.slope * high.slope)
    fraction = 1 - (high.slope + d2 - d1) / (high.slope - low.slope + 2 * d2)
    fraction = jnp.where(jnp.isfinite(fraction), jnp.clip(fraction, *SHRINK), SHRINK[0])
    return low.step + fraction * width
