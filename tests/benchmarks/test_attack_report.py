"""Figures of the benchmark of attacks, and how its table shows them."""

import numpy as np
import pytest


@pytest.fixture
def report():
    import attack_report

    return attack_report


def test_interval_of_a_common_factor_is_that_factor(report):
    """As an image keeps its best when it is drawn: apart, the intervals would be wide."""
    best = np.random.default_rng(1).uniform(0.5, 2, size=50)
    np.testing.assert_allclose(report.ratio_interval(1.25 * best, best), 1.25, rtol=1e-12)


def test_interval_of_many_images_is_that_of_the_normal_distribution(report):
    rng = np.random.default_rng(2)
    best = rng.uniform(0.5, 2, size=1000)
    distance = best * (1 + rng.exponential(0.1, size=1000))
    ratio = distance.mean() / best.mean()
    error = np.std(distance - ratio * best) / np.sqrt(1000) / best.mean()
    low, high = report.ratio_interval(distance, best)
    assert low - ratio == pytest.approx(-1.96 * error, rel=0.1)
    assert high - ratio == pytest.approx(1.96 * error, rel=0.1)


def test_one_image_has_no_interval(report):
    assert report.ratio_interval(np.ones(1), np.ones(1)) is None


def test_comparison_is_over_the_images_that_were_solved(report):
    row = report.compared(np.array([2.0, np.inf, 4.0]), np.array([1.0, 1.0, 3.0]))
    assert row["ratio"] == 1.5 and row["mean_rms"] == row["median_rms"] == 3
    assert row["ratio_interval"] == pytest.approx([4 / 3, 2])
    row = report.compared(np.full(3, np.inf), np.ones(3))
    assert row["ratio"] is row["ratio_interval"] is row["mean_rms"] is None


def test_table_has_the_interval_beside_the_ratio(report):
    row = {
        "images": 20,
        "success": {"batch": 1.0, "single": 0.95, "float64": 1.0},
        **{"mean_rms": 0.0012, "median_rms": 0.001, "ratio": 1.0011},
        **{"ratio_interval": [1.0003, 1.00244], "optimality": 0.99, "gradients": 72.4},
        **{"images_per_second": 123.4, "relative_speed": 7.0, "compile_seconds": 4.56},
        **{"bare_gradients": None, "utilisation": None},
    }
    alone = row | {"ratio_interval": None}
    unsolved = alone | {"mean_rms": None, "median_rms": None, "ratio": None, "optimality": None}
    table = report.as_table("CNN", {"ours": row, "alone": alone, "unsolved": unsolved})
    first, second, third = (dict(zip(table.header, cells, strict=True)) for cells in table.rows)
    ratio = "mean ‖r‖ / mean best (95 %)"
    assert first == {
        **{"attack": "ours", "images": "20", "success (batch, single, float64)": "100 95 100"},
        **{"mean RMS": "0.00120", "median RMS": "0.00100", ratio: "1.0011 (1.0003–1.0024)"},
        **{"optimality": "0.9900", "gradients": "72", "images/s": "123", "× PDGD 500": "7"},
        **{"compile s": "4.6", "bare gradients": "–", "utilisation": "–"},
    }
    assert second[ratio] == "1.0011" and third[ratio] == "–"
