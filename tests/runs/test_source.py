"""Where images come from, as settings."""

import numpy as np
import pytest

from jaxadv.runs.source import Settings
from jaxadv.storage.errors import InputError


def test_images_are_where_the_settings_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((3, 6, 4, 1), np.uint8))
    settings = Settings(data="x.npy")
    assert settings.opened().image_shape == (6, 4, 1)
    assert settings.place() == str(tmp_path / "x.npy")
    assert Settings(data="x.npy", size=2).opened().image_shape == (2, 2, 1)
    assert Settings(data="mine:images").place() == "mine:images"


@pytest.mark.parametrize("data", ["nowhere", "nowhere:images", "tfds:none/train", ""])
def test_places_that_are_none(data, tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        Settings(data=data, data_dir=tmp_path).opened()


def test_size_is_positive():
    with pytest.raises(InputError, match="size must be at least 1, got 0"):
        Settings(data="x.npy", size=0).opened()


@pytest.mark.parametrize("out", [".", "photos", "photos/out", "photos/a/../out"])
def test_results_do_not_lie_among_the_images(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "a").mkdir(parents=True)
    settings = Settings(data="photos")
    if out == ".":
        settings.check_source(out)
    else:
        with pytest.raises(ValueError, match="out must not be in the folder of the data"):
            settings.check_source(out)
