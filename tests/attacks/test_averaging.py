"""Gradient averaging over noise: for non-smooth boundaries, and ended by NaN."""

import jax.numpy as jnp
import numpy as np

from jaxadv import AttackOptions, minimal_adversarial
from jaxadv.attacks.lockstep.state import Stage


def nonsmooth(params, x):
    """Two classes, whose boundary is a plane with ripples; NaN far from the middle of pixel 0."""
    slope, frequencies, height, slab = params
    lead = (x - 0.5) @ slope + height * jnp.cos(x @ frequencies).sum(axis=1)
    return jnp.where(jnp.abs(x[:, :1] - 0.5) > slab, jnp.nan, jnp.stack([lead, -lead], axis=1))


def nonsmooth_problem(frequency=50):
    """The wider the ripples, the fewer are seen by the noise that tells what is smooth."""
    rng = np.random.default_rng(0)
    slope, frequencies = rng.normal(size=100), frequency * rng.normal(size=(100, 60))
    params = (*map(np.float32, (slope, frequencies, 0.15 / frequency, np.inf)),)
    x = rng.uniform(0.2, 0.8, size=(24, 100)).astype(np.float32)
    return params, x, 1 - np.argmax(nonsmooth(params, x), axis=1)


def attack(params, x, target, **settings):
    result = minimal_adversarial(nonsmooth, params, x, target, AttackOptions(**settings))
    assert result.success.all()
    return result


def relu_network(params, x):
    hidden, last = params
    return jnp.maximum((x - 0.5) @ hidden, 0) @ last


def test_nonsmooth_boundaries_are_averaged():
    problem = nonsmooth_problem()
    plain, averaged = attack(*problem, smoothing_steps=0), attack(*problem)
    more = attack(*problem, rounds=3)
    assert averaged.evaluations.mean() >= 120
    assert averaged.distortion.mean() < 0.99 * plain.distortion.mean()
    assert (more.distortion <= averaged.distortion).all()
    assert more.distortion.mean() < averaged.distortion.mean()
    further = more.by_stage[:, Stage.AVERAGE] - averaged.by_stage[:, Stage.AVERAGE]
    assert set(further.tolist()) == {2 * 2, 2 * 87}  # half of 175; two where it is smooth
    # The average begins with the minimiser's model, so that few steps lose nothing.
    few = attack(*problem, smoothing_steps=5)
    assert few.distortion.mean() < plain.distortion.mean()
    np.testing.assert_array_less(few.distortion, 1.05 * plain.distortion)


def test_a_budget_that_leaves_no_averaging_is_spent_on_descents_as_where_there_is_none():
    """Once the temperature was raised all the same, and fewer targets were reached."""
    problem = nonsmooth_problem()
    probed = attack(*problem, max_evaluations=40)
    plain = attack(*problem, max_evaluations=40, smoothing_steps=0)
    np.testing.assert_array_equal(probed.x_adv, plain.x_adv)


def test_smooth_boundaries_are_not_averaged(attacked):
    *_, result = attacked
    assert (result.by_stage[:, Stage.AVERAGE] > 0).mean() <= 0.1
    assert (result.by_stage[:, Stage.DESCEND] > 0).mean() <= 0.2
    assert np.median(result.evaluations) <= 30


def test_small_networks_with_relu_are_averaged_where_steps_are_refused():
    """Once they seemed smooth to noise that left no linear piece, and ended up to 2 % farther."""
    rng = np.random.default_rng(0)
    shapes = (40, 64), (64, 10)
    params = [np.float32(rng.normal(size=shape) * (2 / shape[0]) ** 0.5) for shape in shapes]
    x = rng.uniform(size=(64, 40)).astype(np.float32)
    farthest = np.argmin(relu_network(params, x), axis=1)
    settings = {}, {"smoothing_steps": 0}, {"smoothing_steps": 2}, {"max_evaluations": 40}
    result, plain, few, short = (
        minimal_adversarial(relu_network, params, x, farthest, AttackOptions(restart=False, **each))
        for each in settings
    )
    stages = result.by_stage > 0
    asked = stages[:, Stage.SQP] & stages[:, Stage.AVERAGE]
    assert asked.mean() >= 0.3 and stages[:, Stage.AVERAGE].mean() >= 0.5
    assert result.success.all() and plain.success.all()
    assert result.distortion[asked].mean() < 0.993 * plain.distortion[asked].mean()
    for each in (plain, short):  # nothing is asked that would change nothing
        assert (each.by_stage[:, Stage.PROBE] == 1).all()
    assert few.by_stage[few.by_stage[:, Stage.AVERAGE] > 0, Stage.AVERAGE].max() <= 2


def test_nan_ends_the_averaging():
    """Noise reaches the NaN; descents do not, as pixel 0 has no gradient."""
    params, x, _ = nonsmooth_problem(frequency=25)
    for array in params[:2]:
        array[0] = 0
    x[:, 0] = 0.5
    target = 1 - np.argmax(nonsmooth(params, x), axis=1)
    near = (*params[:3], np.float32(0.03))
    once = {"restart": False}  # or descents alone are followed by others, from elsewhere
    found, undisturbed = attack(near, x, target, **once), attack(params, x, target, **once)
    plain = attack(params, x, target, smoothing_steps=0, **once)
    assert np.isfinite(found.x_adv).all()
    was_averaged = undisturbed.by_stage[:, Stage.AVERAGE] > 0
    assert was_averaged.sum() >= 8
    met = was_averaged & (found.evaluations < undisturbed.evaluations / 2)
    assert met.sum() >= was_averaged.sum() / 2
    np.testing.assert_array_less(found.distortion, 1.01 * plain.distortion)
