"""L-BFGS in inner products, against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.solvers import pairs as pairs_module
from jaxadv.solvers.pairs import no_pairs

push = jax.jit(pairs_module.push)
constrained = jax.jit(pairs_module.directions, static_argnums=6)
LANES, SIZE = 3, 12
MEMORIES = [1, 3, 4, 5, 6, 7]


def inverse_hessian(pairs, scale):
    """Textbook recursion of the inverse matrix, over pairs (s, y) in order of time."""
    inverse = scale * np.eye(SIZE)
    for s, y in pairs:
        left = np.eye(SIZE) - np.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
    return inverse


def pushed(count, memory=4, first_tick=0, skipped=()):
    """So many pairs of a convex quadratic per lane, and the tick of the last."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(LANES, SIZE, SIZE))
    hessians = np.einsum("lij,lkj->lik", factors, factors)
    pairs, kept = no_pairs(memory, LANES, SIZE, float), []
    for index in range(count):
        s = jnp.asarray(rng.normal(size=(LANES, SIZE)))
        y = jnp.einsum("lij,lj->li", hessians, s)
        valid = index not in skipped
        pairs = push(pairs, jnp.array(first_tick + index), s, y, jnp.full(LANES, valid))
        kept.append((s, y) if valid else None)
    return pairs, jnp.array(first_tick + count - 1), [pair for pair in kept[-memory:] if pair]


def gradient_of_lanes(seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(LANES, SIZE)))


def directions(pairs, tick, gradient, weight, memory):
    no_constraint = 0 * gradient, jnp.full(LANES, jnp.nan)
    # Kernels of several results take a minute to compile for a memory of 7.
    function = constrained if memory < 7 else pairs_module.directions
    steps, multipliers = function(pairs, tick, gradient, *no_constraint, weight, memory)
    assert (multipliers == 1).all()
    return steps


@pytest.fixture(autouse=True)
def in_double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    "count, skipped", [(1, ()), (3, ()), (4, ()), (9, ()), (9, (7,)), (9, (8,))]
)
@pytest.mark.parametrize("weight", [1e-3, 5.0])
def test_directions_are_those_of_the_dense_matrix(count, skipped, weight):
    assert_as_dense(4, count, skipped, weight)


@pytest.mark.parametrize("memory", MEMORIES)
def test_as_many_pairs_count_as_are_asked_for(memory):
    assert_as_dense(memory, 10, (), 0.1)


def assert_as_dense(memory, count, skipped, weight):
    pairs, tick, kept = pushed(count, memory, skipped=skipped)
    gradient = gradient_of_lanes()
    found = directions(pairs, tick, gradient, jnp.full(LANES, weight), memory)
    for lane in range(LANES):
        of_lane = [(s[lane], y[lane] + weight * s[lane]) for s, y in kept]
        s, y = of_lane[-1]
        expected = -inverse_hessian(of_lane, s @ y / (y @ y)) @ gradient[lane]
        np.testing.assert_allclose(found[lane], expected, rtol=1e-8)


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_with_a_constraint_steps_solve_the_quadratic_program(count):
    """Stationary where the linearised loss is 0: by dense matrices."""
    weight, missing = 0.7, np.array([0.3, -2.0, 1.0])
    pairs, tick, kept = pushed(count) if count else (no_pairs(4, LANES, SIZE, float), 0, [])
    gradient, of_loss = gradient_of_lanes(), gradient_of_lanes(2)
    rest = jnp.asarray(missing), jnp.full(LANES, weight)
    steps, multipliers = constrained(pairs, jnp.array(tick), gradient, of_loss, *rest, 4)
    np.testing.assert_allclose(np.sum(of_loss * steps, axis=1), -missing, rtol=1e-9)
    for lane in range(LANES):
        of_lane = [(s[lane], y[lane] + weight * s[lane]) for s, y in kept]
        scale = np.divide(*[of_lane[-1][1] @ each for each in of_lane[-1]]) if kept else 1 / weight
        hessian = np.linalg.inv(inverse_hessian(of_lane, scale))
        whole = gradient[lane] + (multipliers[lane] - 1) * of_loss[lane]
        np.testing.assert_allclose(hessian @ steps[lane], -whole, rtol=1e-7, atol=1e-9)


def test_without_pairs_half_a_step_to_the_minimiser():
    gradient = gradient_of_lanes()
    pairs = no_pairs(4, LANES, SIZE, float)
    found = directions(pairs, jnp.array(0), gradient, jnp.full(LANES, 4.0), 4)
    np.testing.assert_allclose(found, -gradient / 8)


def test_pairs_of_negative_curvature_do_not_count():
    pairs, tick, kept = pushed(2)
    s, y = kept[-1]
    pairs = push(pairs, tick + 1, s, -y, jnp.full(LANES, True))
    gradient = gradient_of_lanes()
    weight = jnp.full(LANES, 1e-9)
    expected = directions(*pushed(2)[:2], gradient, weight, 4)
    np.testing.assert_allclose(
        directions(pairs, tick + 1, gradient, weight, 4), expected, rtol=1e-6
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_a_pair_that_does_not_count_does_no_harm(bad):
    """As that of the problem that a lane had before."""
    pairs, tick, _ = pushed(1)
    pairs = push(pairs, tick + 1, *jnp.full((2, LANES, SIZE), bad), jnp.full(LANES, True))
    pairs = pairs._replace(valid=jnp.zeros_like(pairs.valid))
    again, _, kept = pushed(1)
    pairs = push(pairs, tick + 2, *kept[0], jnp.full(LANES, True))
    gradient, weight = gradient_of_lanes(), jnp.full(LANES, 2.0)
    expected = directions(again, tick, gradient, weight, 4)
    np.testing.assert_array_equal(directions(pairs, tick + 2, gradient, weight, 4), expected)


@pytest.mark.parametrize("memory", MEMORIES)
def test_the_bits_do_not_depend_on_the_tick(memory):
    gradient, weight = gradient_of_lanes(), jnp.full(LANES, 2.0)
    every = [
        directions(*pushed(9, memory, first_tick=tick)[:2], gradient, weight, memory)
        for tick in range(8)
    ]
    for other in every[1:]:
        np.testing.assert_array_equal(other, every[0])
