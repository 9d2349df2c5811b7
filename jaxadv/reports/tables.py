"""Tables and notes, on the terminal and as Markdown, and how figures are written in them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import rich.box
import rich.cells
import rich.console
import rich.table
import rich.text

Figures = Mapping[str, Any]  # what the JSON file of a command holds


class Table(NamedTuple):
    """A table of strings; the first column names the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> Iterator[rich.table.Table]:
        """On the terminal: in parts, where it has no room for all columns side by side."""
        end = len(self.header)
        columns = end  # of a part, at most: so many that the last has about as many, too
        for count in range(1, end):
            columns = math.ceil((end - 1) / count)
            parts = [range(first, min(first + columns, end)) for first in range(1, end, columns)]
            if all(sum(self._widths(part)[0]) <= _room(part, options.max_width) for part in parts):
                break
        for first in range(1, max(end, 2), columns):
            yield self._part(range(first, min(first + columns, end)), options.max_width)

    def _part(self, part, width) -> rich.table.Table:
        """The first column and some others, on lines of that width."""
        least, widths = self._widths(part)
        room = max(_room(part, width), len(widths))
        if sum(least) > room:
            least = [1] * len(least)  # words are folded, which loses no digits
        while sum(widths) > room:
            shrinkable = [i for i in range(len(widths)) if widths[i] > least[i]]
            widths[max(reversed(shrinkable), key=lambda i: widths[i])] -= 1
        title = self.title if part.start == 1 else f"{self.title} (continued)"
        table = rich.table.Table(
            title=rich.text.Text(title),  # in which brackets are no markup, nor are they below
            title_justify="left",
            box=rich.box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 0, 0, 1),
        )
        for index, column_width in zip((0, *part), widths, strict=True):
            table.add_column(
                rich.text.Text(_broken(self.header[index]) if index else self.header[0]),
                justify="right" if index else "left",
                overflow="fold",
                width=column_width,
            )
        for row in self.rows:
            table.add_row(*(rich.text.Text(row[index]) for index in (0, *part)))
        return table

    def _widths(self, part) -> tuple[list[int], list[int]]:
        """Of the first column and some others: at least, for whole words, and for whole cells."""
        texts = [[_broken(self.header[i]), *(row[i] for row in self.rows)] for i in part]
        names = _widest([self.header[0], *(row[0] for row in self.rows)])
        least = [names, *(_widest(" ".join(cells).split()) for cells in texts)]
        return least, [names, *(_widest("\n".join(cells).split("\n")) for cells in texts)]

    def markdown(self) -> str:
        """For a file."""
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{self.title}**\n\n{body}\n"


def _broken(name):
    """The name of a column, which may break after a hyphen, and before a bracket and a plus."""
    split = name.replace("(", "\n(") if "(" in name else name.replace("-", "-\n", 1)
    return split.replace("+", "\n+")


def _widest(texts):
    return max(map(rich.cells.cell_len, texts), default=0) or 1


def _room(part, width):
    """What lines of that width leave for the texts of the first column and some others."""
    return width - 2 * (1 + len(part))


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
