"""Attacks towards all classes, and the nearest few."""

import jax.numpy as jnp
import numpy as np
import pytest
from linear_problems import linear, linear_problem

from jaxadv import AttackOptions, Status, all_targets, untargeted
from jaxadv.attacks import several_targets as several


def test_untargeted_attacks_few_classes(monkeypatch):
    """The nearest, not what seems so at x; and where five gradients mistake it, another one."""
    seen = []
    attack = several.queues.attack

    def spied(logits_fn, params, x, target, *more):
        seen.append(target.tolist())
        return attack(logits_fn, params, x, target, *more)

    def logits(distance, x):  # class 1 is at 0.138, farther than it seems at x, class 3 far
        a, b = x[:, 0] - 0.5, x[:, 1] - 0.5
        return jnp.stack([0 * a, a - 0.1 - 2 * a**2, b - distance, -a - 0.3], axis=1)

    monkeypatch.setattr(several.queues, "attack", spied)
    x = np.full((1, 2), 0.5, np.float32)
    for distance, attacked in (0.105, [[2]]), (0.132, [[1], [2]]):
        seen.clear()
        result = untargeted(logits, np.float32(distance), x, np.array([0]))
        assert seen == attacked and result.target == 2 and result.status == Status.SUCCESS
        np.testing.assert_allclose(result.distortion, distance / np.sqrt(2), rtol=1e-3)


def test_untargeted_finds_x_already_wrong_among_several_classes():
    """Although the boundary to a third class, which is linear too, looks nearer than r = 0."""

    def logits(params, x):
        return jnp.stack([x[:, 0], 1 + 10 * x[:, 0], 0.95 + x[:, 1] - x[:, 1]], axis=1)

    plain = AttackOptions(smoothing_steps=0)
    x = np.full((1, 2), 0.1, np.float32)
    result = untargeted(logits, None, x, np.array([0]), plain, classes=1)
    assert (result.status, result.target, result.distortion) == (Status.ALREADY_TARGET, 1, 0)
    both = untargeted(logits, None, x, np.array([0]), plain)
    assert both.target == 1 and both.evaluations == 2 * several.STEPS + 1  # to rank, and at x


def test_untargeted_leaves_the_label_where_most_classes_are_masked():
    """Which once tied with those masked by -∞, was attacked, and reached by r = 0."""

    def logits(params, x):
        return jnp.concatenate([x, jnp.full((len(x), 3), -jnp.inf)], axis=1)

    x = np.array([[0.3, 0.5], [0.5, 0.3]], np.float32)
    label = np.array([1, 0])
    result = untargeted(logits, None, x, label, AttackOptions(smoothing_steps=0))
    assert result.success.all()
    np.testing.assert_array_equal(result.target, 1 - label)
    np.testing.assert_allclose(result.distortion, 0.1, rtol=1e-3)


@pytest.mark.parametrize("scale", [1, -1])
def test_untargeted_passes_over_what_the_box_makes_unreachable(scale):
    """Once, the class that seemed nearest was the only one attacked: class 1 of white images."""

    def logits(params, x):
        brightness = 0.5 + scale * (x.mean(axis=1) - 0.5)
        return jnp.stack([0 * brightness, brightness - 1.05, 0.5 - brightness], axis=1)

    x = np.full((3, 4), 0.5 + scale / 2, np.float32)
    result = untargeted(logits, None, x, np.zeros(3, int))
    assert result.success.all() and (result.target == 2).all()
    np.testing.assert_allclose(result.distortion, 0.5, rtol=1e-3)


def test_untargeted_looks_farther_where_what_is_near_is_not_reached():
    """The logit of class 1 rises at x, and falls before it leads."""

    def logits(params, x):
        a, b = x[:, 0] - 0.5, x[:, 1] - 0.5
        return jnp.stack([0 * a, a - 0.1 - 8 * a**2, b - 0.3], axis=1)

    x = np.full((1, 2), 0.5, np.float32)
    result = untargeted(logits, None, x, np.array([0]))
    assert result.success.all() and result.target == 2
    np.testing.assert_allclose(result.distortion, 0.3 / np.sqrt(2), rtol=1e-3)


@pytest.mark.parametrize("classes", [0, 2])
def test_untargeted_checks_the_number_of_classes(classes):
    params, x, target = linear_problem(3)
    with pytest.raises(ValueError, match=f"classes must be from 1 to 1, got {classes}"):
        untargeted(linear, params, x, target, classes=classes)


@pytest.mark.parametrize("attack", [all_targets, untargeted])
def test_progress_of_several_targets_counts_images(attack, monkeypatch):
    params, x, label = linear_problem(21)
    seen = []
    monkeypatch.setattr(several, "PROBLEMS", 16)
    attack(linear, params, x, *[label][: attack is untargeted], progress=seen.append)
    assert sum(seen) == 21 and 16 in np.cumsum(seen)
