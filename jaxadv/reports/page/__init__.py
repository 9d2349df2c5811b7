"""A run as one HTML page that holds all it shows, and loads nothing."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from jaxadv.reports import files
from jaxadv.reports.tables import Table

NAME = "report.html"  # of a page among the results
DEEPEST = 8  # level of settings that has names of its own
FOLDER = Path(__file__).parent


class Picture(NamedTuple):
    """A picture as it is embedded."""

    source: str  # a data URI
    alt: str
    caption: str


class Gallery(NamedTuple):
    """Examples to page through."""

    note: str
    columns: Sequence[str]  # names of the images that each example has
    examples: Sequence[Mapping[str, Any]]  # of what the script shows: see `gallery.example`
    pixelated: bool = False  # whether images are small enough to show their pixels


class Run(NamedTuple):
    """What a page shows of a run."""

    title: str
    facts: Mapping[str, str]  # what was run, and on what
    texts: Sequence[Table | str]
    settings: Mapping[str, str]
    versions: Mapping[str, str]
    charts: Sequence[Picture] = ()  # before the texts
    pictures: Sequence[Picture] = ()  # after them
    gallery: Gallery | None = None


def picture(content: bytes, kind: str, alt: str, caption: str) -> Picture:
    """Embeds a picture of kind "png", "jpeg" or "svg+xml"."""
    return Picture(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", alt, caption)


def flat(values: Any, name: str = "") -> dict[str, str]:
    """Nested settings as text by dotted names.

    Example:
      >>> flat({"seed": 0, "attack": {"tol": 1e-3}, "noise": [0.1, 0.3], "out": None})
      {'seed': '0', 'attack.tol': '0.001', 'noise': '0.1, 0.3', 'out': '–'}
    """
    if isinstance(values, Mapping) and name.count(".") < DEEPEST:
        parts = (flat(each, f"{name}.{key}" if name else str(key)) for key, each in values.items())
        return {key: text for part in parts for key, text in part.items()}
    if isinstance(values, Sequence) and not isinstance(values, str):
        return {name: ", ".join(map(str, values)) or "–"}
    return {name: "–" if values is None else str(values)}


def write(path: Path, runs: Sequence[Run]) -> None:
    """Writes the page of some runs, whole or not at all."""
    files.write_text(path, html(runs))


def html(runs: Sequence[Run]) -> str:
    """The page of some runs; at most one has a gallery.

    Whatever comes from a run is escaped, and a policy in the page forbids it to load anything, or
    to run any script but the page's own.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (Markup((FOLDER / f"page.{kind}").read_text("utf-8")) for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = environment.get_template("page.html")
    return template.render(
        runs=runs, style=style, script=script, digest=digest, is_text=lambda x: isinstance(x, str)
    )
