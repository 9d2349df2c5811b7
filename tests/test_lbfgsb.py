"""Tests of jaxadv.solvers.lbfgsb against SciPy, dense matrices and the original, jaxopt.LBFGSB."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv import networks as models
from jaxadv import training
from jaxadv.datasets import tfds as datasets
from jaxadv.solvers import lbfgsb
from jaxadv.solvers.lbfgsb import LBFGSB, jaxopt

MEMORY = 4
OPTIONS = {"linesearch_init": "max", "stop_if_linesearch_fails": True}


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def least_squares(n=30, seed=0):
    """A problem ½‖Ax − b‖² over [0, 1]ⁿ with many active bounds: (A, b, its exact minimiser)."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n + 5, n)), 5 * rng.normal(size=n + 5)
    minimiser = scipy.optimize.lsq_linear(a, b, (0, 1), method="bvls", tol=1e-14).x
    assert n / 2 < np.sum((minimiser == 0) | (minimiser == 1)) < n
    return a, b, minimiser


def half_square(x, a, b):
    return 0.5 * jnp.sum((a @ x - b) ** 2)


def unit_box(x):
    return jax.tree.map(jnp.zeros_like, x), jax.tree.map(jnp.ones_like, x)


def descend(solver, x, bounds, *args, iterations=500):
    """Calls `update`, which compiles faster than `run`, until the tolerance is met."""
    state = solver.init_state(x, bounds, *args)
    while state.error > solver.tol and state.iter_num < iterations:
        x, state = solver.update(x, state, bounds, *args)
    return x, state


# The quasi-Newton matrix


def bfgs_matrix(pairs, theta):
    """Textbook recursion from θI over the pairs (s, y) in order of time."""
    matrix = theta * np.eye(len(pairs[0][0]))
    for s, y in pairs:
        bs = matrix @ s
        matrix = matrix - np.outer(bs, bs) / (s @ bs) + np.outer(y, y) / (s @ y)
    return matrix


def dense(model):
    return model.theta * np.eye(len(model.w)) - model.w @ model.m @ model.w.T


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
    for _ in range(2 * MEMORY + 2):
        new_x, new_state = solver.update(x, state, None)
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


# The minimiser of the model


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


# The defects of the original


def subspace_step_of_the_original(cauchy, step):
    """Result of jaxopt over the free coordinates where the model's full step is `step`."""
    return jaxopt._src.lbfgsb._minimize_subspace(
        cauchy, -step, *unit_box(cauchy), cauchy, jnp.zeros(2), 1.0, *NO_PAIRS, jnp.full(2, True)
    )


NO_PAIRS = jnp.zeros((2, 2)), jnp.eye(2)


def test_coordinate_a_hair_outside_its_bound():
    point, step = jnp.array([-1e-30, 0.5]), jnp.array([-1e-32, 0.1])
    assert subspace_step_of_the_original(point, step)[1] < -9  # 0.5 − 100 · 0.1
    truncated = jax.jit(lbfgsb._truncated)(point, point + step, *unit_box(point))
    np.testing.assert_array_equal(truncated, jnp.array([0.0, 0.5]))
    for gradient in (-step, step):
        model = lbfgsb._QuadraticModel(1.0, *NO_PAIRS)
        found = jax.jit(lbfgsb._model_minimiser)(point, gradient, *unit_box(point), model)
        np.testing.assert_allclose(found, jnp.array([0.0, 0.5 - gradient[1]]), rtol=0, atol=1e-7)
        assert np.all((found >= 0) & (found <= 1))


def torsion(x, load):
    """Elastic-plastic torsion in one dimension: ½ Σ (x_{i+1} − x_i)² − load Σ x_i."""
    return 20 * jnp.sum(jnp.diff(x, prepend=0, append=0) ** 2) - load / 40 * jnp.sum(x)


def test_projection_takes_fewer_iterations_than_truncation(x64):
    blocked = subspace_step_of_the_original(jnp.array([1e-6, 0.5]), jnp.array([-1.0, 0.3]))
    np.testing.assert_allclose(blocked, [0, 0.5], rtol=0, atol=1e-6)
    height = np.minimum(np.arange(1, 41), np.arange(40, 0, -1)) / 41
    bounds = jnp.asarray(-height), jnp.asarray(height)
    root = np.sqrt(40) * np.diff(np.eye(42), axis=0)[:, 1:-1]
    iterations = []
    for solver_class in (LBFGSB, jaxopt.LBFGSB):
        solver = solver_class(torsion, tol=1e-6, **OPTIONS)
        iterations.append(0)
        for load in (3.0, 4.0, 5.0, 6.0, 8.0):
            x, state = descend(solver, jnp.zeros(40), bounds, load)
            target = np.linalg.lstsq(root.T, np.full(40, load / 40))[0]
            expected = scipy.optimize.lsq_linear(root, target, (-height, height), method="bvls").x
            np.testing.assert_allclose(x, expected, rtol=0, atol=1e-5)
            iterations[-1] += int(state.iter_num)
    assert iterations[0] < 0.85 * iterations[1], iterations


# Real MNIST

IMAGES = 60
CS = np.resize([0.001, 0.01, 0.1], IMAGES).astype(np.float32)


@pytest.fixture(scope="module", params=[(), (32,)], ids=["softmax", "mlp"])
def problems(request):
    """(Objective of (z, x, target, params, c), x, targets, params), on training images."""
    dataset = datasets.load("mnist", "train")
    network = models.mlp(*request.param)
    schedule = training.Schedule(epochs=2, batch_size=200, learning_rate=0.005)
    recipe = training.Supervised((1e-4,) * len(network.layers), schedule)
    params = training.train(network, dataset, recipe, jax.random.key(0))

    def objective(z, x, target, params, c):
        logits = network.logits(params, z[None])[0]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, target)
        return c * jnp.sum((z - x) ** 2) + loss

    targets = (dataset.labels[:IMAGES] + 1 + np.arange(IMAGES) % 9) % 10
    return objective, dataset.images[:IMAGES], targets, params


def mnist_solver(solver_class, objective):
    return solver_class(
        objective, maxiter=200, tol=1e-5, implicit_diff=False, unroll=False, **OPTIONS
    )


@pytest.mark.slow
def test_objectives_are_those_of_scipy(problems):
    """Where the two end in different local minima, SciPy cannot improve on ours either."""
    objective, images, targets, params = problems
    solver = mnist_solver(LBFGSB, objective)
    run = jax.jit(
        jax.vmap(lambda x, t, p, c: solver.run(x, unit_box(x), x, t, p, c), (0, 0, None, 0))
    )
    found, state = run(images, targets, params, CS)
    assert found.dtype == jnp.float32
    assert np.all((found >= 0) & (found <= 1))

    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)
        value_and_grad = jax.jit(jax.value_and_grad(objective))

        def scipy_value(z, x, target, c):
            def fun(flat):
                value, grad = value_and_grad(flat.reshape(x.shape), x, target, params, c)
                return float(value), np.asarray(grad).ravel()

            return scipy.optimize.minimize(
                fun, z.ravel(), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * z.size
            ).fun

        agree = []
        for z, value, x, target, c in zip(found, state.value, images, targets, CS, strict=True):
            z, x, c = np.asarray(z, float), x.astype(float), float(c)
            ours = float(value_and_grad(z, x, target, params, c)[0])
            np.testing.assert_allclose(value, ours, rtol=1e-4)
            assert ours <= scipy_value(z, x, target, c) * (1 + 1e-4)
            agree.append(np.isclose(ours, scipy_value(x, x, target, c), rtol=1e-4, atol=0))
    assert np.mean(agree) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("solver_class", [LBFGSB, jaxopt.LBFGSB], ids=["ours", "original"])
@pytest.mark.parametrize("problems", [(32,)], indirect=True, ids=["mlp"])
def test_iterates_in_the_box(problems, solver_class):
    objective, images, targets, params = problems
    solver = mnist_solver(solver_class, objective)
    rest = images, targets, params, 0.01
    axes = 0, 0, None, None
    state = jax.vmap(lambda z, *a: solver.init_state(z, unit_box(z), *a), (0, *axes))(images, *rest)
    update = jax.vmap(lambda z, s, *a: solver.update(z, s, unit_box(z), *a), (0, 0, *axes))
    update, z, excess = jax.jit(update), images, []
    for _ in range(30):
        z, state = update(z, state, *rest)
        excess.append(np.max(np.abs(z - np.clip(z, 0, 1))))
    assert max(excess) == 0 if solver_class is LBFGSB else max(excess) > 0.5


# A drop-in replacement

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
    x, state = solver.update(x, solver.init_state(x, unit_box(x), a, b), unit_box(x), a, b)
    value, grad = jax.value_and_grad(half_square)(x, a, b)
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
    assert state.iter_num < 100


def test_lane_with_nan_does_not_harm_others():
    a, b, minimiser = map(jnp.asarray, least_squares())
    solver = LBFGSB(lambda x, weight: weight * half_square(x, a, b), **OPTIONS)
    box = unit_box(minimiser)
    update = jax.jit(jax.vmap(lambda x, state, weight: solver.update(x, state, box, weight)))
    results = []
    for weights in jnp.array([[1.0, 1.0, 1.0], [1.0, jnp.nan, 1.0]]):
        x = jax.random.uniform(jax.random.key(0), (3, len(minimiser)))
        state = jax.vmap(lambda x, weight: solver.init_state(x, box, weight))(x, weights)
        for _ in range(40):
            x, state = update(x, state, weights)
        results.append(np.asarray(x))
    healthy, found = results
    np.testing.assert_array_equal(found[[0, 2]], healthy[[0, 2]])
    np.testing.assert_allclose(healthy, np.tile(minimiser, (3, 1)), rtol=0, atol=1e-4)
    assert np.isnan(state.value[1])


def test_failed_line_search_restarts_from_steepest_descent():
    a, b, minimiser = map(jnp.asarray, least_squares())
    x, box = jnp.full_like(minimiser, 0.5), unit_box(minimiser)
    solver = LBFGSB(half_square, tol=0.0, **OPTIONS)
    state, restarts = solver.init_state(x, box, a, b), 0
    for _ in range(100):
        pairs, (x, state) = state.num_updates, solver.update(x, state, box, a, b)
        restarts += int(state.num_updates < pairs)
        assert not (state.failed_linesearch and pairs > 0)
    assert restarts > 0
    np.testing.assert_allclose(x, minimiser, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_implicit_derivative_of_the_minimiser(x64):
    a, b, minimiser = least_squares()
    solver = LBFGSB(half_square, maxiter=500, tol=1e-10)
    box = unit_box(jnp.asarray(minimiser))
    found = jax.jacobian(lambda b: solver.run(jnp.full(30, 0.5), box, a, b).params)(b)
    free = (minimiser > 0) & (minimiser < 1)
    expected = np.zeros_like(found)
    expected[free] = np.linalg.pinv(a[:, free])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
