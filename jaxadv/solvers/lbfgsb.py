"""jaxopt's L-BFGS-B, mended.

`LBFGSB` is a drop-in replacement for `jaxopt.LBFGSB` 0.8.5. It keeps jaxopt's options and state,
and replaces the computation of the search direction, the upkeep of the pairs, and the line search
by zooming:

1. jaxopt bounds the subspace step's fraction only from above. A free coordinate that rounding put
   outside its bound makes the fraction negative, without limit, and the iterate leaves the box.
   Here every point is clipped to the box.
2. jaxopt cuts the whole subspace step at the first bound. Here the step is projected onto the box,
   and cut only if that loses descent (`compact`; Morales & Nocedal, 2011).
3. jaxopt writes the pairs into a circular buffer and then reads the lower triangle of SᵀY as if
   they were in order of time. Here the newest pair is always the last.
4. jaxopt's search for the generalised Cauchy point is a loop over breakpoints, and its line search
   by zooming has loops in loops: under `vmap`, each problem waits in all of them for all others.
   Here a projected gradient step takes the place of the one, and the line search is a single loop
   with one gradient per turn (`line_search`).
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

with warnings.catch_warnings():
    # jaxopt 0.8.5 is its last release, and says on import that it is unmaintained.
    warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")
    import jaxopt
    from jaxopt._src.linesearch_util import _init_stepsize

from jaxadv.solvers import compact, line_search
from jaxadv.solvers.trees import select


class LBFGSB(jaxopt.LBFGSB):
    """Minimises `fun(params, *args, **kwargs)` over a box by L-BFGS-B.

    Options, state and methods are those of `jaxopt.LBFGSB`. In `state.s_history` and
    `state.y_history` the newest pair is the last, and each pair is divided by √(sᵀy), which leaves
    the quasi-Newton matrix as it is and keeps its compact form well conditioned in float32.

    Raises:
      ValueError: for line searches that may step beyond the minimiser of the quadratic model, and
        so out of the box: `max_stepsize` above 1, or "hager-zhang", which has no such limit.
    """

    def __post_init__(self):
        if self.linesearch == "hager-zhang" or self.max_stepsize > 1:
            raise ValueError(
                "steps must not be longer than 1, which is as far as the box is known to reach:"
                f" got linesearch={self.linesearch!r}, max_stepsize={self.max_stepsize}"
            )
        super().__post_init__()

    def update(self, params, state, bounds, *args, **kwargs):
        """Performs one iteration.

        Args:
          params: pytree of arrays, inside the box.
          state: the solver's state.
          bounds: pair (lower, upper) of pytrees like `params`, or None.
          *args: passed on to `fun`.
          **kwargs: passed on to `fun`.

        Returns:
          `jaxopt.OptStep(params, state)`, params inside the box exactly.
        """
        if isinstance(params, jaxopt.OptStep):
            params = params.params
        x, unravel = ravel_pytree(params)
        grad, _ = ravel_pytree(state.grad)
        lower, upper = _ravel_bounds(bounds, x)
        s_history = jax.vmap(lambda pair: ravel_pytree(pair)[0])(state.s_history)
        y_history = jax.vmap(lambda pair: ravel_pytree(pair)[0])(state.y_history)

        with jax.default_matmul_precision("highest"):  # of all products but those in fun
            model = _model(s_history, y_history, state)
            direction = compact.step_to_minimiser(model, grad, x - lower, upper - x)
        stepsize, step = self._line_search(params, state, unravel(direction), bounds, args, kwargs)
        # Rounding in x + direction can leave the box by one unit in the last place.
        new_x = jnp.clip(ravel_pytree(step.params)[0], lower, upper)
        new_grad = ravel_pytree(step.grad)[0]

        s, y = new_x - x, new_grad - grad
        curvature, y_norm_squared = _dot(s, y), _dot(y, y)
        # As in SciPy's L-BFGS-B, relative to the slope, so that the scale of `fun` does not matter.
        accepted = (curvature > jnp.finfo(x.dtype).eps * jnp.abs(_dot(grad, s))) & (
            y_norm_squared > 0
        )
        curvature = jnp.where(accepted, curvature, 1.0)
        scale = jax.lax.rsqrt(curvature)
        gamma_inv = y_norm_squared / curvature if self.use_gamma else 1.0

        # After a failed line search the pairs are dropped; the next to fail, along steepest
        # descent, fails for good.
        restart = step.failed & (state.num_updates > 0)

        def push(history, pair):
            pushed = jnp.roll(history, -1, 0).at[-1].set(scale * pair)
            return jnp.where(restart, 0.0, jnp.where(accepted, pushed, history))

        new_state = state._replace(
            iter_num=state.iter_num + 1,
            value=step.value,
            grad=step.grad,
            stepsize=jnp.asarray(stepsize, x.dtype),
            error=jnp.max(jnp.abs(jnp.clip(new_x - new_grad, lower, upper) - new_x)),
            s_history=jax.vmap(unravel)(push(s_history, s)),
            y_history=jax.vmap(unravel)(push(y_history, y)),
            num_updates=jnp.where(restart, 0, state.num_updates + accepted),
            theta=jnp.where(
                restart, self.theta, jnp.where(accepted, self.theta * gamma_inv, state.theta)
            ),
            aux=step.aux,
            failed_linesearch=step.failed & ~restart,
            num_fun_eval=state.num_fun_eval + step.num_fun_eval,
            num_grad_eval=state.num_grad_eval + step.num_grad_eval,
            num_linesearch_iter=state.num_linesearch_iter + step.iter_num,
        )
        if self.verbose:
            self.log_info(new_state, error_name="Projected gradient norm")
        return jaxopt.OptStep(unravel(new_x), new_state)

    def _line_search(self, params, state, direction, bounds, args, kwargs):
        """Moves along the direction: (stepsize, state of the line search at the new params)."""
        if callable(self.stepsize) or self.stepsize > 0:
            stepsize = self.stepsize(state.iter_num) if callable(self.stepsize) else self.stepsize
            new_params = jax.tree.map(lambda p, d: p + stepsize * d, params, direction)
            if bounds is not None:
                new_params = jax.tree.map(jnp.clip, new_params, *bounds)
            (value, aux), grad = self._value_and_grad_with_aux(new_params, *args, **kwargs)
            return stepsize, _Step(new_params, value, grad, aux)
        stepsize: Any = _init_stepsize(
            self.linesearch_init,
            self.max_stepsize,
            self.min_stepsize,
            self.increase_factor,
            state.stepsize,
        )
        if self.linesearch == "zoom":
            return self._zoomed(stepsize, params, state, direction, bounds, args, kwargs)
        return self.run_ls(
            stepsize,
            params,
            value=state.value,
            grad=state.grad,
            descent_direction=direction,
            fun_args=args,
            fun_kwargs=kwargs,
        )

    def _zoomed(self, stepsize, params, state, direction, bounds, args, kwargs):
        """Evaluates steps until one satisfies the weak Wolfe conditions.

        After `maxls` it goes back to the longest that was too short, or fails: it stays.
        """
        grad, along = ravel_pytree(state.grad)[0], ravel_pytree(direction)[0]
        first = jnp.minimum(stepsize, self.max_stepsize)
        search = line_search.begun(state.value, _dot(grad, along), first)

        def evaluated(carry):
            search, step, *_ = carry
            new = jax.tree.map(lambda p, d: p + search.step * d, params, direction)
            if bounds is not None:
                new = jax.tree.map(jnp.clip, new, *bounds)
            (value, aux), new_grad = self._value_and_grad_with_aux(new, *args, **kwargs)
            slope = _dot(ravel_pytree(new_grad)[0], along)
            finite = jnp.isfinite(value) & jnp.isfinite(slope)
            tried, accepted, failed = line_search.decided(
                search,
                value=jnp.where(finite, value, jnp.inf),
                slope=slope,
                predicted=search.step * search.start.slope,
                longest=self.max_stepsize,
                most=self.maxls,
            )
            # As where the gradient is wrong: a step so short that the value cannot tell.
            shortest = jnp.finfo(value.dtype).eps ** 0.5
            nowhere = accepted & (search.step < shortest) & (value >= state.value)
            found = select(accepted, (new, value, new_grad, aux), step[:4])
            count = step.iter_num + 1
            step = _Step(*found, failed | nowhere, count, count, count)
            return tried, step, search.step, accepted | failed

        aux, none = state.aux, jnp.zeros((), jnp.int32)  # as the state's counts are
        step = _Step(params, state.value, state.grad, aux, jnp.array(False), none, none, none)
        carry = search, step, search.step, jnp.array(False)
        _, step, stepsize, _ = jax.lax.while_loop(lambda carry: ~carry[3], evaluated, carry)
        return stepsize, step


class _Step(NamedTuple):
    """What a line search returns."""

    params: Any
    value: jax.Array
    grad: Any
    aux: Any
    failed: Any = np.False_  # whose ~ is logical
    iter_num: Any = 0
    num_fun_eval: Any = 1
    num_grad_eval: Any = 1


def _dot(a, b):
    return jnp.vdot(a, b, precision="highest")


def _ravel_bounds(bounds, x):
    if bounds is None:
        return jnp.full_like(x, -jnp.inf), jnp.full_like(x, jnp.inf)
    return tuple(ravel_pytree(bound)[0] for bound in bounds)


def _model(s, y, state):
    """The model of pairs (m, n) in order of time, the newest last, scaled to sᵀy = 1."""
    count = jnp.minimum(state.num_updates, len(s))
    s, y = (jnp.roll(pairs, count, axis=0) for pairs in (s, y))  # the oldest first
    return compact.Model(s, y, jnp.tril(s @ y.T, -1), count, state.theta)
