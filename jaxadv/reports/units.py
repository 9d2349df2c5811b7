"""Label agreement of units and random directions: figures, table, pictures, files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.datasets import Dataset
from jaxadv.measures.label_agreement import label_agreement
from jaxadv.measures.maximisers import Maximisers, distinct
from jaxadv.measures.statistics import EQUIVALENCE, least_p
from jaxadv.reports import pictures, plots
from jaxadv.reports.tables import Figures, Table, percent, run_of

KINDS = {"natural": "unit", "random": "direction"}


def figures(
    results: Sequence[Maximisers],
    statistics: Sequence[Sequence[Mapping[str, Any]]],
    labels: np.ndarray,
) -> dict[str, Any]:
    """The measured figures; label agreements are fractions, null for directions left out."""
    layers = [
        {
            "name": found.layer.title,
            "model": found.layer.model,
            "layer": found.layer.name,
            "size": found.layer.size,
            "units": found.units.tolist(),
            "statistics": rows,
        }
        for found, rows in zip(results, statistics, strict=True)
    ]
    chance = float(label_agreement(labels))
    return {"images": len(labels), "chance": chance, "layers": layers}


def draw(
    directory: Path,
    figures: Figures,
    results: Sequence[Maximisers],
    held_out: Dataset,
    rows: int,
    top: int,
) -> None:
    """Draws units.png, the distributions, and the best images of each layer and kind."""
    _draw_distributions(directory / "units.png", figures)
    for found in results:
        for kind in KINDS:
            _draw_images(directory, kind, found, held_out, rows, top)


def table(figures: Figures) -> Table:
    """Mean label agreement of both kinds of directions, and how they differ."""
    header = ["layer", "k", "units", "random", "difference (95 % CI)", "g", "p", "left-out"]
    rows = [
        [
            layer["name"],
            str(row["k"]),
            *(percent(row[kind]["mean"]) for kind in KINDS),
            *_cells(row),
            str(row["natural"]["left_out"]),
        ]
        for layer in figures["layers"]
        for row in layer["statistics"]
    ]
    title = f"Label agreement (%) of the k best images; chance is {percent(figures['chance'])}"
    return Table(title, header, rows)


def _cells(row):
    """Difference, effect and p."""
    if row["p"] is None:
        return ["–"] * 3
    low, high = (f"{100 * bound:+.0f}" for bound in row["interval"])
    effect = "–" if row["effect"] is None else f"{row['effect']:+z.2f}"
    return [f"{100 * row['difference']:+.1f} ({low}, {high})", effect, f"{row['p_holm']:.3f}"]


def note(figures: Figures) -> str:
    """What the table was made from, and how to read it."""
    source = figures["images_file"] or f"the test set of {figures['dataset']}"
    return (
        f"{figures['images']} images of {source}, {figures['directions']} directions of each kind,"
        f" or all units, {run_of(figures)} Difference: units less random directions;"
        " g is Hedges', p that of a permutation test, after Holm. Left out: units with the same"
        f" value on more images than fit among the k best.{_conclusions(figures)}"
    )


def _conclusions(figures):
    """What the tests can tell, and what not."""
    rows = [row for layer in figures["layers"] for row in layer["statistics"]]
    compared = [row for row in rows if row["p"] is not None]
    if not compared:
        return ""
    return (
        f" p is {least_p(len(compared)):.2g} at least, as resamples are finite. A large p does not"
        f" show equality; that the means differ by less than {100 * EQUIVALENCE:g} points, two"
        f" one-sided tests at 2.5 % show for {sum(row['equivalent'] for row in compared)} of"
        f" {len(compared)} rows, each on its own. Units of one convolutional filter are not"
        " independent: for their layers p is too small and the interval too short."
    )


def _draw_distributions(path, figures):
    panels = {
        layer["name"]: {
            kind: [
                [each for each in row[kind]["agreement"] if each is not None]
                for row in layer["statistics"]
            ]
            for kind in KINDS
        }
        for layer in figures["layers"]
    }
    ks = [row["k"] for row in figures["layers"][0]["statistics"]]
    plots.distributions(path, panels, ks, "k", "label agreement", {"chance": figures["chance"]})


def _draw_images(directory, kind, found, held_out, rows, top):
    """The best images of the first directions, less those left out."""
    best = getattr(found, kind)
    numbers = found.units if kind == "natural" else np.arange(len(best.positions))
    shown = np.flatnonzero(distinct(best, top))[:rows]
    if not len(shown):
        return
    scale = 255 if held_out.images.dtype == np.uint8 else 1
    names = [f"{KINDS[kind]} {number}" for number in numbers[shown]]
    lines = [
        [(held_out.images[i] / scale, str(held_out.labels[i])) for i in line]
        for line in best.positions[shown, :top]
    ]
    name = found.layer.title.replace(" ", "-").replace(":", ".")  # for file names on Windows
    pictures.image_rows(directory / f"{name}-{kind}.png", names, lines)
