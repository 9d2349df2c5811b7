"""Plots: their colours tell the figures."""

import matplotlib
import numpy as np
import pytest
from drawn import assert_png, share

from jaxadv.reports import plots


@pytest.mark.parametrize("panels", [1, 2])
@pytest.mark.parametrize("rows, columns", [(1, 1), (4, 3)])
def test_heat_maps(tmp_path, panels, rows, columns):
    values = np.linspace(0, 1, rows * columns).reshape(rows, columns)
    names = [f"model {index}" for index in range(max(rows, columns))]
    titles = {f"panel {index}": values for index in range(panels)}
    plots.heat_maps(tmp_path / "map.png", titles, names[:rows], names[:columns])
    inches = 3 + 0.75 * columns * panels, 2.6 + 0.45 * rows
    pixels = assert_png(tmp_path / "map.png", inches)
    for value in values.flat:  # each has a cell of its colour
        color = 255 * np.array(matplotlib.colormaps["magma"](value)[:3])
        assert share(pixels, color) > 0.05 * panels / values.size


def test_curves(tmp_path):
    x = [0.01, 0.1, 1.0]
    lines = {"first": [0, 50, 100], "second": [1, 2, 3]}
    plots.curves(tmp_path / "x.png", x, {"left": lines, "right": lines}, "size", "error (%)")
    pixels = assert_png(tmp_path / "x.png", (9, 4))
    blue, orange = (share(pixels, color) for color in ((31, 119, 180), (255, 127, 14)))
    assert min(blue, orange) > 1e-3


def test_stacked_draws_means_intervals_and_samples(tmp_path):
    means = np.array([1.0, 10.0])
    samples = means[:, None] * [0.9, 1.1]
    points = plots.Points(means, samples, samples)
    single = plots.Points(means, np.full((2, 2), np.nan), samples)
    panels = {"upper": {"first": points, "second": single}, "lower": {"third": points}}
    plots.stacked(tmp_path / "x.png", points, panels, "size")
    pixels = assert_png(tmp_path / "x.png", (6.5, 5.8))
    assert min(share(pixels, color) for color in ((31, 119, 180), (255, 127, 14))) > 1e-3


def test_trainings(tmp_path):
    rows = [
        plots.Training(name, np.array([1.5, 1.6]), np.array([0.03, np.nan]), np.array([99.0, y]))
        for name, y in (("first", 50), ("second", 20))
    ]
    plots.trainings(tmp_path / "x.png", rows, [0.0, 0.1])
    pixels = assert_png(tmp_path / "x.png", (14, 4.96))
    assert min(share(pixels, color) for color in ((31, 119, 180), (255, 127, 14))) > 5e-4
