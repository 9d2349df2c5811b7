"""Distances to other classes, counted one by one."""

import numpy as np
import pytest

from jaxadv import Status
from jaxadv.measures import robust_accuracy

FOUND, ALREADY, NOT_FOUND, NOT_FINITE, _ = Status


def test_nearest_is_the_smallest_of_the_wrong_classes_that_were_reached():
    rng = np.random.default_rng(0)
    distortion = rng.uniform(0.1, 1, (50, 4)).astype("float32")
    status = rng.choice([FOUND, NOT_FOUND], size=(50, 4)).astype("int8")
    label = rng.integers(0, 4, 50).astype("int32")
    target = np.array([rng.permutation(4) for _ in range(50)], "int32")
    own = target == label[:, None]
    status[own], distortion[own] = ALREADY, 0
    success = status != NOT_FOUND
    chosen = robust_accuracy.nearest(target, label, distortion, success, status)
    for row, place in enumerate(chosen):
        wrong = [k for k in range(4) if target[row, k] != label[row]]
        assert place in wrong
        reached = [k for k in wrong if success[row, k]]
        if reached:
            assert success[row, place]
            assert distortion[row, place] == min(distortion[row, k] for k in reached)


def test_nearest_of_an_image_that_is_misclassified_is_where_it_is():
    target, label = np.arange(3, dtype="int32")[None], np.array([0], "int32")
    status = np.array([[FOUND, FOUND, ALREADY]], "int8")
    distortion = np.array([[0.1, 0.2, 0]], "float32")
    args = target, label, distortion, np.ones((1, 3), bool), status
    assert robust_accuracy.nearest(*args) == [2]


def test_nearest_without_labels_leaves_the_image_s_class():
    target, label = np.arange(3, dtype="int32")[None], np.array([-1], "int32")
    status = np.array([[FOUND, FOUND, ALREADY]], "int8")
    distortion = np.array([[0.3, 0.2, 0]], "float32")
    args = target, label, distortion, np.ones((1, 3), bool), status
    assert robust_accuracy.nearest(*args) == [1]


def test_radius():
    status = np.array([FOUND, ALREADY, NOT_FOUND, NOT_FINITE, Status.UNREADABLE], "int8")
    distortion = np.array([0.25, 0, 0.5, 0.5, 0], "float32")
    radius = robust_accuracy.radius(distortion, status <= ALREADY, status)
    np.testing.assert_array_equal(radius, [0.25, 0, np.inf, np.nan, np.nan])


@pytest.mark.parametrize("count", [0, 1, 200])
def test_accuracy_is_the_fraction_beyond(count):
    rng = np.random.default_rng(count)
    radius = rng.choice([0, 0.1, 0.2, 0.3, np.inf, np.nan], count)
    at = np.array([0, 0.1, 0.15, 0.3, 1])
    known = [value for value in radius if value == value]
    expected = [sum(value > each for value in known) / max(1, len(known)) for each in at]
    found = robust_accuracy.accuracy(radius, at)
    np.testing.assert_allclose(found, expected if known else 1)
