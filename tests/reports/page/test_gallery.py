"""Images as PNG: what is shown is what is there."""

import numpy as np
import pytest
from reading import pixels

from jaxadv.reports.page import gallery


def test_original_difference_and_distorted():
    rng = np.random.default_rng(0)
    original = np.float32(rng.integers(0, 256, (6, 5, 3)) / 255)
    distorted = np.float32((original + rng.uniform(-0.004, 0.003, original.shape)).clip(0, 1))
    shown = gallery.example(original, distorted, index=3)
    first, difference, last = map(pixels, shown["images"])
    np.testing.assert_array_equal(first, np.rint(255 * original))
    np.testing.assert_array_equal(last, np.rint(255 * distorted))
    r = distorted.astype(float) - original
    assert np.abs(difference / 255 - 0.5 - shown["factor"] * r).max() <= 0.5 / 255 + 1e-9
    assert 0.45 < shown["factor"] * np.abs(r).max() <= 0.5
    assert shown["index"] == 3


def test_distorted_alone():
    shown = gallery.example(None, np.full((4, 4), 0.2, "float32"), index=0)
    assert shown["factor"] is None
    [only] = map(pixels, shown["images"])
    assert np.all(only == 51)


@pytest.mark.parametrize("largest", [1e-9, 0.003, 0.0499, 0.5, 1.0])
def test_no_difference_leaves_the_range(largest):
    factor = gallery.amplification(np.array([0, -largest]))
    assert 0.45 < factor * largest <= 0.5 and float(f"{factor:.2g}") == factor


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
def test_differences_that_cannot_be_amplified(value):
    assert gallery.amplification(np.array([value])) == 1


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((28, 28), (28, 28)),
        ((28, 28, 1), (28, 28)),
        ((1, 28, 28), (28, 28)),
        ((3, 8, 9), (8, 9, 3)),
        ((8, 9, 3), (8, 9, 3)),
        ((8, 9, 4), (8, 9)),
        ((9,), (3, 3)),
        ((10,), (1, 10)),
        ((), (1, 1)),
        ((2, 2, 2, 2), (4, 4)),
    ],
)
def test_any_shape_is_shown(shape, expected):
    image = np.random.default_rng(0).uniform(size=shape)
    assert pixels(gallery.png(gallery.planes(image))).shape == expected


def test_what_is_no_number_is_black():
    assert gallery.planes(np.array([[np.nan, 2.0, -1.0]])).tolist() == [[0, 255, 0]]
