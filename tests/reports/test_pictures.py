"""Pictures of images: what is seen where."""

import numpy as np
import pytest
from drawn import assert_png, share
from PIL import Image

from jaxadv.reports import pictures


@pytest.mark.parametrize("models, examples", [(1, 1), (3, 2)])
def test_example_images(tmp_path, models, examples):
    original = np.zeros((28, 28, 1), "float32")
    distorted = np.full((28, 28, 1), 0.5, "float32")
    groups = [[(original, distorted, "3 → 5")] * examples] * models
    pictures.example_images(tmp_path / "x.png", [f"model {i}" for i in range(models)], groups)
    pixels = assert_png(tmp_path / "x.png", (1.2 + 3.3 * examples, 0.5 + 1.35 * models))
    black, grey, red = (share(pixels, color) for color in [(0, 0, 0), (128,) * 3, (103, 0, 31)])
    assert black > 0.1  # the captions are black, too
    assert grey == pytest.approx(red, rel=0.02) and grey > 0.1


def test_difference_has_one_scale_per_row_and_survives_being_zero(tmp_path):
    x = np.full((28, 28), 0.5, "float32")
    groups = [[(x, x, "no change")], [(x, x + 0.125, "brighter")]]
    pictures.example_images(tmp_path / "x.png", ["first", "second"], groups)
    pixels = assert_png(tmp_path / "x.png", (4.5, 3.2))
    assert share(pixels, (103, 0, 31)) > 0.05  # the reddest red: the full scale of its row


def test_colours_are_drawn_in_colour_and_their_difference_around_grey(tmp_path):
    original = np.zeros((8, 8, 3), "float32")
    original[..., 0] = 1
    distorted = original + np.float32([-1, 0, 0.5])
    pictures.example_images(tmp_path / "x.png", ["one"], [[(original, distorted, "")]])
    pixels = assert_png(tmp_path / "x.png", (4.5, 1.85))
    colours = [(255, 0, 0), (0, 0, 128), (0, 128, 191)]  # original, distorted, difference
    shares = [share(pixels, colour) for colour in colours]
    assert min(shares) > 0.1 and max(shares) < 1.05 * min(shares)


def test_rows_of_images(tmp_path):
    rows = [[(np.full((5, 4, 1), grey, "float32"), "7")] * 3 for grey in (0.25, 0.75)]
    pictures.image_rows(tmp_path / "x.png", ["first", "second"], rows)
    pixels = assert_png(tmp_path / "x.png", (1.1 + 0.62 * 3, 0.78 * 2))
    dark, light = (share(pixels, (value,) * 3) for value in (64, 191))
    assert dark == pytest.approx(light, rel=0.05) and dark > 0.1


def test_rows_of_photographs_are_no_larger_than_pages_show_them(tmp_path):
    photograph = np.random.default_rng(0).uniform(size=(300, 300, 3)).astype("float32")
    pictures.image_rows(tmp_path / "x.jpg", ["one"], [[(photograph, "cat")] * 2])
    with Image.open(tmp_path / "x.jpg") as image:
        width, height = image.size
    assert 2 * 128 < width < 2.5 * 128 + 1.1 * pictures.DPI and 128 < height < 200


def test_magnified_differences(tmp_path):
    """Red, a difference of an eighth that fills the range of a colour, and what is seen last."""
    original = np.zeros((8, 8, 3), "float32")
    original[..., 0] = 1
    distorted = original + np.float32([-0.125, 0, 0.125])
    pictures.magnified_differences(tmp_path / "x.png", [[(original, distorted, "a", "b")]] * 2, 4)
    pixels = assert_png(tmp_path / "x.png", (4.5, 3.8))
    shares = [share(pixels, colour) for colour in [(255, 0, 0), (0, 128, 255), (223, 0, 32)]]
    assert min(shares) > 0.1 and max(shares) < 1.1 * min(shares)
