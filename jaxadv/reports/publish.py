"""How every command ends: figures as JSON, tables as Markdown, on a page and on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from jaxadv.reports import files, page, tables
from jaxadv.reports.page import folder
from jaxadv.reports.tables import Figures, Table
from jaxadv.runs.console import console


def publish(
    directory: Path, name: str, figures: Figures, texts: Sequence[Table | str], made: str
) -> None:
    """Writes <name>.json, <name>.md and report.html, prints the tables, and what was made.

    The pictures in the directory are on the page, too.
    """
    files.write_json(directory / f"{name}.json", figures)
    files.write_text(directory / f"{name}.md", tables.markdown(texts))
    run = folder.run(name, figures, texts)._replace(pictures=folder.pictures(directory))
    page.write(directory / page.NAME, [run])
    console.print(*texts, sep="\n")
    console.print(f"{made} in {directory}/.")
