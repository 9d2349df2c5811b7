"""What attacks on a data source came to: an entry per image, and words for it."""

import collections
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxadv.attacks.results import Status
from jaxadv.measures import robust_accuracy
from jaxadv.reports.tables import Figures
from jaxadv.storage.errors import InputError, printable

ROWS = 65536  # that are read at a time
MOST = 10**6  # of which columns are kept
IMAGES, CERTIFIED, PREDICTED = "x_adv", "certified", "predicted"
PER_ATTACK = ("target", "success", "status", "distortion", "l2", "evaluations", CERTIFIED)
WORDS: dict[int, str] = {
    Status.SUCCESS: "success",
    Status.ALREADY_TARGET: "already of that class",
    Status.NOT_FOUND: "not found",
    Status.NOT_FINITE: "output not finite",
    Status.UNREADABLE: "unreadable",
}


class Outcomes(NamedTuple):
    """Columns but the images; of attacks towards all classes, that on the nearest wrong one.

    They are those of a million images at most, chosen at random, one of as many neighbours each.
    """

    rows: np.ndarray  # (B,) in the results
    columns: Mapping[str, np.ndarray]  # (B,) each, by the names of the results' columns
    chosen: np.ndarray | None  # (B,) position of the nearest class among the targets
    ended: Mapping[int, int]  # number of attacks by status, on all images

    @property
    def radius(self) -> np.ndarray:
        """(B,) as `jaxadv.measures.robust_accuracy.radius` has it."""
        names = "distortion", "success", "status"
        return robust_accuracy.radius(*(self.columns[name] for name in names))

    @property
    def certified(self) -> np.ndarray | None:
        """(B,) distance within which the class is proven not to change; None without certificates.

        0 and NaN where the radius is.
        """
        if CERTIFIED not in self.columns:
            return None
        bound = np.nan_to_num(self.columns[CERTIFIED])
        return np.where(self.radius > 0, bound, np.where(np.isnan(self.radius), np.nan, 0))


def read(results: Any) -> Outcomes:
    """Reads the columns of results, as `jaxadv.read_results` returns them, some rows at a time.

    Raises:
      InputError: they are not those of attacks.
    """
    names = _columns(results)
    ended, rows, parts, chosen = collections.Counter(), [], [], []
    every, rng = max(1, -(-len(results) // MOST)), np.random.default_rng(0)
    step = max(1, ROWS // every) * every
    for start in range(0, max(1, len(results)), step):
        status = results["status"][start : start + step]
        values, counts = np.unique(status, return_counts=True)
        ended.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        blocks = np.arange(0, len(status), every)
        rows.append(
            start + np.minimum(blocks + rng.integers(every, size=len(blocks)), len(status) - 1)
        )
        part = {name: results[name][rows[-1]] for name in names}
        if part["status"].ndim == 2:
            wanted = "target", "label", "distortion", "success", "status"
            nearest = robust_accuracy.nearest(*(part[name] for name in wanted))
            ways = np.arange(len(nearest)), nearest
            part |= {name: part[name][ways] for name in names if name in PER_ATTACK}
            chosen.append(nearest)
        parts.append(part)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    found = np.concatenate(chosen) if chosen else None
    return Outcomes(np.concatenate(rows), columns, found, ended)


def _columns(results):
    """The names of the columns to read, once all that must be there are, and in shape."""
    shapes = {name: tuple(each["shape"]) for name, each in results.manifest["columns"].items()}
    per_attack = shapes.get("status", ())
    expected = {"index": (), "label": (), PREDICTED: ()} | dict.fromkeys(PER_ATTACK, per_attack)
    there = [name for name in expected if name in shapes]
    fit = (
        shapes.keys() >= {*expected, IMAGES} - {CERTIFIED, PREDICTED}
        and all(shapes[name] == expected[name] for name in there)
        and len(per_attack) <= 1
        and shapes[IMAGES][: len(per_attack)] == per_attack
    )
    if not fit:
        columns = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"these are no results of attacks: the columns are {columns}")
    return there


def word(manifest: Figures, status: int) -> str:
    """How an attack ended."""
    if manifest.get("mode") == "untargeted" and status == Status.ALREADY_TARGET:
        return "misclassified as it is"
    if manifest.get("mode") == "given" and status == Status.UNREADABLE:
        return "unreadable, or without a target"
    return WORDS.get(status, f"status {status}")


def towards_any(manifest: Figures) -> bool:
    """Whether any other class would do, so that distances are those of robust accuracy."""
    return manifest.get("mode") in ("untargeted", "all-targets")


def data_name(manifest: Figures) -> str:
    """What the manifest calls the data."""
    data = manifest.get("data")
    return printable(str(data.get("name", "–") if isinstance(data, Mapping) else data or "–"))


def class_name(manifest: Figures, number: int) -> str:
    """A class in words, where the manifest has them, or else by number; a dash for none."""
    names = manifest.get("classes")
    if isinstance(names, list) and 0 <= number < len(names):
        return printable(str(names[number]))
    return str(number) if number >= 0 else "–"
