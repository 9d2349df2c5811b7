"""The examples of the documentation run: those of the pages, and those of docstrings."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import jaxadv
from jaxadv import AttackOptions
from jaxadv.attacks import checks

PACKAGE = Path(jaxadv.__file__).parent
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCTESTS = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text("utf-8")]
FAST = AttackOptions(  # to compile, and to run
    smoothing_steps=0, restart=False, history_size=1, tol=1e-2, bracket=2, c_steps=3
)


SHELL = "generation.md"  # whose commands are run, too


def blocks(page):
    """(language, first line, code) of the page's blocks."""
    for token in MarkdownIt().parse(page.read_text("utf-8")):
        if token.info == "python" or (token.info == "sh" and page.name == SHELL):
            yield token.info, token.map[0] + 1, token.content


def run_in_shell(code):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    where = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-ec", code], env=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(blocks(page))], ids=lambda page: page.name
)
def test_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page.name == "models.md":  # of many models, and an attack on each to compile
        monkeypatch.setattr(checks, "checked_options", lambda options: FAST)
    namespace = {"__name__": "__main__"}
    for language, line, code in blocks(page):
        name = re.match(r"# (\w+\.py)\n", code)
        if language == "sh":
            run_in_shell(code)
        elif name:  # a file
            Path(name[1]).write_text(code, "utf-8")
        else:
            exec(compile("\n" * line + code, page, "exec"), namespace)


@pytest.mark.parametrize("path", DOCTESTS, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_examples_of_docstrings(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    failed, attempted = doctest.testmod(module)
    assert failed == 0
    assert attempted == path.read_text("utf-8").count(">>> ")  # none is out of doctest's sight
