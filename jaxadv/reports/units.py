"""Label agreement of units and other directions: figures, tables, pictures, files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.datasets.photographs import Squares
from jaxadv.measures.directions import SAMPLE
from jaxadv.measures.label_agreement import label_agreement
from jaxadv.measures.maximisers import Maximisers, distinct
from jaxadv.measures.statistics import EQUIVALENCE, least_p
from jaxadv.reports import pictures, plots
from jaxadv.reports.tables import Figures, Table, percent, run_of
from jaxadv.runs.held_out import HeldOut

KINDS = {  # and what distributions and pictures call them
    "natural": ("units", "unit {}"),
    "random": ("random", "direction {}"),
    "components": ("components", "component {}"),
    "rotated": ("rotated", "rotated {}"),
}


def figures(
    results: Sequence[Maximisers],
    statistics: Sequence[Sequence[Mapping[str, Any]]],
    held_out: HeldOut,
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
    labels = np.asarray(held_out.labels)
    photographs = {"dataset": held_out.source} if held_out.classes else {}
    return photographs | {
        "held_out": held_out.source,
        "images": len(labels),
        "components_of": ("training", "these")[held_out.others is held_out.images],
        "chance": float(label_agreement(labels)),
        "layers": layers,
    }


def draw(
    directory: Path,
    figures: Figures,
    results: Sequence[Maximisers],
    held_out: HeldOut,
    rows: int,
    top: int,
) -> None:
    """Draws units.png, the distributions, and the best images of each layer and kind.

    There are none of rotated units, which alone are like random directions.
    """
    _draw_distributions(directory / "units.png", figures)
    for found in results:
        for kind in ("natural", "random", "components"):
            _draw_images(directory, kind, found, held_out, rows, top)


def texts(figures: Figures) -> list[Table | str]:
    """Tables of units, and of other directions, and how to read them."""
    return [_units(figures), _others(figures), _note(figures)]


def _units(figures):
    """Mean label agreement of units and random directions, and how they differ."""
    header = ["layer", "k", "units", "random", "difference (95 % CI)", "g", "p", "left-out"]
    rows = [
        [
            layer["name"],
            str(row["k"]),
            *(percent(row[kind]["mean"]) for kind in ("natural", "random")),
            *_cells(row),
            str(row["natural"]["left_out"]),
        ]
        for layer in figures["layers"]
        for row in layer["statistics"]
    ]
    title = f"Label agreement (%) of the k best images; chance is {percent(figures['chance'])}"
    return Table(title, header, rows)


def _others(figures):
    """Of principal components, and of rotated units."""
    header = ["layer", "k", "components", "difference (95 % CI)", "g", "p", "rotated"]
    rows = [
        [
            layer["name"],
            str(row["k"]),
            percent(row["components"]["mean"]),
            *_cells(row["components"]),
            percent(row["rotated"]["mean"]),
        ]
        for layer in figures["layers"]
        for row in layer["statistics"]
    ]
    return Table("The same of principal components, and of a rotation of the units", header, rows)


def _cells(row):
    """Difference, effect and p."""
    if row["p"] is None:
        return ["–"] * 3
    low, high = (f"{100 * bound:+.0f}" for bound in row["interval"])
    effect = "–" if row["effect"] is None else f"{row['effect']:+z.2f}"
    return [f"{100 * row['difference']:+.1f} ({low}, {high})", effect, f"{row['p_holm']:.3f}"]


def _note(figures):
    """What the tables were made from, and how to read them."""
    return (
        f"{figures['images']} images of {figures['held_out']}, {figures['directions']} directions"
        f" of each kind, or all units, {run_of(figures)} Difference: units, or components, less"
        " random directions; g is Hedges', p that of a permutation test, after Holm. Left out:"
        " units with the same value on more images than fit among the k best. Each rotated unit"
        " alone is like a random direction: that mean is another estimate of theirs."
        f" Components are of {figures['components_of']} images, the first {SAMPLE} at most."
        f"{_conclusions(figures)}"
    )


def _conclusions(figures):
    """What the tests can tell, and what not."""
    pairs = figures["images"] * (figures["images"] - 1) // 2
    alike = round(figures["chance"] * pairs)
    if alike < figures["images"]:
        return f" Of {pairs} pairs of images, {alike} have one label: too few to tell of anything."
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
            label: [
                [each for each in row[kind]["agreement"] if each is not None]
                for row in layer["statistics"]
            ]
            for kind, (label, _) in KINDS.items()
        }
        for layer in figures["layers"]
    }
    ks = [row["k"] for row in figures["layers"][0]["statistics"]]
    plots.distributions(path, panels, ks, "k", "label agreement", {"chance": figures["chance"]})


def _draw_images(directory, kind, found, held_out, rows, top):
    """The best images of the first directions, less those left out."""
    best = found.top[kind]
    shown = np.flatnonzero(distinct(best, top))[:rows]
    if not len(shown):
        return
    names = [KINDS[kind][1].format(_number(kind, found, at)) for at in shown.tolist()]
    scale = 255 if held_out.images.dtype == np.uint8 else 1
    lines = [
        [(held_out.images[i] / scale, _caption(held_out, i)) for i in line]
        for line in best.positions[shown, :top].tolist()
    ]
    name = found.layer.title.replace(" ", "-").replace(":", ".")  # for file names on Windows
    suffix = "jpg" if isinstance(held_out.images, Squares) else "png"
    pictures.image_rows(directory / f"{name}-{kind}.{suffix}", names, lines)


def _number(kind, found, at):
    """Of a unit, in its layer; of a component with its sign, from 1."""
    if kind == "components":
        return f"{'−+'[at % 2 == 0]}{at // 2 + 1}"
    return found.units[at] if kind == "natural" else at


def _caption(held_out, number):
    label = held_out.labels[number]
    return held_out.classes[label] if label < len(held_out.classes) else str(label)
