"""How often random perturbations change the class: figures, tables and plot."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.measures.density import REGIONS, Counts, flat_fraction
from jaxadv.measures.statistics import bootstrap_mean, clopper_pearson
from jaxadv.reports import plots
from jaxadv.reports.tables import Figures, Table, percent, run_of

SETTINGS = ("images", "norms", "samples", "directions", "clip")  # that the tables and plot tell


def figures(
    counts: Sequence[Counts],
    norms: Sequence[float],
    samples: int,
    directions: int,
    *,
    image_shape: tuple[int, ...],
    seed: int,
) -> dict[str, Any]:
    """The measured figures; norms are in units of D, and D is a Euclidean norm.

    `sampling_interval` is that of the mean over these images; `images_interval`, None where no
    perturbation changed the class, that over images like these. Both are at 95 %.
    """
    pixels = math.prod(image_shape)
    flat = _flat(np.array(norms), pixels, directions)
    return {
        "pixels": pixels,
        "flat_boundary": {region: values.tolist() for region, values in flat.items()},
        "models": [_model_figures(found, norms, samples, seed) for found in counts],
    }


def _model_figures(counts, norms, samples, seed):
    found = counts.examples.found
    changed = counts.changed[found]
    distance, total = counts.examples.distance[found], len(changed) * samples
    hits = changed.sum(axis=0, dtype=np.int64)
    intervals = clopper_pearson(hits, total), bootstrap_mean(changed / samples, seed)
    return {
        "name": counts.model.name,
        "test_error": counts.model.test_error,
        "images_attacked": len(changed),
        "distance": float(distance.mean()),
        "distance_interval": bootstrap_mean(distance, seed).tolist(),
        "dimension": float(counts.examples.dimension[found].mean()),
        "samples_per_second": changed[0].size * total / counts.seconds,
        "ways": {
            region: [
                _point(norm, changed[:, i, j], total, *(each[:, i, j] for each in intervals))
                for j, norm in enumerate(norms)
            ]
            for i, region in enumerate(REGIONS)
        },
    }


def _point(norm, changed, total, sampling_interval, images_interval):
    """What was counted in a region at a norm, of `changed` perturbations per image."""
    hits = int(changed.sum(dtype=np.int64))
    return {
        "norm": norm,
        "changed": hits,
        "samples": total,
        "fraction": hits / total,
        "sampling_interval": sampling_interval.tolist(),
        "images_interval": images_interval.tolist() if hits else None,
        "images_changed": float((changed > 0).mean()),
    }


def models_table(figures: Figures) -> Table:
    """The networks, how far their nearest adversarial examples are, and the speed of sampling."""
    header = ["model", "test %", "attacked", "mean D", "dimension of span", "samples/s"]
    rows = [
        [
            model["name"],
            percent(model["test_error"], digits=2),
            f"{model['images_attacked']}",
            f"{model['distance']:.3f}",
            f"{model['dimension']:.2f}",
            f"{model['samples_per_second']:,.0f}",
        ]
        for model in figures["models"]
    ]
    return Table("Nearest adversarial examples of correctly classified test images", header, rows)


def fraction_tables(figures: Figures) -> list[Table]:
    """For each network the fractions against the norm, in three regions."""
    return [
        Table(
            f"{model['name']}: fraction of perturbations of norm s·D that change the class",
            ["s", *REGIONS],
            [
                [f"{points[0]['norm']:g}", *map(_fraction, points)]
                for points in zip(*model["ways"].values(), strict=True)
            ],
        )
        for model in figures["models"]
    ]


def _fraction(point):
    """The fraction and its interval over images; where none changed the class, an upper bound."""
    if point["images_interval"] is None:
        return f"< {point['sampling_interval'][1]:.2g}"
    low, high = point["images_interval"]
    return f"{point['fraction']:.2g} [{low:.2g}, {high:.2g}]"


def note(figures: Figures) -> str:
    """What the tables were made from, in one line."""
    clipped = "" if figures["clip"] else " not"
    return (
        f"{figures['images']} test images of {figures['dataset']}, {figures['samples']} samples per"
        f" image, norm and region,{clipped} clipped to [0, 1], {run_of(figures)} In"
        " brackets: 95 % bootstrap over images; <: none was found, and Clopper–Pearson at 97.5 %"
        " bounds the mean over these images, not over others."
    )


def _flat(norms, pixels, directions):
    """The fractions by region, were the boundary flat, and at distance D from the image."""
    around, within = (flat_fraction(norms, n) for n in (pixels, directions))
    return dict(zip(REGIONS, (around, np.full(len(norms), 0.5), within), strict=True))


def draw(path: Path, figures: Figures) -> None:
    """Draws the fractions, a panel for each region."""
    norms = figures["norms"]
    fine = np.geomspace(norms[0], norms[-1], 400)
    panels = [
        plots.Panel(
            title=region,
            scale="linear" if region == "around the example" else "log",
            curves=[_curve(model["name"], model["ways"][region]) for model in figures["models"]],
            reference=(fine, flat),
        )
        for region, flat in _flat(fine, figures["pixels"], figures["directions"]).items()
    ]
    plots.fractions(path, panels, norms, "norm of the perturbation / D", "flat boundary")


def _curve(name, points):
    intervals = [p["images_interval"] or (None, p["sampling_interval"][1]) for p in points]
    fractions = [p["fraction"] or None for p in points]
    return plots.Curve(name, fractions, *zip(*intervals, strict=True))
