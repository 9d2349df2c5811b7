"""Images that cannot be attacked: they say why, and harm no other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problems import PIXELS, SOLVERS, linear, linear_problem

from jaxadv import AttackOptions, Status, minimal_adversarial


def with_defects(params, x):
    """The linear classifier, but NaN where the first pixel is 0, and constant where it is 1."""
    logits = linear(params, x)
    first = x.reshape(len(x), -1)[:, :1]
    logits = jnp.where(first == 1, jnp.array([1.0, 0.0]), logits)
    return jnp.where(first == 0, jnp.nan, logits)


@pytest.mark.parametrize("solver", SOLVERS)
def test_lanes_that_fail_say_why_and_harm_no_other(solver):
    options = AttackOptions(solver=solver)
    (weights, bias), x, _ = linear_problem(12, 50)
    weights[0] = 0  # the pixel that marks a defect is never moved
    target = 1 - np.argmax(linear((weights, bias), x), axis=1)
    healthy = minimal_adversarial(with_defects, (weights, bias), x, target, options)
    damaged = x.copy()
    damaged[3, 0], damaged[8, 0] = 0, 1
    target[8] = 1
    result = minimal_adversarial(with_defects, (weights, bias), damaged, target, options)
    assert result.status[3] == Status.NOT_FINITE
    assert result.status[8] == Status.NOT_FOUND
    assert not result.success[[3, 8]].any()
    assert np.isfinite(result.x_adv).all()
    others = np.delete(np.arange(12), [3, 8])
    np.testing.assert_array_equal(result.x_adv[others], healthy.x_adv[others])
    assert result.success[others].all()


@jax.custom_vjp
def spoilt(x, bad):
    """x, but with a gradient of NaN where it is bad."""
    return x


spoilt.defvjp(lambda x, bad: (x, bad), lambda bad, g: (jnp.where(bad[:, None], jnp.nan, g), None))


def with_bad_gradients(params, x):
    """A network whose gradients are NaN in a corner, where its logits are not."""
    hidden, last = params
    bad = (x[:, 0] > 0.9) & (x[:, 1] != 0.5)
    return jnp.tanh(spoilt(x, bad) @ hidden) @ last


def test_gradients_that_are_nan_harm_no_other():
    """Nor those that are on the same lane later."""
    rng = np.random.default_rng(0)
    params = [rng.normal(size=shape).astype(np.float32) for shape in ((30, 60), (60, 10))]
    x, target = 0.8 * rng.random((600, 30)).astype(np.float32), rng.integers(0, 10, 600)
    damaged, others = x.copy(), np.arange(600) % 3 > 0
    damaged[::3, :2] = 0.95, 0.5
    options = AttackOptions(smoothing_steps=0, max_evaluations=4)
    healthy, result = (
        minimal_adversarial(with_bad_gradients, params, images, target, options)
        for images in (x, damaged)
    )
    np.testing.assert_array_equal(result.x_adv[others], healthy.x_adv[others])


def test_gradients_whose_squares_overflow_are_finite():
    params, x, target = linear_problem(3)
    params = params[0] * np.float32(1e19), params[1] * np.float32(1e19)
    result = minimal_adversarial(linear, params, x, target)
    assert (result.status != Status.NOT_FINITE).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_unreachable_target(solver):
    params = np.ones((PIXELS, 2), np.float32), np.float32([0, -2])
    x, target = np.full((3, PIXELS), 0.5, np.float32), np.array([1, 1, 0])
    with pytest.warns(UserWarning, match="the gradient of the gap between the logits is 0"):
        result = minimal_adversarial(linear, params, x, target, AttackOptions(solver=solver))
    np.testing.assert_array_equal(result.success, [False, False, True])
    assert (result.status[:2] == Status.NOT_FOUND).all()


def test_logits_of_half_precision():
    params, x, target = linear_problem(5, 30)

    def narrow(params, x):
        return linear(params, x).astype(jnp.bfloat16)

    result = minimal_adversarial(narrow, params, x, target, AttackOptions(smoothing_steps=0))
    assert result.success.all()
    assert result.x_adv.dtype == np.float32


@pytest.mark.parametrize("dtype, farther", [("bfloat16", 1.1), ("float16", 1.02)])
def test_half_precision_makes_distortions_little_larger(dtype, farther):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(16, 784)).astype("float32")
    weights = rng.normal(scale=0.05, size=(784, 10)).astype("float32")
    target = (np.argmax(x @ weights, axis=1) + rng.integers(1, 10, 16)) % 10

    def narrow(params, x):
        return (x @ params).astype(dtype)

    options = AttackOptions(smoothing_steps=0)
    result = minimal_adversarial(narrow, weights, x, target, options)
    assert result.success.all()
    assert (np.argmax(narrow(weights, jnp.asarray(result.x_adv)), axis=1) == target).all()
    exact = minimal_adversarial(lambda w, x: x @ w, weights, x, target, options)
    assert result.distortion.mean() < farther * exact.distortion.mean()
    assert result.x_adv.dtype == np.float32
