"""Tables, JSON and pictures, and what transfer_report makes with them."""

import json
import math
import struct

import jax
import matplotlib
import matplotlib.image
import numpy as np
import pytest
import rich.table
from rich.console import Console

from jaxadv import zoo
from jaxadv.measures import transfer
from jaxadv.reports import paper, pictures
from jaxadv.reports import tables as report
from jaxadv.reports import transfer as transfer_report
from jaxadv.reports.tables import Table

TABLE = Table("A title", ["name", "FC10(1e-4)", "FC100-100-10"], [["α", "1", "2"], ["β", "3", ""]])
RUN = {
    "dataset": "mnist",
    "images": 4,
    "seed": 3,
    "device": "1 × cpu",
    "seconds": {"total": 12.3},
}


def result(*names):
    """Of a first model that is fooled by all of its examples, and a second that is by none."""
    models = [
        zoo.Model(name, None, None, train_error, test_error)
        for name, train_error, test_error in zip(names, (0.25, 0.0), (0.125, 0.5), strict=True)
    ]
    distortion = np.array([0.1, 0.15, 0.12, 0.1236])
    spent = np.array([90.0, 110, 100, 98.4])
    examples = [
        transfer.Examples(distortion, np.ones(4, bool), spent, 2 * spent, []),
        transfer.Examples(distortion, np.zeros(4, bool), 7 + 0 * spent, spent, []),
    ]
    error = np.array([[1.0, 0.5], [0.25, 0.0]])
    controls = {"noise 0.1": transfer.Fed(0.0999, [0.25, 0.75])}
    return transfer.TransferResult(models, np.zeros(4, int), examples, error, controls)


def figures(dataset="mnist"):
    published = paper.for_dataset(dataset, paper.TABLES_1_AND_2)
    return (
        transfer_report.figures(result("FC10(1)", "mine"), published) | RUN | {"dataset": dataset}
    )


FIGURES = figures()


def figures_on_halves(dataset="mnist"):
    published = paper.for_dataset(dataset, paper.TABLES_3_AND_4)
    found = transfer_report.figures(result("FC100-100-10", "mine'"), published)
    for model, part in zip(found["models"], ("P1", "P2"), strict=True):
        model |= {"trained_on": part, "part_1_error": 0.0, "part_2_error": 0.0312}
    return found | RUN | {"dataset": dataset}


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
        console.print(TABLE.rich())
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    assert lines == [
        ["A", "title"],
        ["FC10", "FC100-"],
        ["name", "(1e-4)", "100-10"],
        [lines[3][0]],  # the rule
        ["α", "1", "2"],
        ["β", "3"],
    ]


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
    assert report.percent(*args) == expected


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
    assert report.distortion(*args) == expected


def test_environment_names_versions_and_device():
    found = report.environment()
    assert found["versions"]["jax"] == jax.__version__
    assert {"jaxadv", "jaxopt", "flax", "numpy"} <= set(found["versions"])
    assert found["device"].startswith(f"{len(jax.local_devices())} × ")


def test_json_round_trip(tmp_path):
    content = {"name": "µ × 2", "values": [1, 2.5, None], "nested": {"a": True}}
    report.write_json(tmp_path / "new" / "file.json", content)
    text = (tmp_path / "new" / "file.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert "µ × 2" in text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_not_json_and_keeps_the_old_file(tmp_path, value):
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write_json(path, {"a": [1.0, value]})
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def assert_png(path, inches):
    """A whole PNG of the size at 110 dots per inch, that is not of one colour."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and content[-8:-4] == b"IEND"
    np.testing.assert_allclose(struct.unpack(">2I", content[16:24]), 110 * np.array(inches), atol=1)
    assert [*path.parent.iterdir()] == [path]
    pixels = matplotlib.image.imread(path)
    assert pixels.std() > 0.05
    return np.uint8(np.rint(255 * pixels[..., :3])).reshape(-1, 3)


def share(pixels, color):
    return np.mean((np.abs(pixels.astype(int) - color) <= 1).all(axis=1))


@pytest.mark.parametrize("panels", [1, 2])
@pytest.mark.parametrize("rows, columns", [(1, 1), (4, 3)])
def test_heat_maps(tmp_path, panels, rows, columns):
    values = np.linspace(0, 1, rows * columns).reshape(rows, columns)
    names = [f"model {index}" for index in range(max(rows, columns))]
    titles = {f"panel {index}": values for index in range(panels)}
    pictures.heat_maps(tmp_path / "map.png", titles, names[:rows], names[:columns])
    inches = 3 + 0.75 * columns * panels, 2.6 + 0.45 * rows
    pixels = assert_png(tmp_path / "map.png", inches)
    for value in values.flat:  # each has a cell of its colour
        color = 255 * np.array(matplotlib.colormaps["magma"](value)[:3])
        assert share(pixels, color) > 0.05 * panels / values.size


@pytest.mark.parametrize("models, examples", [(1, 1), (3, 2)])
def test_example_images(tmp_path, models, examples):
    original = np.zeros((28, 28, 1), "float32")
    distorted = np.full((28, 28, 1), 0.5, "float32")
    groups = [[(original, distorted, "3 → 5")] * examples] * models
    pictures.example_images(tmp_path / "x.png", [f"model {i}" for i in range(models)], groups)
    pixels = assert_png(tmp_path / "x.png", (1.2 + 3.3 * examples, 0.5 + 1.35 * models))
    black, grey, red = (share(pixels, color) for color in [(0, 0, 0), (128,) * 3, (103, 0, 31)])
    assert black > 0.1  # the captions are black, too
    assert grey == pytest.approx(red, rel=0.02) and grey > 0.1


def test_curves(tmp_path):
    x = [0.01, 0.1, 1.0]
    lines = {"first": (x, [0, 50, 100]), "second": (x, [1, 2, 3])}
    pictures.curves(tmp_path / "x.png", {"left": lines, "right": lines}, "size", "error (%)")
    pixels = assert_png(tmp_path / "x.png", (9, 4))
    blue, orange = (share(pixels, color) for color in ((31, 119, 180), (255, 127, 14)))
    assert min(blue, orange) > 1e-3


def test_texts_for_terminal_and_file():
    assert report.for_terminal("a note") == "a note"
    assert isinstance(report.for_terminal(TABLE), rich.table.Table)
    assert report.markdown([TABLE, "a note"]) == TABLE.markdown() + "\na note\n"


def test_difference_has_one_scale_per_row_and_survives_being_zero(tmp_path):
    x = np.full((28, 28), 0.5, "float32")
    groups = [[(x, x, "no change")], [(x, x + 0.125, "brighter")]]
    pictures.example_images(tmp_path / "x.png", ["first", "second"], groups)
    pixels = assert_png(tmp_path / "x.png", (4.5, 3.2))
    assert share(pixels, (103, 0, 31)) > 0.05  # the reddest red: the full scale of its row


def test_table_1_compares_with_the_paper():
    table = transfer_report.table_1(FIGURES)
    assert table.rows == [
        ["FC10(1)", "25.00 (21.2)", "12.50 (20)", "0.123 (0.14)", "100.0", "100"],
        ["mine", "0.00", "50.00", "–", "0.0", "7"],
    ]
    assert len(table.header) == 6


def test_table_2_compares_with_the_paper():
    table = transfer_report.table_2(FIGURES)
    assert table.header[1:] == ["FC10(1)", "mine", "RMS"]
    assert table.rows == [
        ["FC10(1)", "100.0 (100)", "50.0", "0.123"],
        ["mine", "25.0", "0.0", "–"],
        ["noise 0.1", "25.0 (18.3)", "75.0", "0.100"],
    ]


def test_table_3_compares_with_the_paper():
    assert transfer_report.table_3(figures_on_halves()).rows == [
        ["FC100-100-10", "P1", "0.00 (0)", "3.12 (2.4)", "12.50 (2)", "0.123 (0.062)", "100.0"],
        ["mine'", "P2", "0.00", "3.12", "50.00", "–", "0.0"],
    ]


def test_table_4_compares_with_the_paper():
    assert transfer_report.table_4(figures_on_halves()).rows == [
        ["FC100-100-10", "100.0 (100)", "50.0", "0.123"],
        ["mine'", "25.0", "0.0", "–"],
        ["noise 0.1", "25.0 (2.6)", "75.0", "0.100"],
    ]


def test_other_data_sets_are_not_compared_with_the_paper():
    ours, halves = figures("fashion_mnist"), figures_on_halves("fashion_mnist")
    tables = [
        *(transfer_report.table_1(ours), transfer_report.table_2(ours)),
        *(transfer_report.table_3(halves), transfer_report.table_4(halves)),
    ]
    assert not [cell for table in tables for row in table.rows for cell in row[1:] if "(" in cell]
    assert "paper" in transfer_report.note(FIGURES, "training")
    assert "paper" not in transfer_report.note(ours, "training")


def test_robustness_table():
    kinds = {
        "originals": {"unchanged": 0.0, "rounded": 0.0, "noise": [0.0, 0.125]},
        "examples": {"unchanged": 1.0, "rounded": 0.5, "noise": [0.625, 0.75]},
        "amplified": {"unchanged": 1.0, "rounded": 0.875, "noise": [0.25, 0.375]},
    }
    robust = {"amplification": 1.5, "noise": [0.1, 0.2], "models": [{"name": "mine"} | kinds]}
    table = transfer_report.robustness_table({"robustness": robust})
    assert table.header == ["examples", "as is", "8 bits", "noise 0.1", "noise 0.2"]
    assert table.rows == [
        ["mine", "100.0", "50.0", "62.5", "75.0"],
        ["mine, 1.5 r", "100.0", "87.5", "25.0", "37.5"],
    ]


@pytest.mark.parametrize("part", ["4 test images", " mnist", "seed 3", "1 × cpu", "12 s"])
def test_note_tells_the_run(part):
    assert part in transfer_report.note(FIGURES, "test")


def test_figures_of_the_paper():
    """Szegedy et al. (2013): some cells of the tables, and what all rows have in common."""
    assert paper.TABLE_1["FC100-100-10"] == (0.0, 0.0164, 0.058)
    assert paper.TABLE_1["AE400-10"] == (0.0057, 0.019, 0.086)
    assert paper.TABLE_2["FC10(1)"]["FC10(1e-2)"] == 0.762
    assert paper.TABLE_2["FC200-200-10"]["FC10(1e-4)"] == 0.382
    assert paper.TABLE_2["noise 0.3"]["AE400-10"] == 0.031
    assert list(paper.TABLE_2)[:6] == list(paper.TABLE_1)
    for name, row in paper.TABLE_2.items():
        assert list(row) == list(paper.TABLE_1)
        assert [column for column, error in row.items() if error == 1] == [name][: len(row)] or (
            name.startswith("noise") and max(row.values()) < 0.25
        )
    assert paper.TABLE_3["FC100-100-10'"] == (0.023, 0.0, 0.021, 0.058)
    assert paper.TABLE_4["FC100-100-10' to 0.1"]["FC123-456-10"] == 0.5
    for name, row in paper.TABLE_4.items():
        assert list(row) == list(paper.TABLE_3)
        ones = [column for column, error in row.items() if error == 1]
        assert ones == [name.removesuffix(" to 0.1")] or (
            name.startswith("noise") and max(row.values()) < 0.03
        )


def test_arrays_in_parts_are_read_as_one(tmp_path):
    rng = np.random.default_rng(0)
    images, flags = rng.uniform(size=(7, 2, 3)).astype("float32"), np.arange(7) % 2 == 0
    path = tmp_path / "a" / "arrays.npz"
    report.write_arrays(
        path,
        {
            "model/images": report.Parts(
                images.shape, np.float32, (images[i : i + 3] for i in (0, 3, 6))
            ),
            "flags": report.Parts(flags.shape, flags.dtype, [flags]),
        },
    )
    with np.load(path) as file:
        assert set(file.files) == {"model/images", "flags"}
        np.testing.assert_array_equal(file["model/images"], images, strict=True)
        np.testing.assert_array_equal(file["flags"], flags, strict=True)
