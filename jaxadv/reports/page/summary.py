"""Tables of generated examples: how attacks ended, distortions, robust accuracy, transfer."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxadv.attacks.results import Status
from jaxadv.measures import robust_accuracy
from jaxadv.reports.page.outcomes import ROWS, Outcomes, class_name, word
from jaxadv.reports.tables import Table, decimals, percent

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CLASSES = 100  # that a table lists, at most
TRANSFER = "transfer/"


def tables(results: Any, outcomes: Outcomes, accuracy: str) -> list[Table | str]:
    """All tables that there is something for.

    Args:
      results: as `jaxadv.read_results` returns them.
      outcomes: as read from them.
      accuracy: the name of the fraction of images beyond a distortion.
    """
    found = outcomes.columns["status"] == Status.SUCCESS
    made: list[Table | str] = [_ended(results.manifest, outcomes)]
    if found.any():
        made.append(_distortions(outcomes, found))
        made.append(_accuracy(outcomes, accuracy))
        made += _by_class(results.manifest, outcomes, found, accuracy)
    return made + list(_transfer(results))


def _ended(manifest, outcomes):
    total = max(1, sum(outcomes.ended.values()))
    rows = [
        [word(manifest, status), f"{n:,}", percent(n / total)]
        for status, n in sorted(outcomes.ended.items())
    ]
    return Table("How the attacks ended", ["status", "attacks", "%"], rows)


def _distortions(outcomes, found):
    """Of images that an attack changed."""
    header = ["", "mean", *(f"{q:.0%}".replace("50%", "median") for q in QUANTILES)]
    titles = {"distortion": ("RMS per value", 5), "l2": ("ℓ2", 3), "evaluations": ("gradients", 0)}
    rows = []
    for name, (title, digits) in titles.items():
        values = outcomes.columns[name][found].astype(float)
        cells = values.mean(), *np.quantile(values, QUANTILES)
        rows.append([title, *(decimals(value, digits) for value in cells)])
    return Table(f"Distortions found, of {found.sum():,} images with status success", header, rows)


def _accuracy(outcomes, name):
    radius = outcomes.radius
    at = round_steps(float(np.quantile(radius[np.isfinite(radius)], 0.95)))
    lines = {f"{name} %": radius}
    if outcomes.certified is not None:
        lines["certified %"] = outcomes.certified
    columns = [robust_accuracy.accuracy(line, at) for line in lines.values()]
    rows = [
        [f"{distortion:g}", *map(percent, values)]
        for distortion, *values in zip(at, *columns, strict=True)
    ]
    header = ["distortion (RMS) up to", *lines]
    return Table(f"{name.capitalize()} against distortion", header, rows)


def round_steps(largest: float) -> np.ndarray:
    """0 and a few round numbers up to about the largest, which is positive or 0.

    Example:
      >>> round_steps(0.23)
      array([0.  , 0.05, 0.1 , 0.15, 0.2 , 0.25])
    """
    if largest <= 0:
        return np.zeros(1)
    power = 10.0 ** math.floor(math.log10(largest / 8))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= largest / 8)
    return np.arange(0, largest + step / 2, step).round(12)


def _by_class(manifest, outcomes, found, accuracy) -> Iterator[Table]:
    """Of the images of each class, where there are labels."""
    labels, radius = outcomes.columns["label"], outcomes.radius
    present = np.unique(labels[labels >= 0])
    if not 2 <= len(present) <= CLASSES:
        return
    rows = []
    for label in present.tolist():
        of_class = labels == label
        values = outcomes.columns["distortion"][of_class & found]
        known = radius[of_class & ~np.isnan(radius)]
        unchanged = percent(float(np.mean(known > 0))) if len(known) else "–"
        median = float(np.median(values)) if len(values) else None
        rows.append(
            [class_name(manifest, label), f"{len(known):,}", unchanged, decimals(median, 5)]
        )
    header = ["class", "images", f"{accuracy} % at 0", "median distortion"]
    yield Table("By class", header, rows)


def _transfer(results) -> Iterator[Table]:
    """What further models make of the examples that were found."""
    names = [name for name in results.manifest["columns"] if name.startswith(TRANSFER)]
    rows = []
    for name in names:
        counts = np.zeros(4)
        for start in range(0, len(results), ROWS):
            wanted = name, "target", "label", "status"
            counts += _fed(*(results[each][start : start + ROWS] for each in wanted))
        shares = (wrong / known if known else None for wrong, known in counts.reshape(2, 2))
        rows.append([name.removeprefix(TRANSFER), *map(percent, shares)])
    if rows:
        header = ["fed to", "error %", "taken for the target %"]
        yield Table("Examples found, fed to other models", header, rows)


def _fed(predicted, target, label, status):
    """Wrong predictions and of how many with a label; those of the target and of how many."""
    found = status == Status.SUCCESS
    label = label.reshape(-1, *[1] * (status.ndim - 1))
    known = found & (label >= 0)
    pairs = (known & (predicted != label), known), (found & (predicted == target), found)
    return np.array([each.sum() for pair in pairs for each in pair])
