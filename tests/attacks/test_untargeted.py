"""Attacks towards all classes, and the nearest few."""

import numpy as np
import pytest
from linear_problems import linear, linear_problem

from jaxadv import Status, all_targets, untargeted
from jaxadv.attacks import several_targets as several

CLASSES, PIXELS = 5, 4


def quadratic(params, x):
    """Logits of five classes, from what four pixels differ by from a half."""
    constants, slopes, squares = params
    return constants + (x - 0.5) @ slopes + (x - 0.5) ** 2 @ squares


def logits_of(*classes):
    """Parameters for (constant, slopes[, squares]) of each class; the others are masked by -∞."""
    constants = np.full(CLASSES, -np.inf, np.float32)
    slopes, squares = np.zeros((2, PIXELS, CLASSES), np.float32)
    for index, (constant, *curves) in enumerate(classes):
        constants[index] = constant
        for matrix, values in zip((slopes, squares), curves, strict=False):
            matrix[: len(values), index] = values
    return constants, slopes, squares


def images(*pixels):
    """Images of these pixels, and of such as no class depends on."""
    x = np.full((len(pixels), PIXELS), 0.5, np.float32)
    for image, values in zip(x, pixels, strict=True):
        image[: len(values)] = values
    return x


@pytest.fixture
def attacks(monkeypatch):
    """The attacks made: (targets, result) each."""
    made, attack = [], several.queues.attack

    def spied(logits_fn, params, x, target, *more):
        made.append((target.tolist(), attack(logits_fn, params, x, target, *more)))
        return made[-1][1]

    monkeypatch.setattr(several.queues, "attack", spied)
    return made


@pytest.mark.parametrize(
    "distance, classes, attacked",
    [(0.105, None, [[2]]), (0.105, 1, [[2]]), (0.134, None, [[1], [2]])],
)
def test_untargeted_attacks_few_classes(attacks, distance, classes, attacked):
    """The nearest, not what seems so at x; and where five gradients mistake it, another one."""
    # Class 1 is at 0.138, farther than it seems at x, class 3 far.
    params = logits_of((0, []), (-0.1, [1], [-2]), (-distance, [0, 1]), (-0.3, [-1]))
    result = untargeted(quadratic, params, images([]), np.array([0]), classes=classes)
    assert [targets for targets, _ in attacks] == attacked
    assert result.target == 2 and result.status == Status.SUCCESS
    np.testing.assert_allclose(result.distortion, distance / 2, rtol=1e-3)
    gradients = 4 * several.STEPS + sum(found.evaluations for _, found in attacks)
    assert result.evaluations == result.by_stage.sum() == gradients
    assert result.cost >= gradients
    assert result.evaluations.dtype == result.by_stage.dtype == np.int32  # as other attacks' are


def test_untargeted_attacks_classes_of_which_linear_models_tell_nothing(attacks):
    """Class 2 has no gradient at x; but not class 3, which is masked."""
    params = logits_of((0, []), (-0.3, [1]), (-0.01, [], [0, 1]), (-1e9, []))
    untargeted(quadratic, params, images([]), np.array([0]))
    assert [targets for targets, _ in attacks] == [[1], [2]]


def test_untargeted_finds_x_already_wrong_among_several_classes():
    """Although the boundary to a third class, which is linear too, looks nearer than r = 0."""
    params = logits_of((0.5, [1]), (6, [10]), (0.95, []))
    x, label = images([0.1]), np.array([0])
    result = untargeted(quadratic, params, x, label, classes=1)
    assert (result.status, result.target, result.distortion) == (Status.ALREADY_TARGET, 1, 0)
    all_four = untargeted(quadratic, params, x, label)
    assert all_four.target == 1
    assert all_four.evaluations == 4 * several.STEPS + 1  # to rank, and at x


def test_untargeted_leaves_the_label_where_most_classes_are_masked():
    """Which once tied with those masked by -∞, was attacked, and reached by r = 0."""
    params, label = logits_of((0.5, [1]), (0.5, [0, 1])), np.array([1, 0])
    result = untargeted(quadratic, params, images([0.3, 0.5], [0.5, 0.3]), label)
    assert result.success.all()
    np.testing.assert_array_equal(result.target, 1 - label)
    np.testing.assert_allclose(result.distortion, 0.1 / np.sqrt(2), rtol=1e-3)


@pytest.mark.parametrize("scale", [1, -1])
def test_untargeted_passes_over_what_the_box_makes_unreachable(attacks, scale):
    """Once, the class that seemed nearest was the only one attacked: class 1 of white images."""
    mean = np.full(PIXELS, scale / PIXELS)
    params = logits_of((0, []), (-0.55, mean), (0, -mean))
    x = np.full((3, PIXELS), 0.5 + scale / 2, np.float32)
    result = untargeted(quadratic, params, x, np.zeros(3, int))
    assert result.success.all() and (result.target == 2).all()
    np.testing.assert_allclose(result.distortion, 0.5, rtol=1e-3)
    assert attacks[0][0] == [2, 2, 2]


def test_untargeted_looks_farther_where_what_is_near_is_not_reached():
    """The logit of class 1 rises at x, and falls before it leads."""
    params = logits_of((0, []), (-0.1, [1], [-8]), (-0.3, [0, 1]))
    result = untargeted(quadratic, params, images([]), np.array([0]))
    assert result.success.all() and result.target == 2
    np.testing.assert_allclose(result.distortion, 0.15, rtol=1e-3)


@pytest.mark.parametrize(
    "classes, expected", [(0, "from 1 to 1"), (2, "from 1 to 1"), (True, "of type int")]
)
def test_untargeted_checks_the_number_of_classes(classes, expected):
    params, x, target = linear_problem(3)
    with pytest.raises(ValueError, match=f"classes must be {expected}, got {classes}"):
        untargeted(linear, params, x, target, classes=classes)


@pytest.mark.parametrize("attack, parts", [(all_targets, {8, 16}), (untargeted, {16})])
def test_progress_of_several_targets_counts_images(attack, parts, monkeypatch):
    params, x, label = linear_problem(21)
    seen = []
    monkeypatch.setattr(several, "PROBLEMS", 16)
    attack(linear, params, x, *[label][: attack is untargeted], progress=seen.append)
    assert sum(seen) == 21 and parts < set(np.cumsum(seen).tolist())
