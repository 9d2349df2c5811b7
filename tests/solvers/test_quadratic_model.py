"""The quasi-Newton matrix and the minimiser of its model, against dense matrices."""

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
import pytest
from box_problems import unit_box
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.solvers import lbfgsb
from jaxadv.solvers.lbfgsb import LBFGSB

MEMORY = 4


def bfgs_matrix(pairs, theta):
    """Textbook recursion from θI over the pairs (s, y) in order of time."""
    matrix = theta * np.eye(len(pairs[0][0]))
    for s, y in pairs:
        bs = matrix @ s
        matrix = matrix - np.outer(bs, bs) / (s @ bs) + np.outer(y, y) / (s @ y)
    return matrix


def matrix_in_the_original(s, y, theta):
    """The matrix that jaxopt's `update` builds from a full buffer, as it stands there."""
    products = s @ y.T
    lower = np.tril(products, -1)
    middle = np.block([[-np.diag(np.diag(products)), lower.T], [lower, theta * s @ s.T]])
    w = np.concatenate([y, theta * s]).T
    return theta * np.eye(s.shape[1]) - w @ np.linalg.inv(middle) @ w.T


def matrix_in_ours(s, y, theta):
    theta, w, m = lbfgsb._quadratic_model(s, y, theta)
    return theta * np.eye(len(w)) - w @ m @ w.T


def convex(x):
    return jnp.sum(jnp.arange(1, 1 + x.size) * x**2) + jnp.sum(jnp.cosh(x[1:] - x[:-1]))


@pytest.mark.parametrize(
    ("solver_class", "matrix"),
    [(LBFGSB, matrix_in_ours), (jaxopt.LBFGSB, matrix_in_the_original)],
    ids=["ours", "original"],
)
def test_matrix_after_the_buffer_wraps(x64, solver_class, matrix):
    solver = solver_class(convex, history_size=MEMORY)
    x = jnp.linspace(-1.0, 2.0, 12)
    state, pairs, errors = solver.init_state(x, None), [], []
    update = jax.jit(solver.update)
    for _ in range(2 * MEMORY + 2):
        new_x, new_state = update(x, state, None)
        pairs.append(np.asarray([new_x - x, new_state.grad - state.grad]))
        x, state = new_x, new_state
        if len(pairs) >= MEMORY or solver_class is LBFGSB:
            found = matrix(*map(np.asarray, (state.s_history, state.y_history, state.theta)))
            expected = bfgs_matrix(pairs[-MEMORY:], state.theta)
            errors.append(np.max(np.abs(found - expected)) / state.theta)
    s, y = pairs[-1]
    np.testing.assert_allclose(state.theta, y @ y / (s @ y), rtol=1e-12)
    if solver_class is LBFGSB:
        assert max(errors) < 1e-8
    else:
        assert errors[0] < 1e-8
        assert min(errors[1:MEMORY]) > 0.01


@st.composite
def box_models(draw, n=6):
    """(x, g, pairs, θ): x in [0, 1]ⁿ, often at a bound; steps to the bounds often equal or none."""
    x = draw(st.lists(st.sampled_from([0, 0.25, 0.5, 0.75, 1]), min_size=n, max_size=n))
    g = draw(st.lists(st.sampled_from([-3, -1, -0.5, 0, 1e-3, 0.5, 1, 2]), min_size=n, max_size=n))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    factor = rng.normal(size=(n, n))
    s = rng.normal(size=(draw(st.integers(0, MEMORY)), n))
    y = s @ (factor @ factor.T + np.eye(n))
    theta = draw(st.sampled_from([0.1, 1.0, 7.0]))
    return np.array(x, float), np.array(g, float), list(zip(s, y, strict=True)), theta


def sequential_cauchy_point(x, g, matrix):
    """Byrd et al. (1995), algorithm CP over [0, 1]ⁿ: (point, its t, breakpoints)."""
    breakpoints = np.where(g == 0, np.inf, (x - (g < 0)) / np.where(g == 0, 1, g))
    point, start = x, 0.0
    for end in np.unique(breakpoints[breakpoints > 0]):
        d = np.where(breakpoints > start, -g, 0)
        slope, curvature = d @ (g + matrix @ (point - x)), d @ matrix @ d
        if slope >= 0:
            break
        t = start - slope / curvature
        if t < end:
            return point + (t - start) * d, t, breakpoints
        point, start = np.where(breakpoints <= end, g < 0, x - end * g), end
    return point, start, breakpoints


@jax.jit
def cauchy_and_newton(x, g, s, y, theta):
    model = lbfgsb._quadratic_model(s, y, theta)
    cauchy, free = lbfgsb._cauchy_point(x, g, *unit_box(x), model)
    minimiser = lbfgsb._model_minimiser(x, g, *unit_box(x), model)
    return cauchy, free, lbfgsb._subspace_step(x, g, cauchy, free, model), minimiser


@settings(max_examples=300, deadline=None)
@given(box_models())
def test_minimiser_of_the_model(box_model):
    x, g, pairs, theta = box_model
    padded = np.zeros((2, MEMORY, len(x)))
    for slot, (s, y) in enumerate(pairs, MEMORY - len(pairs)):
        padded[:, slot] = np.array([s, y]) / np.sqrt(s @ y)
    with jax.enable_x64(True):
        found = cauchy_and_newton(x, g, *padded, theta)
    cauchy, free, step, minimiser = map(np.asarray, found)
    matrix = bfgs_matrix(pairs, theta) if pairs else theta * np.eye(len(x))

    expected, t, breakpoints = sequential_cauchy_point(x, g, matrix)
    np.testing.assert_allclose(cauchy, expected, rtol=0, atol=1e-7)
    no_tie = np.abs(breakpoints - t) > 1e-7
    np.testing.assert_array_equal(free[no_tie], breakpoints[no_tie] > t)

    newton = np.linalg.solve(matrix[free][:, free], -(g + matrix @ (cauchy - x))[free])
    np.testing.assert_allclose(step[free], newton, rtol=1e-6, atol=1e-6)
    projected = np.clip(cauchy + np.where(free, step, 0), 0, 1)
    if g @ (projected - x) < -1e-12:
        np.testing.assert_allclose(minimiser, projected, rtol=0, atol=1e-12)
    assert np.all((minimiser >= 0) & (minimiser <= 1))
