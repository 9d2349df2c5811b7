"""How every command ends: figures as JSON, tables as Markdown and on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from jaxadv.reports import files, tables
from jaxadv.reports.tables import Figures, Table
from jaxadv.runs.console import console


def publish(
    directory: Path, name: str, figures: Figures, texts: Sequence[Table | str], made: str
) -> None:
    """Writes <name>.json and <name>.md into the directory, prints the tables, and what was made."""
    files.write_json(directory / f"{name}.json", figures)
    files.write_text(directory / f"{name}.md", tables.markdown(texts))
    console.print(*map(tables.for_terminal, texts), sep="\n")
    console.print(f"{made} in {directory}/.")
