"""What a command left in its folder: tables, pictures, settings and versions."""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jaxadv.reports import tables
from jaxadv.reports.page import Picture, Run, flat, picture
from jaxadv.reports.tables import Figures, Table
from jaxadv.storage.errors import InputError

NATURE = {"settings", "versions"}  # what the figures of every command have
KINDS = {".png": "png", ".jpg": "jpeg"}
ALTS = {  # what pictures show, by their names; {} stands for what * is
    "transfer_table.png": "Error of the column's model on examples made for the row's",
    "cross_training.png": "Error of the column's model on images changed for the row's",
    "examples.png": "Originals, distorted images and differences for each model",
    "imagenet.png": "Photographs, differences magnified, and what is taken for other classes",
    "robustness.png": "Error on originals, examples and amplified ones against noise",
    "density.png": "Fraction of perturbations that change the class against their norm",
    "adversarial_training.png": "Errors by training, errors and accuracy against distortion",
    "certificates.png": "Smallest distortion found and lower bounds, for each image",
    "control.png": "Distortions found and certified, and errors, against the Lipschitz bound",
    "units.png": "Label agreement of units and random directions",
    "faces.png": "Faces and backgrounds, each also distorted to be taken for the other",
    "filters.png": "Filters of the first stage, learned and random",
    "stimuli.png": "Crops of photographs that maximise units of the top",
    "*-natural.*": "Images that maximise units of {}",
    "*-random.*": "Images that maximise random directions in {}",
    "*-components.*": "Images that maximise principal components of {}",
}


def runs(directory: Path) -> list[Run]:
    """All runs whose figures are in the folder, by name; pictures stand with the first.

    Raises:
      InputError: there are none.
      OSError: the folder cannot be read.
    """
    found = [
        (path.stem, figures, path.with_suffix(".md"))
        for path in sorted(directory.glob("*.json"))
        if NATURE <= (figures := _figures(path)).keys()
    ]
    if not found:
        raise InputError(
            f"{directory} has no results: neither the manifest.json of generated examples nor the"
            " <command>.json of another command"
        )
    made = [
        run(
            name,
            figures,
            tables.from_markdown(text.read_text("utf-8", "replace")) if text.exists() else [],
        )
        for name, figures, text in found
    ]
    return [made[0]._replace(pictures=pictures(directory)), *made[1:]]


def run(name: str, figures: Figures, texts: Sequence[Table | str]) -> Run:
    """What the page shows of a run of the command of that name, less its pictures."""
    versions = {"source": figures.get("source")} | flat(figures.get("versions", {}))
    return Run(
        title=f"python -m jaxadv.{name}",
        facts=_facts(figures),
        texts=texts,
        settings=flat(figures.get("settings", {})),
        versions=flat(versions),
    )


def pictures(directory: Path) -> list[Picture]:
    """All PNG and JPEG files of the folder, with what they show."""
    made = []
    for path in sorted(each for each in directory.iterdir() if each.suffix in KINDS):
        alts = (alt for pattern, alt in ALTS.items() if fnmatchcase(path.name, pattern))
        alt = next(alts, path.stem).replace("{}", path.stem.rpartition("-")[0])
        made.append(picture(path.read_bytes(), KINDS[path.suffix], alt, alt))
    return made


def _figures(path) -> dict[str, Any]:
    """What a JSON file holds; nothing if it is none, or no object."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _facts(figures):
    settings = figures.get("settings", {})
    settings = settings if isinstance(settings, dict) else {}
    seconds = figures.get("seconds", {})
    facts = {
        "data set": figures.get("dataset"),
        "models": settings.get("models"),
        "images": figures.get("images"),
        "seed": figures.get("seed"),
        "device": figures.get("device"),
        "seconds": seconds.get("total") if isinstance(seconds, dict) else seconds,
    }
    return {
        name: text
        for name, value in facts.items()
        if value is not None
        for text in flat(value).values()
    }
