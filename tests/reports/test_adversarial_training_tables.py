"""Errors of trainings on adversarial examples, and their differences, as tables."""

import numpy as np
import pytest

from jaxadv.measures.adversarial_training import Trained
from jaxadv.networks import mlp
from jaxadv.reports import adversarial_training as report
from jaxadv.zoo import Model

NOTHING = np.full((2, 3), np.nan)


def trained(way, *errors):
    models = [Model(f"net+{way}", mlp(), {}, 0.001, error, seconds=2.0) for error in errors]
    return Trained(models, np.array(errors), *[NOTHING] * 3, accuracy=np.ones((2, 1)))


@pytest.fixture
def figures():
    ways = [trained("decay", 0.016, 0.018), trained("input", 0.012, 0.013)]
    return report.figures(ways, [1e6, 3e6], range(2), [0.0]) | {"settings": {"validation": False}}


def test_errors(figures):
    table = report.table(figures)
    assert table.header[:3] == ["training", "test %", "train %"]
    assert table.rows[1] == [
        *("net+input", "1.25 ± 0.05", "0.10", "2", "3.0M"),
        *["–"] * 3,
    ]


def test_errors_on_held_out_images_are_named_so(figures):
    figures["settings"]["validation"] = True
    assert report.table(figures).header[1] == "validation %"


def test_differences_are_those_of_seeds(figures):
    """By 0.4 and 0.5 points: with one degree of freedom t is 9, and p 2 arccot(9) / π."""
    table = report.difference_table(figures)
    assert table.header[1:3] == ["less decay", "p (seeds)"]
    assert table.rows[0] == ["net+decay", *["–"] * 4, "+0.45 [-0.19, 1.09]", "0.07 (16)"]
    assert table.rows[1] == ["net+input", "-0.45 [-1.09, 0.19]", "0.07 (16)", *["–"] * 4]
