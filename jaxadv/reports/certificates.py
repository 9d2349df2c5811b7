"""Lower bounds beside the distortions found: figures, tables and plot."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.measures.certificates import ATTACK, METHODS, TIGHTEST, Bounds, ratios
from jaxadv.measures.statistics import bootstrap_median, summary
from jaxadv.reports import plots
from jaxadv.reports.tables import Figures, Table, beside, percent, run_of

NearestBounds = Mapping[str, np.ndarray]  # of `jaxadv.measures.certificates.nearest`


def figures(
    bounds: Sequence[Bounds], nearest: Sequence[NearestBounds], radii: Sequence[float], seed: int
) -> dict[str, Any]:
    """The measured figures, per network: of all pairs of image and class, and of the nearest.

    Medians over images have 95 % bootstrap intervals, from the seed.
    """
    return {
        "radii": list(radii),
        "models": [
            _targeted(each)
            | _nearest(nearest_of_each, radii, seed)
            | {"name": each.model.name, "certificates_per_second": dict(each.per_second)}
            for each, nearest_of_each in zip(bounds, nearest, strict=True)
        ],
    }


def _targeted(bounds):
    """Of all pairs of an image and another class: lower bounds over distortions found."""
    measured = ratios(bounds)
    return {
        "pairs": len(measured[TIGHTEST]),
        "targeted": {name: summary(np.median, ratio) for name, ratio in measured.items()},
        "largest": max(float(ratio.max(initial=0)) for ratio in measured.values()),
    }


def _nearest(bounds, radii, seed):
    """Of the correctly classified images: lower bounds over distortions found, shares by radius."""
    found = bounds[ATTACK]
    measured = {name: bounds[name] / found for name in METHODS}
    return {
        "correct": len(found),
        "untargeted": {name: summary(np.median, ratio) for name, ratio in measured.items()},
        "untargeted_interval": {
            name: summary(functools.partial(bootstrap_median, seed=seed), ratio)
            for name, ratio in measured.items()
        },
        "certified": [summary(np.mean, bounds[TIGHTEST] > radius) for radius in radii],
        "broken": [summary(np.mean, found <= radius) for radius in radii],
    }


def ratio_table(figures: Figures) -> Table:
    """Medians of lower bound over distortion found, and how fast the tightest bound is."""
    rows = []
    for model in figures["models"]:
        kinds = model["untargeted"], model["targeted"]
        cells = [beside(*(percent(kind[name]) for kind in kinds)) for name in METHODS]
        rows.append([model["name"], *cells, str(model["certificates_per_second"][TIGHTEST])])
    title = "Lower bound / distortion found (%), median: nearest class (each class)"
    return Table(title, ["model", *METHODS, "per s"], rows)


def certified_table(figures: Figures) -> Table:
    """Shares of the correctly classified images that are certified and broken at each radius."""
    rows = []
    for model in figures["models"]:
        shares = zip(model["certified"], model["broken"], strict=True)
        cells = [" / ".join(map(percent, pair)) for pair in shares]
        rows.append([model["name"], str(model["correct"]), *cells])
    header = ["model", "images", *(f"RMS {radius:g}" for radius in figures["radii"])]
    title = "Correctly classified images (%): certified / broken within a distortion"
    return Table(title, header, rows)


def note(figures: Figures) -> str:
    """What the tables were made from, in one line."""
    return (
        f"First {figures['images']} test images of {figures['dataset']}, all wrong targets,"
        f" {run_of(figures)}"
    )


def draw(path: Path, bounds: Sequence[Bounds], nearest: Sequence[NearestBounds]) -> None:
    """Draws the nearest distortion found and the lower bounds, for each image."""
    panels = {each.model.name: values for each, values in zip(bounds, nearest, strict=True)}
    plots.sorted_values(path, panels, ATTACK, "RMS per pixel")
