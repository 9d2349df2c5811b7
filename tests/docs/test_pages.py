"""What the pages link to exists, and the front page is short."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from markdown_it import MarkdownIt

import jaxadv

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def tokens(page):
    return MarkdownIt().enable("table").parse(page.read_text("utf-8"))


def targets(page):
    """What the page's links and pictures point to."""
    for token in tokens(page):
        for child in token.children or ():
            yield from (child.attrs[name] for name in ("href", "src") if name in child.attrs)


def anchors(page):
    """The names that GitHub gives to the page's headings."""
    pairs = zip(tokens(page), tokens(page)[1:], strict=False)
    headings = [inline.content for token, inline in pairs if token.type == "heading_open"]
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


def test_anchors_are_githubs(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# L-BFGS-B, mended\n## All 60,000 images?\n```\n# no heading\n```\n")
    assert anchors(page) == {"l-bfgs-b-mended", "all-60000-images"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_links_to_exists(page):
    missing = []
    for target in map(urlsplit, targets(page)):
        file = page.parent / target.path if target.path else page
        there = target.scheme or file.exists()
        if not there or (target.fragment and target.fragment not in anchors(file)):
            missing.append(target.geturl())
    assert missing == []


def test_every_page_and_picture_is_linked_to():
    linked = {(page.parent / target).resolve() for page in PAGES for target in targets(page)}
    assert {path for path in (ROOT / "docs").iterdir() if path.resolve() not in linked} == set()


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_citation_has_the_version():
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == jaxadv.__version__


def test_figures_of_the_front_page_are_those_of_the_pages():
    lines = (ROOT / "README.md").read_text("utf-8").replace("**", "").splitlines()
    pages = [page.read_text("utf-8").replace("**", "") for page in (ROOT / "docs").glob("*.md")]
    figures = [line for line in lines if line.startswith(("| jaxadv", "| adv-lib", " FC", " AE"))]
    assert len(figures) > 15
    for line in figures:  # in pages, a table of two networks may go on
        assert any(line.rstrip(" |") in page for page in pages), line
