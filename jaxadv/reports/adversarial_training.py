"""Trainings on adversarial examples beside others: figures, tables and picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv.measures.adversarial_training import Trained
from jaxadv.measures.statistics import crossed_mean, paired_p, pairs_needed
from jaxadv.reports import plots, transfer
from jaxadv.reports.tables import Figures, Table, decimals, percent, run_of
from jaxadv.zoo.adversarial import COMPARED, MARK

EFFECT = 0.0005  # difference of test errors that `seeds_needed` is for
DISTORTIONS = "nearest", "random", "certified"


def figures(
    trained: Sequence[Trained],
    gradients: Sequence[float],
    seeds: Sequence[int],
    distortions: Sequence[float],
) -> dict[str, Any]:
    """Errors, distortions and costs, per way of training and seed.

    Test errors have the standard error of their mean over seeds. Differences to those of
    `COMPARED`, paired by seed, have 95 % t intervals over seeds, for the test set as it is, and say
    how many seeds would show one of 0.05 points. Distortions have intervals over seeds and images.

    Args:
      trained: what was measured.
      gradients: of each, of the network in its training.
      seeds: that each was trained from.
      distortions: of the curves of accuracy.
    """
    by_name = {each.models[0].name: each for each in trained}
    rows = []
    for each, count in zip(trained, gradients, strict=True):
        name = each.models[0].name
        network, _, kind = name.rpartition(MARK)
        others = {
            other: by_name[f"{network}{MARK}{other}"]
            for other in COMPARED
            if other != kind and f"{network}{MARK}{other}" in by_name
        }
        compared = {name: _less(each, other) for name, other in others.items()}
        rows.append(
            {"name": name, "gradients": count} | _row(each, seeds) | {"differences": compared}
        )
    return {"distortions": list(distortions), "trainings": rows}


def _less(trained, other):
    differences = trained.test_error - other.test_error
    needed = pairs_needed(differences, EFFECT)
    return _estimate(differences[:, None]) | {"p": paired_p(differences), "seeds_needed": needed}


def _row(trained, seeds):
    """Of one way of training: figures per seed, and their means."""
    models = trained.models
    per_seed = {
        "seed": list(seeds),
        "train_error": [model.train_error for model in models],
        "test_error": trained.test_error.tolist(),
        "seconds": [model.seconds for model in models],
        **{key: [_mean(row) for row in getattr(trained, key)] for key in DISTORTIONS},
    }
    count, spread = len(seeds), None
    if count > 1:
        spread = float(trained.test_error.std(ddof=1) / np.sqrt(count))
    rows = zip(*per_seed.values(), strict=True)
    return {
        "seeds": [dict(zip(per_seed, row, strict=True)) for row in rows],
        "train_error": float(np.mean(per_seed["train_error"])),
        "test_error": float(trained.test_error.mean()),
        "test_error_se": spread,
        "seconds": _mean(np.array(per_seed["seconds"], float)),
        **{key: _estimate(getattr(trained, key)) for key in DISTORTIONS},
        "accuracy": trained.accuracy.mean(axis=0).tolist(),
    }


def _mean(values):
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _estimate(values):
    estimate = crossed_mean(values)
    return {"mean": None, "interval": None} if estimate is None else estimate._asdict()


def table(figures: Figures) -> Table:
    """Errors, costs and distortions."""
    tested = "validation" if figures["settings"]["validation"] else "test"
    header = ["training", f"{tested} %", "train %", "seconds", "gradients", *DISTORTIONS]
    rows = []
    for each in figures["trainings"]:
        error, spread = percent(each["test_error"], digits=2), each["test_error_se"]
        rows.append(
            [
                each["name"],
                error if spread is None else f"{error} ± {100 * spread:.2f}",
                percent(each["train_error"], digits=2),
                decimals(each["seconds"], 0),
                f"{each['gradients'] / 1e6:.1f}M",
                *(decimals(each[key]["mean"], 4) for key in DISTORTIONS),
            ]
        )
    title = "Training on adversarial examples: errors, cost, and mean distortion (RMS)"
    return Table(title, header, rows)


def difference_table(figures: Figures) -> Table:
    """Errors less those of `COMPARED`, in points: intervals, p, and seeds that 0.05 points need."""
    header = ["training", *(part for name in COMPARED for part in (f"less {name}", "p (seeds)"))]
    rows = [
        [each["name"], *(part for name in COMPARED for part in _difference(each, name))]
        for each in figures["trainings"]
    ]
    return Table("Difference of errors (points), paired by seed", header, rows)


def _difference(row, other):
    """In points, and its interval, "-0.31 [-0.40, -0.22]"; p and seeds, "0.004 (12)"."""
    estimate = row["differences"].get(other)
    if estimate is None or estimate["mean"] is None:
        return "–", "–"
    interval = ", ".join(f"{100 * value:.2f}" for value in estimate["interval"] or ())
    mean = f"{100 * estimate['mean']:+.2f}"
    p, seeds = estimate["p"], estimate["seeds_needed"]
    tested = "–" if p is None or seeds is None else f"{p:.2g} ({seeds})"
    return f"{mean} [{interval}]" if interval else mean, tested


def transfer_table(figures: Figures) -> Table:
    """Error of the column's network on examples made for the row's."""
    title = "Transfer: error (%) of the column's network on examples made for the row's"
    return transfer.error_table(title, figures["transfer"])


def note(figures: Figures) -> str:
    """What the tables were made from, and what they leave out, in one line."""
    seeds, epochs = len(figures["trainings"][0]["seeds"]), figures["settings"]["epochs"]
    from_seeds = "1 seed" if seeds == 1 else f"{seeds} seeds"
    left_out = f" Left out: {figures['left_out']}." if figures["left_out"] else ""
    tested = "The held-out training" if figures["settings"]["validation"] else "All test"
    return (
        f"{tested} images; distortions of the first {figures['images']} of {figures['dataset']},"
        " those that all networks of a seed classify correctly, found towards the nearest and a"
        " random wrong class, and certified for the nearest (CROWN in the box); transfer of all of"
        f" these images, of the first seed. {from_seeds}, {epochs} epochs"
        " each; ±: standard errors over seeds; in square brackets: 95 % t intervals over seeds,"
        " paired; p: of the t test, each on its own; in round brackets: how many seeds it would"
        f" need to find 0.05 points in four of five cases; {run_of(figures)}{left_out}"
    )


def draw(path: Path, figures: Figures) -> None:
    """Draws errors by training, errors against distortions, and accuracy against distortion."""
    rows = [
        plots.Training(
            row["name"],
            100 * np.array([seed["test_error"] for seed in row["seeds"]]),
            np.array([seed["nearest"] for seed in row["seeds"]], float),
            100 * np.array(row["accuracy"]),
        )
        for row in figures["trainings"]
    ]
    plots.trainings(path, rows, figures["distortions"])
