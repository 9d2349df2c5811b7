"""The page of generated examples: how attacks ended, robust accuracy, and images to look at."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxadv.attacks.results import Status
from jaxadv.datasets.examples import spaced
from jaxadv.reports.page import Gallery, Picture, Run, flat, gallery, picture
from jaxadv.reports.page.outcomes import (
    IMAGES,
    PREDICTED,
    Outcomes,
    class_name,
    data_name,
    read,
    towards_any,
    word,
)
from jaxadv.reports.page.summary import tables
from jaxadv.reports.tables import Table
from jaxadv.storage.errors import InputError, described, printable

Originals = Callable[[Sequence[int]], Sequence[np.ndarray | None]]  # of indices in the source
APART = ("versions", "columns", "classes", "logits")  # what is not among the settings


def run(results: Any, originals: Originals | None, most: int | None = None) -> Run:
    """What the page shows of generated results.

    Args:
      results: as `jaxadv.read_results` returns them.
      originals: images by their indices in the data source; None where that is not to be had, as
        when it raises an InputError or OSError, with a warning.
      most: images to show, evenly spaced; by default those of `gallery.most`.
    """
    manifest, outcomes = results.manifest, read(results)
    accuracy = "robust accuracy" if towards_any(manifest) else "target not reached"
    return Run(
        title=f"Adversarial examples for {manifest.get('model', '–')} on {data_name(manifest)}",
        facts=_facts(results),
        texts=_sample(results, outcomes) + tables(results, outcomes, accuracy),
        charts=_charts(outcomes, accuracy),
        settings=flat({key: value for key, value in manifest.items() if key not in APART}),
        versions=flat(manifest.get("versions", {})),
        gallery=_gallery(results, outcomes, originals, most) if len(results) else None,
    )


def _sample(results, outcomes) -> list[Table | str]:
    count, kept = len(results), len(outcomes.rows)
    says = f"Distortions, curves and classes are those of {kept:,} of {count:,} images, at random."
    return [says] if kept < count else []


def _facts(results):
    manifest, there = results.manifest, len(results)
    rest = f" of {manifest.get('count'):,}: shards are missing" if len(results.missing) else ""
    facts = {
        "model": manifest.get("model"),
        "data": data_name(manifest),
        "attack": manifest.get("mode"),
        "images": f"{there:,}{rest}",
        "image shape": " × ".join(map(str, _shape(results))),
        "seed": manifest.get("seed"),
        "device": manifest.get("device"),
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _shape(results):
    """Of an image."""
    return results[IMAGES].shape[results["status"].ndim :]


def _charts(outcomes: Outcomes, accuracy: str) -> list[Picture]:
    radius, certified, xlabel = outcomes.radius, outcomes.certified, "distortion (RMS per value)"
    found = radius[np.isfinite(radius) & (radius > 0)].astype(float)
    if not len(found):
        return []
    from jaxadv.reports.page import charts  # with matplotlib, which takes half a second

    curves = {"by the attack": radius} | ({} if certified is None else {"certified": certified})
    says = {
        "robust accuracy": "Robust accuracy: the fraction of images that are of the right class as"
        " they are, and have no adversarial example found within the distortion.",
        "target not reached": "Fraction of images that no distortion found, up to the one on the"
        " x axis, turns into their target.",
    }[accuracy]
    says += "" if certified is None else " Dashed: those for which it is proven."
    drawn = charts.accuracy(curves, xlabel, f"{accuracy} (%)")
    count = f"{len(found):,} images, median {np.median(found):.3g}"
    bars = charts.histogram(found, xlabel, "images")
    return [
        picture(drawn, "svg+xml", says, says),
        picture(bars, "svg+xml", f"Histogram of distortions: {count}", f"Distortions of {count}."),
    ]


def _gallery(results, outcomes, originals, most):
    columns, shape = outcomes.columns, _shape(results)
    readable = np.flatnonzero(columns["status"] != Status.UNREADABLE)
    most = gallery.most(shape) if most is None else most
    rows = readable[spaced(len(readable), most)]
    known = _known(originals, columns["index"][rows].tolist(), shape)
    examples = []
    for row, original in zip(rows.tolist(), known, strict=True):
        x_adv = results[IMAGES][outcomes.rows[row]]
        x_adv = x_adv if outcomes.chosen is None else x_adv[outcomes.chosen[row]]
        words = _words(results, {name: column[row] for name, column in columns.items()})
        examples.append(gallery.example(original, x_adv, **words))
    with_originals = any(original is not None for original in known)
    shown = gallery.COLUMNS if with_originals else gallery.COLUMNS[-1:]
    small = max(gallery.planes(np.zeros(shape)).shape[:2]) < gallery.SMALL
    note = _note(outcomes, len(results), len(rows), len(readable), with_originals)
    return Gallery(note, shown, examples, small)


def _words(results, row):
    """What stands below an example."""
    manifest, certified, index = results.manifest, row.get("certified", np.nan), int(row["index"])
    return {
        "index": index,
        "file": printable(results.files[index]) if results.files else None,
        "label": _label(manifest, row),
        "target": class_name(manifest, int(row["target"])),
        "status": word(manifest, int(row["status"])),
        "distortion": float(row["distortion"]) if row["success"] else None,
        "certified": float(certified) if np.isfinite(certified) else None,
    }


def _label(manifest, row):
    if row["label"] < 0 <= row.get(PREDICTED, -1):
        return f"{class_name(manifest, int(row[PREDICTED]))} (predicted)"
    return class_name(manifest, int(row["label"]))


def _note(outcomes, count, shown, readable, with_originals):
    which = ", evenly spaced." if shown < readable else "; the others could not be attacked."
    sample = f"{shown:,} of {count:,} images" + (which if shown < count else ".")
    nearest = "" if outcomes.chosen is None else " Of all targets, the nearest is shown."
    how = (
        "A difference of 0 is grey; others are shown times the factor above them."
        if with_originals
        else "The originals are not to be had: distorted images are shown alone."
    )
    return f"{sample}{nearest} {how} The keys ← and → turn pages; a click enlarges."


def _known(originals, indices, shape):
    """The original of each index; None for all, with a warning, where there is a reason."""
    if originals is None:
        return [None] * len(indices)
    try:
        found = [*originals(indices)]
        others = {image.shape for image in found if image is not None} - {shape}
        reason = f"they have the shapes {sorted(others)}, not {shape}" if others else ""
    except (InputError, OSError) as error:
        found, reason = [], described(error)
    if not reason:
        return found
    warnings.warn(f"distorted images are shown without their originals: {reason}", stacklevel=4)
    return [None] * len(indices)
