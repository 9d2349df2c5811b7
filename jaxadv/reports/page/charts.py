"""Charts as small SVG pictures, legible on a phone and told apart without colour."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import matplotlib.figure
import matplotlib.ticker
import numpy as np
from jaxtyping import Float

STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "jaxadv", "font.size": 9}
SIZE = (4.4, 3.0)  # inches: on a phone, the text is as large as the page's
LINES: Any = ({"color": "#0072b2"}, {"color": "#b34700", "linestyle": (0, (4, 1.5))})
POINTS = 500  # of a curve, at most


@matplotlib.rc_context(STYLE)
def accuracy(radii: Mapping[str, Float[np.ndarray, "B"]], xlabel: str, ylabel: str) -> bytes:
    """Draws the fraction of images whose radius exceeds what is on the x axis.

    Args:
      radii: name of a curve -> `jaxadv.measures.robust_accuracy.radius`; two at most.
      xlabel: of the x axis.
      ylabel: of the y axis, in per cent.
    """
    figure, axis = _axis(xlabel, ylabel)
    for (name, radius), style in zip(radii.items(), LINES, strict=False):
        known = np.sort(radius[~np.isnan(radius)])
        steps = known[np.isfinite(known)]
        shown = np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).round().astype(int)
        x = np.concatenate([[0], steps[shown]])
        y = 100 * (1 - np.searchsorted(known, x, side="right") / max(1, len(known)))
        axis.step(x, y, where="post", label=name, linewidth=1.6, **style)
    axis.set_ylim(0, 102)
    axis.set_xlim(left=0)
    if len(radii) > 1:
        axis.legend(frameon=False)
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def histogram(values: Float[np.ndarray, "B"], xlabel: str, ylabel: str) -> bytes:
    """Draws how many of the values, which are finite, are of which size."""
    figure, axis = _axis(xlabel, ylabel)
    bins = min(50, max(10, len(values) // 5))
    axis.hist(
        values,
        bins=bins,
        range=(0, values.max()),
        color="#0072b2",
        edgecolor="white",
        linewidth=0.5,
    )
    axis.set_xlim(left=0)
    axis.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator("auto", integer=True))
    return _svg(figure)


def _axis(xlabel, ylabel):
    figure = matplotlib.figure.Figure(figsize=SIZE, layout="constrained")
    axis = figure.subplots()
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def _svg(figure):
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
