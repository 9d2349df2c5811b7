"""What generation says: how far it has come, and at the end its tables and its page."""

from collections.abc import Sequence
from pathlib import Path

from jaxadv.datasets.examples import Examples
from jaxadv.reports import page
from jaxadv.reports.page import generated
from jaxadv.runs.console import console, say
from jaxadv.storage.results import export_npz, read_results
from jaxadv.storage.shards import Run


def begun(place: str, run: Run, missing: Sequence[int]) -> None:
    """Says what is there already."""
    if there := len(run.share) - len(missing):
        of = f"{len(run.share)} files" + (" of this process" if _is_shared(run) else "")
        say(f"{there} of {of} are there in {place}")


def ended(place: str, examples: Examples, complete: bool, export: Path | None = None) -> None:
    """Prints the tables, writes the page and what to export, unless others are still at work."""
    if not complete:
        say(f"This process has done its part in {place}; files of others are missing")
        return
    results = read_results(place)
    shown = generated.run(results, lambda rows: [examples[row].image for row in rows])
    console.print(*shown.texts, sep="\n")
    where = ""
    if "://" not in place:
        page.write(Path(place, page.NAME), [shown])
        where = f", and {page.NAME} shows them"
    if export is not None:
        export_npz(results, export)
        where += f", and all columns are in {export}"
    say(f"The results are in {place}{where}.")


def _is_shared(run):
    return len(run.share) < run.layout.shards
