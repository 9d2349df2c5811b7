"""`LBFGSB` as a drop-in replacement of `jaxopt.LBFGSB`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from box_problems import OPTIONS, descend, half_square, least_squares, unit_box

from jaxadv.solvers.lbfgsb import LBFGSB

BOX_OPTIONS = {
    "backtracking": {"linesearch": "backtracking", "linesearch_init": "current"},
    "one pair": {"history_size": 1, "theta": 5.0, "use_gamma": False},
    "fixed step": {"stepsize": 1.0},
    "steps by iteration": {"stepsize": lambda iteration: 1.2 - 0.1 * (iteration > 5)},
}


@pytest.mark.parametrize("options", BOX_OPTIONS.values(), ids=BOX_OPTIONS.keys())
def test_quadratic_over_a_box(x64, options):
    a, b, minimiser = least_squares()
    x = jnp.full(len(minimiser), 0.5)
    x, state = descend(LBFGSB(half_square, tol=1e-9, **options), x, unit_box(x), a, b)
    assert x.dtype == state.value.dtype == jnp.float64
    np.testing.assert_allclose(x, minimiser, rtol=0, atol=1e-8)


def test_state_belongs_to_params_after_a_long_step():
    a, b, minimiser = map(jnp.asarray, least_squares())
    x = jnp.full_like(minimiser, 0.5)
    solver = LBFGSB(half_square, stepsize=1.5)
    state = jax.jit(solver.init_state)(x, unit_box(x), a, b)
    x, state = jax.jit(solver.update)(x, state, unit_box(x), a, b)
    value, grad = jax.jit(jax.value_and_grad(half_square))(x, a, b)
    np.testing.assert_allclose(state.value, value, rtol=1e-5)
    np.testing.assert_allclose(state.grad, grad, rtol=1e-4, atol=1e-4)


def test_pytree_and_aux(x64):
    a, b, minimiser = least_squares()

    def fun(params):
        flat = jnp.concatenate([params["u"].ravel(), params["v"]])
        return half_square(flat, a, b), {"sum": flat.sum()}

    params = {"u": jnp.full((4, 5), 0.5), "v": jnp.full(10, 0.5)}
    solver = LBFGSB(fun, has_aux=True, maxiter=500, tol=1e-9, implicit_diff=False, unroll=False)
    found, state = jax.jit(solver.run)(params, unit_box(params))
    assert jax.tree.map(jnp.shape, found) == {"u": (4, 5), "v": (10,)}
    flat = np.concatenate([found["u"].ravel(), found["v"]])
    np.testing.assert_allclose(flat, minimiser, rtol=0, atol=1e-8)
    np.testing.assert_allclose(state.aux["sum"], flat.sum(), rtol=1e-12)


def test_rosenbrock_without_bounds(x64):
    def rosenbrock(x):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    solver = LBFGSB(rosenbrock, tol=1e-8, **OPTIONS)
    x, state = descend(solver, jnp.full(10, 0.3), None)
    np.testing.assert_allclose(x, np.ones(10), rtol=0, atol=1e-7)
    assert state.num_grad_eval < 200


def test_lane_with_nan_does_not_harm_others():
    a, b, minimiser = map(jnp.asarray, least_squares())
    solver = LBFGSB(lambda x, weight: weight * half_square(x, a, b), **OPTIONS)
    box = unit_box(minimiser)
    init = jax.jit(jax.vmap(lambda x, weight: solver.init_state(x, box, weight)))
    update = jax.jit(jax.vmap(lambda x, state, weight: solver.update(x, state, box, weight)))
    results = []
    for weights in jnp.array([[1.0, 1.0, 1.0], [1.0, jnp.nan, 1.0]]):
        x = jax.random.uniform(jax.random.key(0), (3, len(minimiser)))
        state = init(x, weights)
        for _ in range(40):
            x, state = update(x, state, weights)
        results.append(np.asarray(x))
    healthy, found = results
    np.testing.assert_array_equal(found[[0, 2]], healthy[[0, 2]])
    np.testing.assert_allclose(healthy, np.tile(minimiser, (3, 1)), rtol=0, atol=1e-4)
    assert np.isnan(state.value[1])


@pytest.mark.parametrize("options", [{}, {"maxls": 1}, {"maxls": 2}, {"max_stepsize": 0.5}])
def test_steps_are_short_and_descend(x64, options):
    a, b, minimiser = map(jnp.asarray, least_squares())
    x, box = jnp.full_like(minimiser, 0.5), unit_box(minimiser)
    solver = LBFGSB(half_square, tol=1e-8, linesearch_init="increase", **options)
    state, update = jax.jit(solver.init_state)(x, box, a, b), jax.jit(solver.update)
    while state.error > solver.tol and state.iter_num < 100:
        before, (x, state) = state, update(x, state, box, a, b)
        assert state.value <= before.value * (1 + 1e-14)
        assert state.stepsize <= solver.max_stepsize
        assert state.num_grad_eval - before.num_grad_eval <= solver.maxls + 1
    np.testing.assert_allclose(x, minimiser, rtol=0, atol=1e-6)


@pytest.mark.parametrize("linesearch", ["zoom", "backtracking"])
def test_failed_line_search_restarts_from_steepest_descent(linesearch):
    a, b, minimiser = map(jnp.asarray, least_squares())
    start, box = jnp.full_like(minimiser, 0.5), unit_box(minimiser)
    wrong_below = half_square(0.1 * start + 0.9 * minimiser, a, b)

    def misleading(x):
        value, grad = jax.value_and_grad(half_square)(x, a, b)
        return value, jnp.where(value < wrong_below, -grad, grad)

    solver = LBFGSB(misleading, value_and_grad=True, linesearch=linesearch, maxls=12, **OPTIONS)
    state, x, update = jax.jit(solver.init_state)(start, box), start, jax.jit(solver.update)
    while not state.failed_linesearch:
        before, (x, state) = state, update(x, state, box)
        assert state.num_grad_eval - before.num_grad_eval <= 13 or linesearch != "zoom"
        assert state.iter_num < 50
    assert before.num_updates == 0 < before.iter_num  # the pairs were dropped, and it failed again
    assert state.value < half_square(start, a, b)


@pytest.mark.slow
def test_implicit_derivative_of_the_minimiser(x64):
    a, b, minimiser = least_squares()
    solver = LBFGSB(half_square, maxiter=500, tol=1e-10)
    box = unit_box(jnp.asarray(minimiser))
    run = jax.jit(lambda b: solver.run(jnp.full(30, 0.5), box, a, b).params)
    found = jax.jit(jax.jacobian(run))(b)
    free = (minimiser > 0) & (minimiser < 1)
    expected = np.zeros_like(found)
    expected[free] = np.linalg.pinv(a[:, free])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
