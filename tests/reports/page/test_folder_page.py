"""The page of a command's folder: its tables, pictures, settings and versions."""

import base64
import json

import pytest
from reading import Page

from jaxadv.reports import files, page, publish, tables
from jaxadv.reports.page import folder
from jaxadv.reports.tables import Table
from jaxadv.storage.errors import InputError

FIGURES = {
    "settings": {"models": ["FC10(1)", "mine:network"], "attack": {"tol": 1e-3}},
    "dataset": "mnist",
    "seed": 0,
    "seconds": {"attack": 1.5, "total": 2.0},
    "source": "0123abcd",
    "versions": {"jax": "0.10.2"},
    "device": "2 × cpu",
}
TEXTS = [Table("Table 1: errors", ["model", "test %"], [["FC10(1)", "1.88 (1.64)"]]), "a note"]
PNG = b"\x89PNG\r\n\x1a\nof sorts"


@pytest.fixture
def written(tmp_path):
    files.write_json(tmp_path / "certificates.json", FIGURES)
    files.write_text(tmp_path / "certificates.md", tables.markdown(TEXTS))
    (tmp_path / "certificates.png").write_bytes(PNG)
    (tmp_path / "LeNet-5-conv1-natural.png").write_bytes(PNG)
    (tmp_path / "mine-too.png").write_bytes(PNG)
    return tmp_path


def test_all_that_is_there_is_on_the_page(written):
    [run] = folder.runs(written)
    assert run.title == "python -m jaxadv.certificates"
    assert run.texts == TEXTS
    assert run.settings == {"models": "FC10(1), mine:network", "attack.tol": "0.001"}
    assert run.versions == {"source": "0123abcd", "jax": "0.10.2"}
    assert run.facts == {
        "data set": "mnist",
        "models": "FC10(1), mine:network",
        "seed": "0",
        "device": "2 × cpu",
        "seconds": "2.0",
    }
    shown = [each["alt"] for each in Page(page.html([run])).all("img")]
    assert shown == [
        "Images that maximise units of LeNet-5-conv1",
        "Smallest distortion found and lower bounds, for each image",
        "mine-too",
    ]
    assert run.pictures[0].source.endswith(base64.b64encode(PNG).decode())


def test_a_folder_of_two_commands(written):
    files.write_json(written / "density.json", FIGURES)
    first, second = folder.runs(written)
    assert (first.title, second.title) == (
        "python -m jaxadv.certificates",
        "python -m jaxadv.density",
    )
    assert len(first.pictures) == 3 and not second.pictures and not second.texts
    page.html([first, second])


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[1]", b"{", b'{"settings": {}}', b"[" * 100_000, b"3"]
)
def test_files_of_others_are_left_out(written, content):
    (written / "others.json").write_bytes(content)
    assert len(folder.runs(written)) == 1
    (written / "certificates.json").unlink()
    with pytest.raises(InputError, match="has no results: neither the manifest"):
        folder.runs(written)


@pytest.mark.parametrize("value", [None, 3, "text", [], [[{}]], {"a": {"b": None}}])
def test_figures_of_any_form(written, value):
    content = dict.fromkeys(FIGURES, value)
    (written / "certificates.json").write_text(json.dumps(content), "utf-8")
    (written / "certificates.md").write_bytes(b"| a |\n| \xff |\n\n****\n\n| |")
    page.html(folder.runs(written))


def test_commands_write_their_page(written):
    publish.publish(written, "certificates", FIGURES, TEXTS, "Text is")
    assert (written / "report.html").read_text("utf-8") == page.html(folder.runs(written))


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["one note", "another"],
        [Table("", ["a"], [])],
        [Table("*", ["", "b"], [["", ""], ["c", ""]]), "note", Table("2", ["a"], [["b"]])],
    ],
)
def test_markdown_is_read_as_written(texts):
    assert tables.from_markdown(tables.markdown(texts)) == texts
