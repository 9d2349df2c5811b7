"""Trainings under control, side by side."""

import numpy as np

from jaxadv.datasets import Dataset
from jaxadv.measures.certificates import TIGHTEST, Bounds
from jaxadv.measures.control import trainings
from jaxadv.networks import mlp
from jaxadv.zoo import Model

TEST = Dataset(np.zeros((5, 2, 2, 1), "float32"), np.array([0, 1, 2, 0, 1]))
NETWORK = mlp(classes=3, input_shape=(2, 2, 1))


def bounds(seed, control, classes, found):
    """On the first three images; all test images are taken for class 1."""
    bias = np.array([0, 1, 0], "float32")
    params = {"softmax": {"kernel": np.zeros((4, 3), "float32"), "bias": bias}}
    model = Model(f"{control} {seed}", NETWORK, params, 0.0, 0.0)
    found = np.array(found, float)
    return Bounds(model, np.array(classes), found, {TIGHTEST: found / 2}, {})


def test_images_are_compared_that_all_networks_of_a_seed_classify_and_leave():
    same = [[9, 2, 3], [4, 9, 5], [7, 6, 9]]  # nearest wrong class: 2, 4, 6
    lone = [[9, 1, 8], [np.inf, 9, np.inf], [8, 3, 9]]  # 1, none, 3
    first = [bounds(0, "plain", [0, 1, 2], same), bounds(0, "limit", [0, 1, 1], same)]
    second = [bounds(1, "plain", [0, 1, 2], same), bounds(1, "limit", [0, 1, 2], lone)]
    plain, limit = trainings([first, second], TEST)
    assert [model.name for model in limit.models] == ["limit 0", "limit 1"]
    nan = np.nan
    np.testing.assert_array_equal(plain.found, [[2, 4, nan], [2, nan, 6]])
    np.testing.assert_array_equal(limit.found, [[2, 4, nan], [1, nan, 3]])
    np.testing.assert_array_equal(limit.certified, limit.found / 2)
    np.testing.assert_array_equal(plain.test_error, [[1, 0, 1, 1, 0]] * 2)
