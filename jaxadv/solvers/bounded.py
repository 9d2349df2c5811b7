"""L-BFGS over a box, in one loop: every iteration evaluates the objective once.

A line search is a state of this loop, not a loop of its own: scalars decide what an evaluation
means (`line_search`), and the vectors move accordingly. So problems under `vmap` never wait for one
whose search takes longer. Directions are those of a quadratic model over the box (`compact`).
"""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from jaxadv.solvers import compact, line_search
from jaxadv.solvers.boxes import flat_box
from jaxadv.solvers.objective import evaluated
from jaxadv.solvers.trees import select

ROUNDING = 10  # in an objective, in units of its machine epsilon, so far as a status is concerned


class BoundedStatus(enum.IntEnum):
    """How a minimisation has ended. The first two are successes."""

    RUNNING = 0
    """It has not ended: only in a state."""
    CONVERGED_GRADIENT = 1
    """The projected gradient is within `gradient_tolerance`."""
    CONVERGED_REDUCTION = 2
    """The objective is not reduced by more than `reduction_tolerance`, or than its rounding."""
    MAX_EVALUATIONS = 3
    """`max_evaluations` are spent."""
    LINE_SEARCH_FAILED = 4
    """No lower value along the projected gradient, as where the gradient is wrong."""
    NOT_FINITE = 5
    """The objective or its gradient is not finite at x0, projected onto the box."""
    INFEASIBLE = 6
    """Bounds leave nothing between them, or are NaN: where they are traced, else an error."""


class BoundedResult(NamedTuple):
    """What `minimize_bounded` returns."""

    x: Any  # pytree like x0, inside the box exactly
    value: Float[jax.Array, ""]  # of the objective at x
    gradient_norm: Float[jax.Array, ""]  # largest entry of x − P(x − g), with P onto the box
    iterations: Int[jax.Array, ""]  # steps that were accepted
    evaluations: Int[jax.Array, ""]  # of the objective and its gradient
    status: Int[jax.Array, ""]  # a `BoundedStatus`


class BoundedState(NamedTuple):
    """What is known of the objective at x, and where to evaluate it next."""

    value: Float[jax.Array, ""]
    gradient: Float[jax.Array, " n"]
    gradient_norm: Float[jax.Array, ""]
    direction: Float[jax.Array, " n"]  # x + direction is inside the box
    search: line_search.Search  # along it
    model: compact.Model
    best: Float[jax.Array, ""]  # the last value that was a reduction
    stalled: Int[jax.Array, ""]  # steps since
    iterations: Int[jax.Array, ""]
    evaluations: Int[jax.Array, ""]
    status: Int[jax.Array, ""]


@dataclasses.dataclass(frozen=True)
class BoundedLBFGS:
    """Minimises `fun(x, *args)` over a box by L-BFGS, all at once (`run`) or step by step.

    `init` gives the state at the start, and `update` evaluates `fun` once; both are pure, may be
    jitted and vmapped, and `run` loops over `update` until the status is not RUNNING. Arguments of
    all three are as of `minimize_bounded`.

    Raises:
      ValueError: for an option that is out of its range.
    """

    fun: Callable
    """From a pytree of arrays, and `args`, to a scalar; or to that and its gradient."""
    value_and_grad: bool = False
    """Whether `fun` returns (value, gradient)."""
    history_size: int = 8
    """Pairs that L-BFGS keeps."""
    gradient_tolerance: float = 1e-5
    """Largest entry of the projected gradient to end at."""
    reduction_tolerance: float | None = None
    """What counts as a reduction, relative to the objective; by default its machine epsilon."""
    patience: int = 5
    """Steps in a row without a reduction to end after."""
    max_evaluations: int = 1000
    """Evaluations, at most."""

    def __post_init__(self):
        for name in ("history_size", "patience", "max_evaluations"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer and at least 1, got {value!r}")
        for name in ("gradient_tolerance", "reduction_tolerance"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")

    def init(self, x: Any, bounds: Sequence[Any] = (None, None)) -> BoundedState:
        """The state at x, before any evaluation; the first `update` projects x onto the box."""
        lower, upper = flat_box(x, bounds)
        zeros, infinity, none = (
            jnp.zeros_like(lower),
            jnp.array(jnp.inf, lower.dtype),
            jnp.zeros((), int),
        )
        feasible = jnp.all((lower <= upper) & (lower < jnp.inf) & (upper > -jnp.inf))
        return BoundedState(
            value=infinity,
            gradient=zeros,
            gradient_norm=infinity,
            direction=zeros,
            search=line_search.begun(infinity, jnp.zeros_like(infinity)),
            model=compact.no_pairs(self.history_size, lower.size, lower.dtype),
            best=infinity,
            stalled=none,
            iterations=none,
            evaluations=none,
            status=jnp.where(feasible, none, BoundedStatus.INFEASIBLE),
        )

    def update(
        self, x: Any, state: BoundedState, bounds: Sequence[Any] = (None, None), *args: Any
    ) -> tuple[Any, BoundedState]:
        """The next x and state, after one evaluation; the same where the status is not RUNNING."""
        box = flat_box(x, bounds)
        flat, unravel = ravel_pytree(x)
        running = state.status == BoundedStatus.RUNNING
        flat, state = select(running, self._step(unravel, box, args, flat, state), (flat, state))
        return unravel(flat), state

    def run(self, x: Any, bounds: Sequence[Any] = (None, None), *args: Any) -> BoundedResult:
        """Minimises from x."""
        state, box = self.init(x, bounds), flat_box(x, bounds)
        flat, unravel = ravel_pytree(x)
        flat, state = jax.lax.while_loop(
            lambda carry: carry[1].status == BoundedStatus.RUNNING,
            lambda carry: self._step(unravel, box, args, *carry),
            (flat, state),
        )
        return BoundedResult(
            x=unravel(flat),
            value=state.value,
            gradient_norm=state.gradient_norm,
            iterations=state.iterations,
            evaluations=state.evaluations,
            status=state.status,
        )

    def _step(self, unravel, box, args, x, state):
        """Evaluates the objective at the trial point, and moves there or not."""
        trial = jnp.clip(x + state.search.step * state.direction, *box)
        value, gradient = self._evaluated(unravel, args, trial)
        with jax.default_matmul_precision("highest"):  # of all products but those in fun
            return self._moved(box, x, state, trial, value, gradient)

    def _moved(self, box, x, state, trial, value, gradient):
        """To the trial point or not, by what was found there."""
        first, direction = state.evaluations == 0, state.direction
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all()
        s = trial - x
        moves = jnp.where(direction > 0, trial < box[1], trial > box[0])
        search, accepted, failed = line_search.decided(
            state.search,
            value=jnp.where(finite, value, jnp.inf),
            slope=jnp.sum(jnp.where(moves, gradient * direction, 0.0)),
            predicted=state.gradient @ s,
        )
        accepted, failed = accepted | (first & finite), failed & ~first
        restarts = failed & (state.model.pairs > 0)
        model = select(accepted & ~first, _learnt(state, s, gradient), state.model)
        model = select(restarts, compact.without_pairs(model), model)
        found, known = (trial, value, gradient), (x, state.value, state.gradient)
        x, value, gradient = select(accepted | first, found, known)
        after = state._replace(
            value=value,
            gradient=gradient,
            search=search,
            model=model,
            iterations=state.iterations + (accepted & ~first),
            evaluations=state.evaluations + 1,
        )
        after = _aimed(box, x, after, first, accepted | restarts)
        unmoved = (state.search.step == 1) & (s == 0).all()
        level = line_search.descent(state.search) <= ROUNDING * jnp.finfo(x.dtype).eps
        return x, self._ended(state, after, finite, failed & ~restarts, unmoved | level)

    def _evaluated(self, unravel, args, x):
        value, gradient = evaluated(self.fun, self.value_and_grad, unravel(x), args)
        return jnp.asarray(value, x.dtype), ravel_pytree(gradient)[0].astype(x.dtype)

    def _ended(self, before, after, finite, failed, at_rounding):
        """The state after an evaluation with its status, which is RUNNING unless it has ended."""
        first, stepped = before.evaluations == 0, after.iterations > before.iterations
        tolerance = self.reduction_tolerance
        if tolerance is None:
            tolerance = jnp.finfo(after.value.dtype).eps
        reduced = first | (after.value < before.best - tolerance * jnp.abs(before.best))
        stalled = jnp.where(reduced, 0, before.stalled + stepped)
        stuck = stalled >= self.patience
        # As where the gradient is wrong: steps so short that the objective cannot tell.
        nowhere = stuck & (before.search.step < jnp.finfo(after.value.dtype).eps ** 0.5)
        over = (stuck & ~nowhere) | ((stuck | failed) & at_rounding)
        failed |= nowhere
        status = after.status
        for condition, end in (  # of several, the last counts
            (after.evaluations >= self.max_evaluations, BoundedStatus.MAX_EVALUATIONS),
            (failed, BoundedStatus.LINE_SEARCH_FAILED),
            (over, BoundedStatus.CONVERGED_REDUCTION),
            (after.gradient_norm <= self.gradient_tolerance, BoundedStatus.CONVERGED_GRADIENT),
            (first & ~finite, BoundedStatus.NOT_FINITE),
        ):
            status = jnp.where(condition, end, status)
        best = jnp.where(reduced, after.value, before.best)
        return after._replace(best=best, stalled=stalled, status=status)


def minimize_bounded(
    fun: Callable, x0: Any, bounds: Sequence[Any] = (None, None), *args: Any, **options: Any
) -> BoundedResult:
    """Minimises a smooth function over a box by L-BFGS.

    Pure JAX: it may be jitted and vmapped, over anything; problems under `vmap` evaluate their
    functions together, and none waits for another's line search. The function is differentiated,
    but not the minimiser. What the function and the box depend on, and is to be traced, comes in
    `args` and `bounds`.

    Args:
      fun: from a pytree of arrays, and `args`, to a scalar.
      x0: where to begin, all of float32 or all of float64; it is projected onto the box.
      bounds: pair (lower, upper). Each is None, for no bound, or a number, or a pytree like x0 of
        these and of arrays in the shapes of its leaves. Infinite ones are no bounds.
      *args: passed on to `fun`.
      **options: fields of `BoundedLBFGS`.

    Returns:
      A `BoundedResult`. Where `fun` is not finite at a trial point, the step is shortened; where it
      is not at x0, the status is NOT_FINITE.

    Raises:
      ValueError: for an option out of its range, for x0 of other types, for bounds that do not fit,
        and for bounds that are NaN or leave nothing between them; if traced, this is a status.
      TypeError: for an option that there is not, and where `fun` returns no real scalar.

    >>> def fun(x, centre):
    ...     return ((x - centre) ** 2).sum()
    >>> result = minimize_bounded(fun, jnp.zeros(2), (0, 1), jnp.array([0.5, 3.0]))
    >>> print(result.x, BoundedStatus(result.status).name)
    [0.5 1. ] CONVERGED_GRADIENT
    """
    known = [field.name for field in dataclasses.fields(BoundedLBFGS)][1:]
    if unknown := options.keys() - known:
        expected, got = ", ".join(known), ", ".join(sorted(unknown))
        raise TypeError(f"options of minimize_bounded are {expected}, got {got}")
    return BoundedLBFGS(fun, **options).run(x0, bounds, *args)


def _learnt(state, s, gradient):
    """The model after a step s, with its pair if the curvature is above the gradient's rounding."""
    y, step, model = gradient - state.gradient, state.search.step, state.model
    noise = jnp.finfo(s.dtype).eps * jnp.linalg.norm(s) * jnp.linalg.norm(gradient)
    longer = model._replace(theta=model.theta / jnp.maximum(step, 1.0))
    return select(s @ y > noise, compact.pushed(model, s, y), longer)


def _aimed(box, x, state, first, anew):
    """The state with the projected gradient's norm at x, and a new search from there if wanted."""
    gradient, model, down, up = state.gradient, state.model, x - box[0], box[1] - x
    norm = jnp.max(jnp.abs(jnp.clip(gradient, -up, down)))
    model = model._replace(theta=jnp.where(first, jnp.maximum(norm, 1.0), model.theta))
    direction = compact.step_to_minimiser(model, gradient, down, up)
    search = line_search.begun(state.value, gradient @ direction)
    direction, search = select(anew, (direction, search), (state.direction, state.search))
    return state._replace(gradient_norm=norm, direction=direction, search=search, model=model)
