"""Crops of photographs, and photographs that cannot be cropped."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxadv.datasets import crops
from jaxadv.datasets.natural import Files

RAMP = np.arange(40 * 30, dtype="uint16").reshape(30, 40) // 5  # of greys, 0 to 239


def png(array, mode=None):
    file = io.BytesIO()
    Image.fromarray(array.astype("uint8"), mode).save(file, "PNG")
    return file.getvalue()


def in_colour(array):
    return png(np.stack([array] * 3, axis=-1))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(in_colour(RAMP))
    (tmp_path / "b.png").write_bytes(png(RAMP))
    return tmp_path


def test_crops_are_squares_of_any_place_and_scale(folder):
    opened = crops.open_folder(folder, 200, 10, 0)
    found = crops.read_crops(opened, 200, 0)
    assert found.shape == (200, 10, 10, 1) and found.dtype == np.float32
    assert len(opened) == 2
    # A ramp rises by 1/5 a pixel, so that the rise along a crop tells its size, and its corner
    # where it was: all of the photograph is met, at all scales from 10 to 30 pixels.
    sides = 255 * (found[:, -1] - found[:, 0]).mean(axis=(1, 2)) / 0.9 / (40 / 5)
    assert 9.5 < sides.min() < 11 and 27 < sides.max() < 31
    assert np.median(sides) == pytest.approx(np.sqrt(10 * 30), rel=0.15)
    assert found.min() < 0.1 and found.max() > 0.85


def test_crops_depend_on_seed_and_place_alone(folder):
    first, again, other = (
        crops.read_crops(crops.open_folder(folder, 12, 10, seed), 12, seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).all(axis=(1, 2, 3)).any()


def test_greys_and_colours_are_cropped_alike(folder):
    grey, colour = (Files(["x"], [content]) for content in (png(RAMP), in_colour(RAMP)))
    found = [
        crops.read_crops(crops.open_crops(each, "x", 5, 10, 0), 5, 0) for each in (grey, colour)
    ]
    np.testing.assert_array_equal(*found)


def test_of_more_photographs_than_crops_some_are_read():
    photographs = Files([str(i) for i in range(40)], [png(0 * RAMP + 6 * i) for i in range(40)])
    found = crops.read_crops(crops.open_crops(photographs, "many", 4, 10, 0), 4, 0)
    assert sorted(np.unique((found * 255).round() // 6)) == [0, 13, 26, 39]


def test_photographs_that_are_too_small_are_refused_by_name(folder):
    (folder / "c.png").write_bytes(png(RAMP[:9]))
    with pytest.raises(ValueError, match=r"c\.png: it has 40 × 9 pixels, expected 10 on each side"):
        crops.open_folder(folder, 6, 10, 0)


def test_photographs_that_are_broken_are_refused_by_name_where_they_are_read():
    """Also those that are not looked at when the folder is opened."""
    contents = [png(RAMP)] * 40
    contents[1] = contents[1][:-40]
    photographs = Files([f"{i}.png" for i in range(40)], contents)
    opened = crops.open_crops(photographs, "mine", 80, 10, 0)
    with pytest.raises(ValueError, match=r"^mine: 1\.png: "):
        crops.read_crops(opened, 80, 0)


def test_empty_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="PNG and JPEG images are neither in nor beside"):
        crops.open_folder(tmp_path, 4, 10, 0)
    with pytest.raises(ValueError, match="nothing is not a folder"):
        crops.open_folder(tmp_path / "nothing", 4, 10, 0)
