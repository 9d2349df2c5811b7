"""What was mended: jaxopt's defects, and that ours does not have them; objectives against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from box_problems import OPTIONS, descend, unit_box

from jaxadv import training
from jaxadv.networks import mlp
from jaxadv.solvers import compact
from jaxadv.solvers.lbfgsb import LBFGSB, jaxopt  # whose import warns, but not there


@jax.jit
def subspace_step_of_the_original(cauchy, step):
    """Result of jaxopt over the free coordinates where the model's full step is `step`."""
    return jaxopt._src.lbfgsb._minimize_subspace(
        cauchy, -step, *unit_box(cauchy), cauchy, jnp.zeros(2), 1.0, *NO_PAIRS, jnp.full(2, True)
    )


NO_PAIRS = jnp.zeros((2, 2)), jnp.eye(2)


def test_coordinate_a_hair_outside_its_bound():
    point, step = jnp.array([-1e-30, 0.5]), jnp.array([-1e-32, 0.1])
    assert subspace_step_of_the_original(point, step)[1] < -9  # 0.5 − 100 · 0.1
    model = compact.no_pairs(1, 2, point.dtype)
    for gradient in (-step, step):
        found = jax.jit(compact.step_to_minimiser)(model, gradient, point, 1 - point)
        np.testing.assert_allclose(found, jnp.array([0.0, -gradient[1]]), rtol=0, atol=1e-7)


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

IMAGES = 30
CS = np.resize([0.001, 0.01, 0.1], IMAGES).astype(np.float32)


@pytest.fixture(scope="module")
def problems(mnist):
    """(Objective of (z, x, target, params, c), x, targets, params), on training images."""
    network = mlp(32)
    schedule = training.Schedule(epochs=8, batch_size=100, learning_rate=0.005)
    recipe = training.Supervised((1e-4,) * len(network.layers), schedule)
    params = training.train(network, mnist, recipe, jax.random.key(0))

    def objective(z, x, target, params, c):
        logits = network.logits(params, z.reshape(1, *network.input_shape))[0]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, target)
        return c * jnp.sum((z - x) ** 2) + loss

    targets = (mnist.labels[:IMAGES] + 1 + np.arange(IMAGES) % 9) % 10
    return objective, mnist.images[:IMAGES], targets, params


@pytest.fixture(scope="module")
def descended(problems):
    """Images that ours finds side by side, states, and how far iterates were out of the box."""
    objective, images, *rest = problems
    solver = LBFGSB(objective, tol=1e-5, **OPTIONS)

    def over(state):
        return (state.error <= solver.tol) | state.failed_linesearch

    def update(z, state, *args):
        new = tuple(solver.update(z, state, unit_box(z), *args))
        return jax.tree.map(lambda old, new: jnp.where(over(state), old, new), (z, state), new)

    args = images, *rest, CS
    axes = 0, 0, None, 0
    init = jax.vmap(lambda z, *args: solver.init_state(z, unit_box(z), *args), (0, *axes))
    state, update = jax.jit(init)(images, *args), jax.jit(jax.vmap(update, (0, 0, *axes)))
    z, excess = images, []
    while not over(state).all() and len(excess) < 200:
        z, state = update(z, state, *args)
        excess.append(outside(z))
    return z, state, max(excess)


def outside(z):
    return np.max(np.abs(z - np.clip(z, 0, 1)))


@pytest.mark.slow
def test_objectives_are_those_of_scipy(problems, descended):
    """Where the two end in different local minima, SciPy cannot improve on ours either."""
    objective, images, targets, params = problems
    found, state, _ = descended
    assert found.dtype == jnp.float32

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
def test_iterates_in_the_box(problems, descended):
    *_, excess = descended
    assert excess == 0
    objective, images, targets, params = problems
    original, excess = jaxopt.LBFGSB(objective, history_size=3, **OPTIONS), []
    init = jax.jit(original.init_state)
    update = jax.jit(original.update)  # one by one: in half of the time to compile
    for x, target, c in zip(images, targets, CS, strict=True):
        z, box, args = jnp.asarray(x), unit_box(x), (x, target, params, c)
        state = init(z, box, *args)
        for _ in range(5):
            z, state = update(z, state, box, *args)
            excess.append(outside(z))
    assert max(excess) > 0.5
