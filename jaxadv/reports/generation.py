"""What generation says: how far it has come, and at the end its tables and its page."""

from collections.abc import Sequence
from pathlib import Path

from jaxadv.datasets.examples import Examples
from jaxadv.reports import page, tables
from jaxadv.reports.page import generated
from jaxadv.runs.console import console
from jaxadv.storage.results import read_results
from jaxadv.storage.shards import Run


def begun(place: str, run: Run, missing: Sequence[int]) -> None:
    """Says what is there already."""
    if there := len(run.share) - len(missing):
        of = f"{len(run.share)} files" + (" of this process" if _is_shared(run) else "")
        _print(f"{there} of {of} are there in {place}")


def ended(place: str, examples: Examples, complete: bool) -> None:
    """Prints the tables and writes the page, unless other processes are still at work."""
    if not complete:
        _print(f"This process has done its part in {place}; files of others are missing")
        return
    results = read_results(place)
    shown = generated.run(results, lambda rows: [examples[row].image for row in rows])
    console.print(*map(tables.for_terminal, shown.texts), sep="\n")
    where = "" if "://" in place else f", and {page.NAME} shows them"
    if where:
        page.write(Path(place, page.NAME), [shown])
    _print(f"The results are in {place}{where}.")


def _is_shared(run):
    return len(run.share) < run.layout.shards


def _print(text):
    console.print(text, markup=False, highlight=False, soft_wrap=True)
