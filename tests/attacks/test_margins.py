"""Success does not depend on what is added to all logits, nor on classes that are masked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_problems import PIXELS, SOLVERS, linear, linear_problem, smallest_distortion

from jaxadv import AttackOptions, Status, minimal_adversarial, untargeted
from jaxadv.attacks import lbfgsb
from jaxadv.attacks.margins import ROUNDING, lead_and_magnitude, least_lead


def with_a_third_class(problem, x):
    """The linear classifier, an offset added to its logits, and a class of a constant logit."""
    params, offset, masked = problem
    logits = linear(params, x) + offset
    return jnp.concatenate([logits, jnp.full((len(x), 1), masked)], axis=1)


def test_masks_and_offsets_change_nothing():
    params, x, target = linear_problem(12)

    def attack(offset=0.0, masked=-100.0):
        problem = params, np.float32(offset), np.float32(masked)
        return minimal_adversarial(with_a_third_class, problem, x, target)

    expected = attack()
    assert expected.success.all()
    for masked in (-1e6, -1e9, -np.inf):
        found = attack(masked=masked)
        np.testing.assert_array_equal(found.x_adv, expected.x_adv)
        np.testing.assert_array_equal(found.status, expected.status)
    found = attack(offset=1e4)  # whose unit in the last place is 1 % of some gaps
    assert found.success.all()
    np.testing.assert_allclose(found.distortion, expected.distortion, rtol=0.05)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_smallest_distortion_with_a_large_margin(solver):
    """In closed form: that of a target whose bias is less, by the lead asked for."""
    (weights, bias), x, target = linear_problem(12)
    options = AttackOptions(margin=0.5, solver=solver, smoothing_steps=0)
    result = minimal_adversarial(linear, (weights, bias), x, target, options)
    images = np.arange(len(x))
    gap, lead = (
        logits[images, 1 - to] - logits[images, to]
        for logits, to in (
            (linear((weights, bias), x), target),
            (linear((weights, bias), result.x_adv), 1 - target),
        )
    )
    assert result.success.all() and (lead >= 0.5 * gap * (1 - 1e-5)).all()
    expected = [
        smallest_distortion((weights, bias - 0.5 * g * np.eye(2)[to]), image, to)
        for g, image, to in zip(gap, x, target, strict=True)
    ]
    np.testing.assert_allclose(result.distortion, expected, rtol=2e-3)


LOWEST = np.finfo(np.float32).min


@pytest.mark.parametrize("masked", [-1e9, -1e19, -1e20, -1e38, LOWEST, -np.inf])
def test_a_masked_target_is_not_reached(masked):
    params, x, _ = linear_problem(3)
    problem = params, np.float32(0), np.float32(masked)
    result = minimal_adversarial(with_a_third_class, problem, x, np.full(3, 2))
    assert not result.success.any()
    expected = Status.NOT_FOUND if np.isfinite(masked) else Status.NOT_FINITE
    assert (result.status == expected).all()


@pytest.mark.parametrize("masked", [-1e9, LOWEST, -np.inf])
def test_untargeted_attacks_leave_masked_classes_aside(masked):
    params, x, target = linear_problem(12)
    problem = params, np.float32(0), np.float32(masked)
    result = untargeted(with_a_third_class, problem, x, 1 - target, classes=1)
    np.testing.assert_array_equal(result.target, target)
    assert result.success.all()


def test_lead_in_numpy():
    logits = jnp.array([[3, 1, 2.5, -jnp.inf], [-7, -8, -9, -1e9]])
    lead, magnitude = lead_and_magnitude(logits, jnp.array([2, 0]))
    np.testing.assert_array_equal(lead, [-0.5, 1])
    np.testing.assert_array_equal(magnitude, [3, 8])


def test_least_lead_is_no_less_than_rounding_hides():
    eps = np.finfo(np.float32).eps
    gap, magnitude, hidden = jnp.array([[10.0, 20, 0], [0, 1e4, 0], [0, 1e4, 0.1]]).T
    least = least_lead(1e-5, gap, magnitude, hidden)
    np.testing.assert_allclose(least, [1e-4, ROUNDING * eps * 1e4, 0.1], rtol=1e-6)


def test_success_does_not_depend_on_the_order_of_summation_where_summands_cancel():
    """The bias makes up for the weights' mean: of 193, 78 once failed one by one, 32 in float64."""
    params, x, target = linear_problem(200)
    weights = params[0] + np.float32(30)
    params = weights, (-0.5 * weights.sum(axis=0, dtype=float)).astype(np.float32)
    target = 1 - np.argmax(linear([np.float64(each) for each in params], np.float64(x)), axis=1)
    result = minimal_adversarial(linear, params, x, target)
    assert result.success.mean() > 0.95
    x_adv = result.x_adv[result.success]
    orders = [
        np.concatenate([linear(params, jnp.array(x_adv[i : i + 1])) for i in range(len(x_adv))]),
        linear(params, jnp.array(x_adv)),
        linear((params[0][::-1], params[1]), jnp.array(x_adv[:, ::-1])),
        linear([np.float64(each) for each in params], np.float64(x_adv)),
    ]
    for logits in orders:
        assert (np.argmax(logits, axis=1) == target[result.success]).all()


def with_hidden_units(params, x):
    hidden, last, bias = params
    return 1 / (1 + jnp.exp(-(x @ hidden))) @ last + bias


def test_success_does_not_depend_on_it_where_hidden_units_cancel_on_black_images():
    """Of 48, 6 once failed one by one: on these images, darkening changes nothing."""
    rng = np.random.default_rng(0)
    last = rng.normal(size=(64, 10)) + 30
    params = rng.normal(size=(PIXELS, 64)), last, rng.normal(size=10) - 0.5 * last.sum(axis=0)
    params = [np.float32(each) for each in params]
    x = np.zeros((48, PIXELS), np.float32)
    label = np.argmax(with_hidden_units([np.float64(each) for each in params], np.float64(x[:1])))
    target = (label + rng.integers(1, 10, 48)) % 10
    result = minimal_adversarial(with_hidden_units, params, x, target)
    assert result.success.all()
    singly = [with_hidden_units(params, jnp.array(image[None]))[0] for image in result.x_adv]
    in_float64 = with_hidden_units([np.float64(each) for each in params], np.float64(result.x_adv))
    for logits in (singly, in_float64):
        assert (np.argmax(logits, axis=1) == target).all()


@pytest.mark.slow
def test_lbfgsb_ignores_masks_and_offsets_and_counts_the_gradients_computed():
    computed = []

    def counted(problem, x):
        jax.debug.callback(lambda: computed.append(1))
        return with_a_third_class(problem, x)

    params, x, target = linear_problem(1)
    options = AttackOptions(solver="lbfgsb", c_steps=3)
    solve = jax.jit(functools.partial(lbfgsb.solve, counted, options))

    def attack(offset=0.0, masked=-100.0):
        computed.clear()
        problem = params, np.float32(offset), np.float32(masked)
        found = solve(problem, x[0], target[0], np.float32(0))
        jax.effects_barrier()
        assert found.success
        assert found.evaluations == len(computed)
        return found.image

    expected = attack()
    for masked in (-1e6, -1e9, -np.inf):
        np.testing.assert_array_equal(attack(masked=masked), expected)
    lowest = solve((params, np.float32(0), LOWEST), x[0], 2, np.float32(0))
    assert lowest.finite and not lowest.success
    moved = attack(offset=1e4) - x[0]
    np.testing.assert_allclose(np.linalg.norm(moved), np.linalg.norm(expected - x[0]), rtol=0.05)
