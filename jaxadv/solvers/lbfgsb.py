"""jaxopt's L-BFGS-B, mended.

`LBFGSB` is a drop-in replacement for `jaxopt.LBFGSB` 0.8.5. It keeps jaxopt's options, state and
line searches and replaces the computation of the search direction and the upkeep of the pairs:

1. jaxopt bounds the subspace step's fraction only from above. A free coordinate that rounding put
   outside its bound makes the fraction negative, without limit, and the iterate leaves the box.
   Here every point is clipped to the box and the fraction to [0, 1].
2. jaxopt cuts the whole subspace step at the first bound. Here the step is projected onto the box,
   and cut only if the projection is no descent direction (Morales & Nocedal, 2011).
3. jaxopt writes the pairs into a circular buffer and then reads the lower triangle of SᵀY as if
   they were in order of time. Here the newest pair is always the last.

Besides, the generalised Cauchy point is found by prefix sums over all breakpoints instead of a loop
over them, so that vmapped problems do not wait for the one that passes the most breakpoints.

[BLN] Byrd, Lu, Nocedal, Zhu: A limited memory algorithm for bound constrained optimization, 1995.
[MN] Morales, Nocedal: Remark on "Algorithm 778: L-BFGS-B", 2011.
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

        model = _quadratic_model(s_history, y_history, state.theta)
        direction = _model_minimiser(x, grad, lower, upper, model) - x
        stepsize, step = self._line_search(params, state, unravel(direction), bounds, args, kwargs)
        # Rounding in x + direction can leave the box by one unit in the last place.
        new_x = jnp.clip(ravel_pytree(step.params)[0], lower, upper)
        new_grad = ravel_pytree(step.grad)[0]

        s, y = new_x - x, new_grad - grad
        curvature, y_norm_squared = jnp.vdot(s, y), jnp.vdot(y, y)
        # As in SciPy's L-BFGS-B, relative to the slope, so that the scale of `fun` does not matter.
        accepted = (curvature > jnp.finfo(x.dtype).eps * jnp.abs(jnp.vdot(grad, s))) & (
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
            stepsize=stepsize,
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
            return stepsize, _UnsearchedStep(new_params, value, grad, aux)
        stepsize: Any = _init_stepsize(
            self.linesearch_init,
            self.max_stepsize,
            self.min_stepsize,
            self.increase_factor,
            state.stepsize,
        )
        return self.run_ls(
            stepsize,
            params,
            value=state.value,
            grad=state.grad,
            descent_direction=direction,
            fun_args=args,
            fun_kwargs=kwargs,
        )


class _UnsearchedStep(NamedTuple):
    """What a line search returns, for a step of given length."""

    params: Any
    value: jax.Array
    grad: Any
    aux: Any
    failed: Any = np.False_  # whose ~ is logical
    iter_num: int = 0
    num_fun_eval: int = 1
    num_grad_eval: int = 1


class _QuadraticModel(NamedTuple):
    """B = θI − W M Wᵀ, the compact quasi-Newton matrix ([BLN] eq. 3.2)."""

    theta: jax.Array
    w: jax.Array  # (n, 2m)
    m: jax.Array  # (2m, 2m)


def _ravel_bounds(bounds, x):
    if bounds is None:
        return jnp.full_like(x, -jnp.inf), jnp.full_like(x, jnp.inf)
    return tuple(ravel_pytree(bound)[0] for bound in bounds)


def _quadratic_model(s, y, theta):
    """[BLN] eq. 3.3 and 3.4 for pairs (m, n) in order of time, scaled to sᵀy = 1.

    Slots not yet used hold zeros: they add an identity block that W multiplies by zero.
    """
    identity = jnp.eye(len(s), dtype=s.dtype)
    unused = jnp.all(s == 0, axis=1)
    lower = jnp.tril(s @ y.T, -1)
    gram = theta * (s @ s.T) + jnp.diag(unused.astype(s.dtype))
    m = jnp.linalg.inv(jnp.block([[-identity, lower.T], [lower, gram]]))
    return _QuadraticModel(theta, jnp.concatenate([y, theta * s]).T, m)


def _model_minimiser(x, grad, lower, upper, model):
    """Approximate minimiser, inside the box, of gᵀ(z − x) + ½(z − x)ᵀB(z − x)."""
    cauchy, free = _cauchy_point(x, grad, lower, upper, model)
    newton = cauchy + jnp.where(free, _subspace_step(x, grad, cauchy, free, model), 0.0)
    projected = jnp.clip(newton, lower, upper)
    is_descent = jnp.vdot(grad, projected - x) < 0
    return jnp.where(is_descent, projected, _truncated(cauchy, newton, lower, upper))


def _cauchy_point(x, grad, lower, upper, model):
    """First local minimiser of the model along x(t) = clip(x − t g), and what is free there.

    [BLN] algorithm CP. Between two breakpoints τ the model is the parabola whose slope f' and
    curvature f'' at τ follow from sums over the coordinates that still move, so all of them come
    from prefix sums over the sorted breakpoints.
    """
    theta, w, m = model
    bound = jnp.where(grad < 0, upper, lower)
    breakpoints = jnp.where(grad == 0, jnp.inf, (x - bound) / jnp.where(grad == 0, 1.0, grad))
    breakpoints = jnp.maximum(breakpoints, 0.0)  # x may be outside its bound by rounding
    order = jnp.argsort(breakpoints)
    tau, g, rows = breakpoints[order], grad[order], w[order]
    finite_tau = jnp.where(jnp.isinf(tau), 0.0, tau)

    # Entry j: the coordinates that still move past the j-th breakpoint; entry 0: from t = 0 on.
    g_rows = g[:, None] * rows
    moving_g = _suffix_sums(g**2)
    p = -_suffix_sums(g_rows)  # Wᵀd
    start = jnp.concatenate([jnp.zeros_like(tau[:1]), finite_tau])
    stopped = jnp.cumsum(finite_tau[:, None] * g_rows, axis=0)
    c = start[:, None] * p - jnp.pad(stopped, ((1, 0), (0, 0)))  # Wᵀ(x(τ) − x)
    pm = p @ m
    slope = -moving_g + theta * start * moving_g - jnp.sum(pm * c, axis=1)
    curvature = theta * moving_g - jnp.sum(pm * p, axis=1)

    end = jnp.concatenate([tau, jnp.full_like(tau[:1], jnp.inf)])
    newton = start + jnp.maximum(-slope / jnp.maximum(curvature, jnp.finfo(x.dtype).tiny), 0.0)
    t = newton[jnp.argmax((end > start) & ((slope >= 0) | (newton < end)))]
    free = breakpoints > t
    return jnp.where(free, jnp.clip(x - t * grad, lower, upper), bound), free


def _subspace_step(x, grad, cauchy, free, model):
    """Newton step of the model from the Cauchy point over the free coordinates ([BLN] sec. 5.1)."""
    theta, w, m = model
    moved = cauchy - x
    w_free = jnp.where(free[:, None], w, 0.0)
    reduced_grad = jnp.where(free, grad + theta * moved - w @ (m @ (moved @ w)), 0.0)
    n = jnp.eye(len(m), dtype=m.dtype) - m @ (w_free.T @ w_free) / theta
    v = jnp.linalg.solve(n, m @ (reduced_grad @ w_free))
    return -reduced_grad / theta - w_free @ v / theta**2


def _truncated(start, end, lower, upper):
    """The last point of the segment from start to end that is inside the box."""
    step = end - start
    room = jnp.where(step > 0, upper - start, lower - start)
    fraction = jnp.where(step == 0, 1.0, room / jnp.where(step == 0, 1.0, step))
    return jnp.clip(start + jnp.clip(jnp.min(fraction), 0.0, 1.0) * step, lower, upper)


def _suffix_sums(values):
    """(n, …) -> (n + 1, …): sums of values[j:], exactly 0 at the end."""
    sums = jnp.cumsum(values[::-1], axis=0)[::-1]
    return jnp.concatenate([sums, jnp.zeros_like(sums[:1])])
