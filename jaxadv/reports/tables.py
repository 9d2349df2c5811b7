"""Tables and notes, on the terminal and as Markdown, and how figures are written in them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import rich.box
import rich.cells
import rich.console
import rich.measure
import rich.table
import rich.text

Figures = Mapping[str, Any]  # what the JSON file of a command holds
UNLIMITED = 10_000  # characters of a line: more than any table has


class Table(NamedTuple):
    """A table of strings; the first column names the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> Iterator[rich.table.Table]:
        """On the terminal: in parts, where it has no room for all columns side by side."""
        unlimited = options.update(width=UNLIMITED)

        def width(part):
            return rich.measure.Measurement.get(console, unlimited, part).minimum

        first = 1
        while first < max(len(self.header), 2):
            last = len(self.header)
            while last > first + 1 and width(self._part(first, last)) > options.max_width:
                last -= 1
            yield self._part(first, last)
            first = max(last, first + 1)

    def _part(self, first, last) -> rich.table.Table:
        """The first column and those from first to last.

        Their names break after a hyphen, and before a bracket and a plus.
        """
        table = rich.table.Table(
            title=self.title if first == 1 else None,
            title_justify="left",
            box=rich.box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 0, 0, 1),
        )
        table.add_column(self.header[0], no_wrap=True)
        for index in range(first, last):
            name = self.header[index]
            split = name.replace("(", "\n(") if "(" in name else name.replace("-", "-\n", 1)
            split = split.replace("+", "\n+")
            words = " ".join([split, *(row[index] for row in self.rows)]).split()
            least = max(map(rich.cells.cell_len, words), default=0)
            # Folding loses no digits, where a word has no room.
            table.add_column(split, justify="right", overflow="fold", min_width=least)
        for name, *cells in self.rows:
            texts = [name, *cells[first - 1 : last - 1]]
            table.add_row(*map(rich.text.Text, texts))  # in which brackets are no markup
        return table

    def markdown(self) -> str:
        """For a file."""
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{self.title}**\n\n{body}\n"


def markdown(texts: Sequence[Table | str]) -> str:
    """Tables and notes as a file."""
    parts = [text.markdown() if isinstance(text, Table) else f"{text}\n" for text in texts]
    return "\n".join(parts)


def from_markdown(text: str) -> list[Table | str]:
    """The tables and notes that `markdown` has written as a file.

    Example:
      >>> table = Table("A title", ["name", "%"], [["α", "1"], ["β", ""]])
      >>> from_markdown(markdown([table, "a note"])) == [table, "a note"]
      True
    """
    texts, title = [], ""
    for part in filter(None, map(str.strip, text.split("\n\n"))):
        if part.startswith("| ") and "\n| --- |" in part:
            header, _, *rows = (
                [*map(str.strip, line[2:-1].split(" | "))] for line in part.split("\n")
            )
            texts.append(Table(title, header, rows))
        elif part.startswith("**") and part.endswith("**") and "\n" not in part:
            title = part[2:-2]
        else:
            texts.append(part)
    return texts


def percent(value: float | None, paper: float | None = None, digits: int = 1) -> str:
    """A fraction in per cent, the paper's in brackets: "12.3 (11.7)"; a dash for None."""
    shown = "–" if value is None else f"{100 * value:.{digits}f}"
    return beside(shown, None if paper is None else f"{100 * paper:.4g}")


def decimals(value: float | None, digits: int) -> str:
    """A figure with so many decimals; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def distortion(value: float | None, paper: float | None = None) -> str:
    """A distortion, the paper's in brackets: "0.045 (0.058)"."""
    return beside(decimals(value, 3), None if paper is None else f"{paper:g}")


def beside(value: str, paper: str | None) -> str:
    """A figure with the paper's in brackets, where it has one."""
    return value if paper is None else f"{value} ({paper})"


def run_of(figures: Figures) -> str:
    """The end of the note below tables: seed, device and seconds of a run."""
    total = figures["seconds"]["total"]
    return f"seed {figures['seed']}; {figures['device']}, {total:.0f} s."
