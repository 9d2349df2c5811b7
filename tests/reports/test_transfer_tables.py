"""The tables of transfer and robustness, beside the paper's."""

import numpy as np
import pytest
import scipy.stats

from jaxadv.measures import transfer
from jaxadv.measures.robustness import Robustness
from jaxadv.reports import paper, robustness
from jaxadv.reports import transfer as report
from jaxadv.zoo import Model

RUN = {
    "dataset": "mnist",
    "images": 4,
    "seed": 3,
    "device": "1 × cpu",
    "seconds": {"total": 12.3},
}


def result(*names):
    """Of a first model that is fooled by all of its examples, and a second that is by none."""
    models = [
        Model(name, None, None, train_error, test_error)
        for name, train_error, test_error in zip(names, (0.25, 0.0), (0.125, 0.5), strict=True)
    ]
    distortion = np.array([0.1, 0.15, 0.12, 0.1236])
    spent = np.array([90.0, 110, 100, 98.4])
    examples = [
        transfer.Examples(distortion, np.ones(4, bool), spent, 2 * spent, []),
        transfer.Examples(distortion, np.zeros(4, bool), 7 + 0 * spent, spent, []),
    ]
    error = np.array([[1.0, 0.5], [0.25, 0.0]])
    controls = {"noise 0.1": transfer.Fed(0.0999, [0.25, 0.75])}
    return transfer.TransferResult(models, np.zeros(4, int), examples, error, controls)


def figures(dataset="mnist"):
    published = paper.for_dataset(dataset, paper.TABLES_1_AND_2)
    return report.figures(result("FC10(1)", "mine"), published, seed=0) | RUN | {"dataset": dataset}


FIGURES = figures()


def figures_on_halves(dataset="mnist"):
    published = paper.for_dataset(dataset, paper.TABLES_3_AND_4)
    found = report.figures(result("FC100-100-10", "mine'"), published, seed=0)
    for model, part in zip(found["models"], ("P1", "P2"), strict=True):
        model |= {"trained_on": part, "part_1_error": 0.0, "part_2_error": 0.0312}
    return found | RUN | {"dataset": dataset}


def test_mean_distortions_have_intervals():
    """Those of the bootstrap of SciPy, which draws others; None where nothing succeeded."""
    fooled, robust = FIGURES["models"]
    values = result("FC10(1)", "mine").examples[0].distortion
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(fooled["distortion_interval"], theirs, atol=1e-3)
    assert robust["distortion"] is robust["distortion_interval"] is None


def test_table_1_compares_with_the_paper():
    table = report.table_1(FIGURES)
    assert table.rows == [
        ["FC10(1)", "25.00 (21.2)", "12.50 (20)", "0.123 (0.14)", "100.0", "100"],
        ["mine", "0.00", "50.00", "–", "0.0", "7"],
    ]
    assert len(table.header) == 6


def test_table_2_compares_with_the_paper():
    table = report.table_2(FIGURES)
    assert table.header[1:] == ["FC10(1)", "mine", "RMS"]
    assert table.rows == [
        ["FC10(1)", "100.0 (100)", "50.0", "0.123"],
        ["mine", "25.0", "0.0", "–"],
        ["noise 0.1", "25.0 (18.3)", "75.0", "0.100"],
    ]


def test_table_3_compares_with_the_paper():
    assert report.table_3(figures_on_halves()).rows == [
        ["FC100-100-10", "P1", "0.00 (0)", "3.12 (2.4)", "12.50 (2)", "0.123 (0.062)", "100.0"],
        ["mine'", "P2", "0.00", "3.12", "50.00", "–", "0.0"],
    ]


def test_table_4_compares_with_the_paper():
    assert report.table_4(figures_on_halves()).rows == [
        ["FC100-100-10", "100.0 (100)", "50.0", "0.123"],
        ["mine'", "25.0", "0.0", "–"],
        ["noise 0.1", "25.0 (2.6)", "75.0", "0.100"],
    ]


def test_other_data_sets_are_not_compared_with_the_paper():
    ours, halves = figures("fashion_mnist"), figures_on_halves("fashion_mnist")
    tables = [
        *(report.table_1(ours), report.table_2(ours)),
        *(report.table_3(halves), report.table_4(halves)),
    ]
    assert not [cell for table in tables for row in table.rows for cell in row[1:] if "(" in cell]
    assert "paper" in report.note(FIGURES, "training")
    assert "paper" not in report.note(ours, "training")


def test_robustness_table():
    kinds = {
        "originals": Robustness(0.0, 0.0, [0.0, 0.125]),
        "examples": Robustness(1.0, 0.5, [0.625, 0.75]),
        "amplified": Robustness(1.0, 0.875, [0.25, 0.375]),
    }
    found = robustness.figures({"mine": kinds}, amplification=1.5, noise_stddevs=(0.1, 0.2))
    table = robustness.table({"robustness": found})
    assert table.header == ["examples", "as is", "8 bits", "noise 0.1", "noise 0.2"]
    assert table.rows == [
        ["mine", "100.0", "50.0", "62.5", "75.0"],
        ["mine, 1.5 r", "100.0", "87.5", "25.0", "37.5"],
    ]


@pytest.mark.parametrize("part", ["4 test images", " mnist", "seed 3", "1 × cpu", "12 s"])
def test_note_tells_the_run(part):
    assert part in report.note(FIGURES, "test")
