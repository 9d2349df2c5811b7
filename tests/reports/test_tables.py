"""Tables and notes, and how figures are written in them."""

import pytest
from rich.console import Console

from jaxadv.reports import tables
from jaxadv.reports.tables import Table

TABLE = Table("A title", ["name", "FC10(1e-4)", "FC100-100-10"], [["α", "1", "2"], ["β", "3", ""]])

NAMES = "noise, to clip", "a network's name that is long", "[b] bracketed [/x]", "宽 名字"


def test_markdown():
    assert TABLE.markdown() == (
        "**A title**\n\n"
        "| name | FC10(1e-4) | FC100-100-10 |\n"
        "| --- | ---: | ---: |\n"
        "| α | 1 | 2 |\n"
        "| β | 3 |  |\n"
    )


def test_table_for_the_terminal():
    console = Console(width=60, color_system=None)
    with console.capture() as capture:
        console.print(TABLE)
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    assert lines == [
        ["A", "title"],
        ["FC10", "FC100-"],
        ["name", "(1e-4)", "100-10"],
        [lines[3][0]],  # the rule
        ["α", "1", "2"],
        ["β", "3"],
    ]


def test_narrow_terminals_lose_no_digits():
    table = Table("", ["name", *"abc"], [["row", *["0.0368 [0.0355, 0.0381]"] * 3]])
    console = Console(width=30)
    with console.capture() as captured:
        console.print(table)
    shown = captured.get()
    assert "…" not in shown and [shown.count(digit) for digit in "68"] == [3, 6]


def test_columns_that_have_no_room_come_below():
    names = [f"FC100-100-10+{way}" for way in ("decay", "dropout", "input-pool", "pgd")]
    rows = [[name, *(f"{i}{j}.5" for j in range(4))] for i, name in enumerate(names, start=1)]
    console = Console(width=50, color_system=None)
    with console.capture() as captured:
        console.print(Table("Transfer", ["made for", *names], rows))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 50 and captured.get().count("Transfer (continued)") == 1
    found = {name: [] for name in names}
    for line in lines:
        name, *cells = line.split() or [""]
        found.get(name, []).extend(cells)
    assert list(found.values()) == [row[1:] for row in rows]
    heads = [name for line in lines if ".5" not in line for name in line.split() if "+" in name]
    assert heads == ["+decay", "+dropout", "+input-pool", "+pgd"]


def test_a_terminal_without_room_for_anything_is_no_error():
    for width in range(1, 12):
        console = Console(width=width)
        with console.capture():
            console.print(Table("A title", ["name", "(a)", "b"], [["row", "1.5", "22"]]))


@pytest.mark.parametrize("columns", [1, 2, 3, 9])
@pytest.mark.parametrize("cell", ["98.765", "0.03 [0.0355, 0.0381]", "1" * 45])
@pytest.mark.parametrize("name", NAMES)
def test_all_is_printed_once_at_any_width(name, cell, columns):
    header = ["made for", *["FC-net (x)", "some+way", "[/y] z", "l"] * 2][:columns]
    rows = [[name, *[cell] * (columns - 1)], ["l", *["7", cell, "9 9"] * 3][:columns]]
    table = Table("[t] title", header, rows)
    for width in range(24, 200):
        console = Console(width=width, color_system=None)
        with console.capture() as captured:
            console.print(table)
        shown = captured.get()
        for digit in "135789":
            assert shown.count(digit) == "".join(rows[0] + rows[1]).count(digit), width
        assert "…" not in shown and "[t] title" in shown
        for letter in set(name) - set(" []/b,'0"):
            assert shown.count(letter) >= name.count(letter), (width, letter)


@pytest.mark.parametrize(
    "args, expected",
    [
        ((0.1234,), "12.3"),
        ((0.1234, 0.117), "12.3 (11.7)"),
        ((0.1234, 0.0164, 2), "12.34 (1.64)"),
        ((0.0, 0.0), "0.0 (0)"),
        ((1.0, 1.0), "100.0 (100)"),
        ((0.5, None, 0), "50"),
    ],
)
def test_percent(args, expected):
    assert tables.percent(*args) == expected


@pytest.mark.parametrize(
    "args, expected",
    [
        ((0.04549,), "0.045"),
        ((0.04549, 0.058), "0.045 (0.058)"),
        ((0.1, 0.1), "0.100 (0.1)"),
        ((None,), "–"),
        ((None, 0.058), "– (0.058)"),
    ],
)
def test_distortion(args, expected):
    assert tables.distortion(*args) == expected


def test_texts_for_a_file():
    assert tables.markdown([TABLE, "a note"]) == TABLE.markdown() + "\na note\n"
