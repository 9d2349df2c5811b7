"""The quasi-Newton matrix and the minimiser of its model, against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxadv.solvers import compact, lbfgsb
from jaxadv.solvers.lbfgsb import LBFGSB, jaxopt  # whose import warns, but not there
from jaxadv.solvers.trees import select

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


def matrix_in_ours(model):
    """The matrix of a `compact.Model`, of the pairs there are."""
    used = np.arange(len(model.s)) < model.pairs
    s, y, lower = (np.asarray(each)[used] for each in (model.s, model.y, model.lower[:, used]))
    middle = np.block([[-np.eye(len(s)), lower.T], [lower, model.theta * s @ s.T]])
    w = np.concatenate([y, model.theta * s]).T
    return model.theta * np.eye(s.shape[1]) - w @ np.linalg.inv(middle) @ w.T


def convex(x):
    return jnp.sum(jnp.arange(1, 1 + x.size) * x**2) + jnp.sum(jnp.cosh(x[1:] - x[:-1]))


@pytest.mark.parametrize("solver_class", [LBFGSB, jaxopt.LBFGSB], ids=["ours", "original"])
def test_matrix_after_the_buffer_wraps(x64, solver_class):
    solver = solver_class(convex, history_size=MEMORY)
    x = jnp.linspace(-1.0, 2.0, 12)
    state, pairs, errors = solver.init_state(x, None), [], []
    update, model = jax.jit(solver.update), jax.jit(lbfgsb._model)
    for _ in range(2 * MEMORY + 2):
        new_x, new_state = update(x, state, None)
        pairs.append(np.asarray([new_x - x, new_state.grad - state.grad]))
        x, state = new_x, new_state
        if len(pairs) >= MEMORY or solver_class is LBFGSB:
            history = tuple(map(np.asarray, (state.s_history, state.y_history)))
            if solver_class is LBFGSB:
                found = matrix_in_ours(model(*history, state))
            else:
                found = matrix_in_the_original(*history, state.theta)
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


@jax.jit
def step_of_the_model(x, g, s, y, count, theta):
    model = compact.no_pairs(MEMORY, len(x), x.dtype)
    for index in range(MEMORY):
        pushed = compact.pushed(model, s[index], y[index])
        model = select(index < count, pushed, model)
    model = model._replace(theta=theta)
    return compact.step_to_minimiser(model, g, x, 1 - x)


CUT = (  # before another bound is met, while pixel 1 is held at its upper one
    np.array([0.5, 1, 0.5, 0, 0.25, 0]),
    np.array([-3, -3, 2, -0.5, 0, -1]),
    [
        (np.array([2.6, 0, 1.3, 0.2, -1.4, 1.3]), np.array([23.6, -1.8, 21.6, 7.9, -2.3, 22.6])),
        (np.array([0.3, 0.1, 0.3, -0.4, 2, 3]), np.array([14.1, -0.5, 10.2, 6.5, 13.6, 30.4])),
        (np.array([1.4, -0.2, -1.4, 0.8, -0.7, 0]), np.array([5.9, -2.2, -1.5, 5.3, 2, -0.7])),
    ],
    7.0,
)


@settings(max_examples=300, deadline=None)
@given(box_models())
@example(CUT)
def test_minimiser_of_the_model(box_model):
    x, g, pairs, theta = box_model
    padded = np.zeros((2, MEMORY, len(x)))
    for slot, pair in enumerate(pairs):
        padded[:, slot] = pair
    with jax.enable_x64(True):
        step = np.asarray(step_of_the_model(x, g, *padded, len(pairs), theta))
    matrix = bfgs_matrix(pairs, theta) if pairs else theta * np.eye(len(x))

    cauchy = np.clip(-g / theta, -x, 1 - x)
    free = cauchy == -g / theta
    newton = cauchy.copy()
    newton[free] -= np.linalg.solve(matrix[free][:, free], (g + matrix @ cauchy)[free])
    projected = np.clip(newton, -x, 1 - x)
    loses = g @ projected - 0.5 * (g @ newton)
    if loses < -1e-9:
        np.testing.assert_allclose(step, projected, rtol=1e-6, atol=1e-6)
    elif loses > 1e-9:  # cut where the first bound is met
        further = newton - cauchy
        with np.errstate(divide="ignore", invalid="ignore"):
            room = (np.where(further > 0, 1 - x, -x) - cauchy) / further
        cut = cauchy + min(np.min(room[further != 0]), 1) * further
        expected = cut if g @ cut < 0 else cauchy
        np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-6)
    assert g @ step <= 0
    assert np.all((x + step >= 0) & (x + step <= 1))
