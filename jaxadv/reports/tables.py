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
        heads = [self.header[0], *map(_broken, self.header[1:])]
        columns = [[head, *cells] for head, *cells in zip(heads, *self.rows, strict=True)]
        whole = [_widest("\n".join(column).split("\n")) for column in columns]
        least = [whole[0], *(_widest(" ".join(column).split()) for column in columns[1:])]
        title = self.title
        for part in _parts(least, options.max_width):
            room = _room(part, options.max_width)
            widths = _fitted([whole[i] for i in part], [least[i] for i in part], room)
            yield _rich(title, [columns[i] for i in part], widths)
            title = f"{self.title} (continued)"

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


def _rich(title, columns, widths):
    """A table of columns, each its name and its cells, in which brackets are no markup."""
    table = rich.table.Table(
        title=rich.text.Text(title),
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    for index, (column, width) in enumerate(zip(columns, widths, strict=True)):
        side = "right" if index else "left"
        table.add_column(rich.text.Text(column[0]), justify=side, overflow="fold", width=width)
    _, *rows = zip(*columns, strict=True)
    for cells in rows:
        table.add_row(*map(rich.text.Text, cells))
    return table


def _parts(least, width):
    """Columns of each part: the first, and as few as need be of the others, about as many each."""
    others = range(1, len(least))
    parts = [[0]]
    for count in others:
        size = math.ceil(len(others) / count)
        parts = [[0, *others[i : i + size]] for i in range(0, len(others), size)]
        if all(sum(least[i] for i in part) <= _room(part, width) for part in parts):
            break
    return parts


def _fitted(widths, least, room):
    """Widths of columns, of which the widest are narrowed; of words that are folded, if need be."""
    room = max(room, len(widths))
    if sum(least) > room:
        least = [1] * len(least)  # which loses no digits
    while sum(widths) > room:
        shrinkable = [i for i in range(len(widths)) if widths[i] > least[i]]
        widths[max(reversed(shrinkable), key=lambda i: widths[i])] -= 1
    return widths


def _room(part, width):
    """What lines of that width leave for the texts of some columns."""
    return width - 2 * len(part)


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
