"""The attack against closed forms and dual bounds, for linear classifiers."""

import functools

import jax
import numpy as np
import pytest
import scipy.optimize
from linear_problems import PIXELS, SOLVERS, linear, linear_problem, smallest_distortion

from jaxadv import AttackOptions, Status, minimal_adversarial, untargeted
from jaxadv.attacks.lockstep.state import Stage
from jaxadv.attacks.lockstep.tuning import TUNING


@pytest.mark.parametrize("images, scale", [(1, 1.0), (7, 0.1), (40, 10.0)])
@pytest.mark.parametrize(
    "solver, penalty",
    [
        ("lockstep", "l2_squared"),
        ("lockstep", "l2"),
        pytest.param("lbfgsb", "l2_squared", marks=pytest.mark.slow),  # "l2": test_minimal.py
    ],
)
def test_linear_classifier_reaches_closed_form(solver, images, scale, penalty):
    params, x, target = linear_problem(images, scale=scale)
    options = AttackOptions(solver=solver, penalty=penalty)
    result = minimal_adversarial(linear, params, x, target, options)
    expected = [smallest_distortion(params, *pair) for pair in zip(x, target, strict=True)]
    assert result.success.all()
    assert (result.status == Status.SUCCESS).all()
    ratio = result.distortion / expected
    assert ratio.min() >= 1 - 1e-5
    assert ratio.max() <= 1.0015


def test_further_attacks_end_where_there_is_one_minimum():
    options = AttackOptions(rounds=100)
    result = minimal_adversarial(linear, *linear_problem(40), options)
    averaged = result.by_stage[:, Stage.AVERAGE]
    few, gains = TUNING.scattered * TUNING.fruitless, 2  # of what the first attack left
    assert (averaged >= few).all() and (averaged <= few + gains * TUNING.scattered).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_linear_classifier_with_active_box(solver):
    params, x, target = linear_problem(12)
    x = np.where(x > 0.6, np.float32(1), np.minimum(x, np.float32(0.6)))  # the box cuts many steps
    target = 1 - np.argmax(linear(params, x), axis=1)
    result = minimal_adversarial(linear, params, x, target, AttackOptions(solver=solver))
    expected = [smallest_distortion(params, *pair) for pair in zip(x, target, strict=True)]
    assert np.any((result.x_adv == 0) | (result.x_adv == 1))
    assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1
    np.testing.assert_allclose(result.distortion, expected, rtol=1e-3)


@functools.cache
def problem_of_many_classes(images, pixels, classes, scale):
    """A linear classifier, images, targets, and lower bounds of ‖r‖, which are tight."""
    rng = np.random.default_rng(0)
    weights = scale * rng.normal(size=(pixels, classes))
    params = weights.astype(np.float32), (-0.5 * weights.sum(axis=0)).astype(np.float32)
    x = rng.uniform(size=(images, pixels)).astype(np.float32).round(1)  # some at the bounds
    target = (np.argmax(linear(params, x), axis=1) + rng.integers(1, classes, images)) % classes
    double = [np.asarray(param, np.float64) for param in params]
    bound = [smallest_r_bound(*double, *pair) for pair in zip(x, target, strict=True)]
    return params, x, target, bound


def smallest_r_bound(weights, bias, x, target):
    """A lower bound of ‖r‖, and tight: the dual of min ½‖r‖² within the box and the target's class.

    For multipliers λ ≥ 0, the r of the Lagrangian is clip(Aᵀλ), with A the differences of weights.
    """
    others = np.arange(weights.shape[1]) != target
    differences = (weights[:, [target]] - weights[:, others]).T
    offsets = bias[target] - bias[others]
    scale = np.sum(differences**2, axis=1).max()

    def negative_dual(scaled_multipliers):
        multipliers = scaled_multipliers / scale
        z = np.clip(x + multipliers @ differences, 0, 1)
        lead = differences @ z + offsets
        return multipliers @ lead - 0.5 * np.sum((z - x) ** 2), lead / scale

    found = scipy.optimize.minimize(
        negative_dual,
        np.zeros(len(offsets)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * len(offsets),
        options={"maxiter": 20000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-14},
    )
    return np.sqrt(-2 * found.fun)


@pytest.mark.parametrize(
    "images, pixels, classes, scale, penalty",
    [
        (40, 30, 30, 1.0, "l2_squared"),  # many of them tie
        (16, 200, 10, 0.03, "l2"),
        (5, 200, 10, 10.0, "l2"),
    ],
)
def test_linear_classifier_of_many_classes_reaches_the_optimum(
    images, pixels, classes, scale, penalty
):
    params, x, target, bound = problem_of_many_classes(images, pixels, classes, scale)
    options = AttackOptions(penalty=penalty)
    result = minimal_adversarial(linear, params, x, target, options)
    assert result.success.all()
    ratio = result.distortion * np.sqrt(pixels) / bound
    assert ratio.min() >= 1 - 1e-5
    assert ratio.mean() <= 1.0003
    assert ratio.max() <= 1.002


def test_a_fine_descent_that_makes_no_step_ends():
    """Seven classes tie; the temperature was raised and lowered until the budget was spent."""
    rng = np.random.default_rng(956)
    weights = np.zeros((PIXELS, 10), np.float32)
    weights[:10] = rng.normal(size=(10, 10))
    params = weights, (-0.5 * weights.sum(axis=0)).astype(np.float32)
    x = np.full((1, PIXELS), 0.5, np.float32)
    x[0, :10] = rng.choice([0, 0, 1, 0.3, 0.7], 10)
    target = (np.argmax(linear(params, x), axis=1) + rng.integers(1, 10)) % 10
    result = minimal_adversarial(linear, params, x, target)
    assert result.success.all() and (result.evaluations < 300).all()


def test_untargeted_in_closed_form():
    params, x, target = linear_problem(9)
    result = untargeted(linear, params, x, 1 - target, classes=1)
    expected = [smallest_distortion(params, *pair) for pair in zip(x, target, strict=True)]
    np.testing.assert_array_equal(result.target, target)
    np.testing.assert_allclose(result.distortion, expected, rtol=1e-3)


def test_untargeted_where_x_is_misclassified_already():
    params, x, target = linear_problem(3)
    result = untargeted(linear, params, x, target, classes=1)
    assert (result.status == Status.ALREADY_TARGET).all()
    np.testing.assert_array_equal(result.x_adv, x)


def tied(pixels, classes):
    """Logits that are the first pixels, and images on which they tie."""
    params = np.eye(pixels, classes, dtype=np.float32), np.zeros(classes, np.float32)
    return params, np.full((2, pixels), 0.4, np.float32)


@pytest.mark.parametrize(
    "solver, pixels, classes",
    [
        ("lockstep", PIXELS, 2),
        ("lockstep", 30, 30),
        pytest.param("lbfgsb", PIXELS, 2, marks=pytest.mark.slow),
    ],
)
def test_classes_that_tie_at_x(solver, pixels, classes):
    """Of them, argmax takes the first; the other one is attacked."""
    params, x = tied(pixels, classes)
    target = np.array([0, classes - 1])
    result = minimal_adversarial(linear, params, x, target, AttackOptions(solver=solver))
    assert result.success.all()
    np.testing.assert_array_equal(np.argmax(linear(params, result.x_adv), axis=1), target)
    assert (result.distortion < 1e-3).all()


def test_float64():
    with jax.enable_x64(True):
        params, x, target = linear_problem(4, 30)
        params, x = jax.tree.map(lambda a: a.astype(np.float64), (params, x))
        result = minimal_adversarial(
            linear, params, x, target, AttackOptions(margin=1e-9, tol=1e-6, c_steps=40)
        )
    expected = [smallest_distortion(params, *pair) for pair in zip(x, target, strict=True)]
    assert result.x_adv.dtype == np.float64
    np.testing.assert_allclose(result.distortion, expected, rtol=1e-5)
