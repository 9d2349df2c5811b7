"""What is measured of photographs, on networks whose answers are known."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxadv import zoo
from jaxadv.attacks.results import AttackResult
from jaxadv.datasets.photographs import Photographs
from jaxadv.measures import photographs as measure
from jaxadv.zoo import LogitsOnly

RNG = np.random.default_rng(0)


def means(params, x):
    """The mean of each colour is a logit, and that of reds twice."""
    found = x.mean(axis=(1, 2)) * params
    return found[:, [0, 1, 2, 0]]


MODEL = zoo.Model("means", LogitsOnly(means, ""), np.ones(3, "float32"), 0, 0)


def photographs_of(*colours):
    files = []
    for colour in colours:
        file = io.BytesIO()
        Image.new("RGB", (3, 2), colour).save(file, "PNG")
        files.append(file.getvalue())
    names = tuple(f"{number}.png" for number in range(len(files)))
    return Photographs(names, np.array([0, 1, 3], np.int32), files.__getitem__)


def test_ranks_count_the_classes_before_the_label():
    given = photographs_of((9, 5, 1), (9, 5, 1), (9, 5, 1))
    assert measure.ranks(MODEL, given, 4).tolist() == [0, 2, 0]
    broken = MODEL._replace(params=np.float32([1, np.nan, 1]))
    assert (measure.ranks(broken, given, 4) > 0).all()


@pytest.mark.parametrize("side, other", [(24, 32), (32, 24), (30, 30)])
def test_differences_are_resized_as_pillow_does(side, other):
    r = RNG.normal(scale=0.01, size=(2, side, side, 3)).astype("float32")
    found = measure.resized(r, other, np.array([0.5, 0.25]))
    planes = [[Image.fromarray(each[..., c]) for c in range(3)] for each in r]
    bicubic = Image.Resampling.BICUBIC
    expected = [
        np.stack([plane.resize((other, other), bicubic) for plane in each], axis=-1)
        for each in planes
    ]
    for each, image, rms in zip(found, expected, (0.5, 0.25), strict=True):
        assert np.sqrt(np.mean(each**2)) == pytest.approx(rms, rel=1e-5)
        image = image * rms / np.sqrt(np.mean(image**2))
        np.testing.assert_allclose(each[3:-3, 3:-3], image[3:-3, 3:-3], atol=0.01 * rms)


def attacked(x, x_adv, success):
    nothing = np.zeros(len(x))
    distortion = np.sqrt(np.mean((x_adv - x) ** 2, axis=(1, 2, 3)))
    found = AttackResult(x_adv, success, distortion, *[nothing] * 6)
    return measure.Attacked(MODEL, x, found)


PROBLEMS = measure.Problems(*(np.array(a) for a in ([0, 1], [0, 0], [1, 2], [True, False])))


def grey(*colours):
    return np.stack([np.broadcast_to(np.float32(c), (4, 4, 3)) for c in colours])


def test_what_survives_rounding():
    """Greens lead by 0.3 of a step of 8 bits, which is rounded off, or by 0.6, which is not."""
    step = 1 / 255
    x = grey((0.2, 0.2 - 0.7 * step, 0), (0.2, 0, 0.2 - 0.7 * step))
    x_adv = grey((0.2, 0.2 + 0.3 * step, 0), (0.2, 0, 0.2 + 0.3 * step))
    found = measure.after_rounding(attacked(x, x_adv, np.ones(2, bool)), PROBLEMS, (1, 1.4))
    assert found.tolist() == [[[True] * 2, [False] * 2], [[True] * 2, [True] * 2]]


def test_failures_are_not_fed():
    x = grey((0.5, 0.45, 0), (0.5, 0, 0.4))
    x_adv = grey((0.5, 0.52, 0), (0.5, 0, 0.45))
    results = [attacked(x, x_adv, np.array([True, False]))]
    rows = dict(measure.transfer(results, PROBLEMS, 0.001, seed=0))
    assert list(rows) == ["means", "means to 0.001", "noise 0.001"]
    assert rows["means"][1:] == ([1.0], [1.0]) and rows["means to 0.001"][1:] == ([0.0], [0.0])
    assert rows["means"].distortion == pytest.approx(0.07 / 3**0.5)
    assert rows["noise 0.001"] == (0.001, [0.0], [None])
    nothing = [attacked(x, x_adv, np.zeros(2, bool))]
    assert dict(measure.transfer(nothing, PROBLEMS, 0.001, seed=0))["means"] == (0, [None], [None])
