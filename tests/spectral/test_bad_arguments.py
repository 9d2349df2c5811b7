"""What norms and bounds refuse."""

import numpy as np
import pytest

from jaxadv.spectral import conv_operator_bound, conv_operator_norm, dense_operator_norm

KERNEL = np.ones((3, 3, 2, 4))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kernel": np.ones((3, 3))}, r"kernel must have the shape .*, got \(3, 3\)"),
        ({"kernel": np.ones((0, 3, 2, 4))}, "not empty"),
        ({"kernel": KERNEL * 1j}, "kernel must be real, got complex"),
        ({"kernel": KERNEL * np.nan}, "kernel must be finite"),
        ({"kernel": KERNEL * np.inf}, "kernel must be finite"),
        ({"strides": 0}, "strides must be at least 1, one integer or 2, got 0"),
        ({"strides": (1, -1)}, r"strides must be at least 1.* got \(1, -1\)"),
        ({"strides": 1.5}, "strides must be .* got 1.5"),
        ({"strides": (1, 1, 1)}, "strides must be .* one integer or 2"),
        ({"dilation": 0}, "dilation must be at least 1"),
        ({"groups": 3}, "groups must divide the 4 features, got 3"),
        ({"groups": 0}, "groups must divide the 4 features, got 0"),
        ({"method": "svd"}, r"method must be one of \['exact', 'gram', 'power'\], got 'svd'"),
        ({"method": "gram", "iterations": 0}, "iterations must be .* got 0"),
    ],
)
@pytest.mark.parametrize("function", [conv_operator_norm, conv_operator_bound])
def test_bad_input(function, changes, message):
    changes = {"kernel": KERNEL} | changes
    with pytest.raises(ValueError, match=message):
        function(changes.pop("kernel"), 6, **changes)


@pytest.mark.parametrize(
    "grid, strides, message",
    [
        (0, 1, "grid must be at least 1"),
        ((6, 6, 6), 1, "grid must be .* one integer or 2"),
        (2, 3, r"grid must be a multiple of strides \(3, 3\) on each axis, got \(2, 2\)"),
        ((6, 7), 2, r"grid must be a multiple .* got \(6, 7\)"),
    ],
)
def test_bad_grid(grid, strides, message):
    with pytest.raises(ValueError, match=message):
        conv_operator_norm(KERNEL, grid, strides=strides)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"input_shape": 0}, "input_shape must be at least 1"),
        ({"padding": "FULL"}, 'padding must be "SAME", "VALID", .* got \'FULL\''),
        ({"padding": -1}, "padding must be .* got -1"),
        ({"padding": (1, (2, -1))}, "padding must be .* got"),
        ({"padding": (1, 1, 1)}, "padding must be .* got"),
        ({"method": "power"}, '"power" is no upper bound'),
    ],
)
def test_bad_settings_of_a_bound(changes, message):
    with pytest.raises(ValueError, match=message):
        conv_operator_bound(**{"kernel": KERNEL, "input_shape": 6} | changes)


@pytest.mark.parametrize("matrix", [np.ones(3), np.ones((2, 0)), np.ones((2, 2, 2))])
def test_bad_matrix(matrix):
    with pytest.raises(ValueError, match=r"matrix must have the shape \(m, n\), not empty"):
        dense_operator_norm(matrix)
