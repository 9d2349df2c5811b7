"""The page as HTML: whole in itself, and nothing from a run but text."""

import base64
import hashlib
import re
import tomllib
from pathlib import Path

from fake_results import HOSTILE, results
from reading import Page

import jaxadv
from jaxadv.reports import page
from jaxadv.reports.page import Run, generated, picture
from jaxadv.reports.tables import Table

PACKAGE = Path(jaxadv.__file__).parent
RUN = Run("a title", {"data": "mnist"}, ["a note"], {"seed": "0"}, {"jax": "1"})


def hostile_run():
    table = Table(HOSTILE, [HOSTILE] * 2, [[HOSTILE] * 2])
    named = {HOSTILE: HOSTILE}
    shown = [picture(b"", "png", HOSTILE, HOSTILE)]
    fake, originals = results(count=14, model=HOSTILE, seed=HOSTILE, classes_of=named)
    fake.manifest["classes"] = [f"{i}{HOSTILE}" for i in range(10)]
    fake.manifest["data"]["name"] = fake.manifest["versions"]["jax"] = HOSTILE
    of_results = generated.run(fake, originals)
    return of_results, RUN._replace(
        title=HOSTILE,
        facts=named,
        texts=[HOSTILE, table],
        settings=named,
        versions=named,
        charts=shown,
        pictures=shown,
    )


def test_what_is_hostile_is_text():
    found = Page(page.html(hostile_run()))
    usual = Page(page.html([generated.run(*results(count=14)), RUN]))
    assert {tag for tag, _ in found.tags} == {tag for tag, _ in usual.tags}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert len(found.all("script")) == 2 and not found.all("b")
    assert found.text("title") == [f"Adversarial examples for {HOSTILE} on {HOSTILE}, {HOSTILE}"]
    assert [*map(HOSTILE.__eq__, found.text("h1"))] == [False, True]
    assert found.text("td").count(HOSTILE) >= 3 and HOSTILE in found.text("p", "th", "dd")
    assert [each["alt"] for each in found.all("img")][-2:] == [HOSTILE] * 2
    assert found.examples()["examples"][0]["label"] == f"0{HOSTILE}"


def test_nothing_is_loaded_and_only_the_script_may_run():
    html = page.html([generated.run(*results(count=14))])
    found = Page(html)
    for tag, attributes in found.tags:
        for name in ("src", "href", "data", "action", "srcset"):
            assert attributes.get(name, "data:").startswith("data:"), tag
    assert not re.findall(r"@import|url\(|https?://", html)
    policy = found.all("meta")[1]["content"]
    assert "default-src 'none'" in policy and "'unsafe-inline'; script-src 'sha256-" in policy
    script = html[html.rindex("<script>") + len("<script>") : html.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_tables_notes_and_pictures():
    table = Table("of sorts", ["name", "%"], [["α", "1"], ["β", "2"]])
    shown = picture(b"\x89PNG", "png", "what it shows", "below it")
    found = Page(page.html([RUN._replace(texts=[table, "a note"], pictures=[shown])]))
    assert found.text("h1") == ["a title"] and "of sorts" in found.text("h2")
    assert found.text("th") == ["name", "%", "α", "β", "seed", "jax"]
    assert found.text("td") == ["1", "2", "0", "1"]
    assert found.text("p", "figcaption", "dd") == ["mnist", "a note", "below it"]
    assert found.all("img") == [{"src": "data:image/png;base64,iVBORw==", "alt": "what it shows"}]


def test_a_page_is_a_file_in_utf8(tmp_path):
    page.write(tmp_path / "new" / "page.html", [RUN._replace(title="‖r‖ \udcff")])
    [path] = (tmp_path / "new").iterdir()
    assert Page(path.read_text("utf-8")).text("h1") == ["‖r‖ ?"]


def test_what_is_no_module_is_in_the_wheel():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))
    globs = project["tool"]["setuptools"]["package-data"]["jaxadv"]
    packed = {path for glob in globs for path in PACKAGE.glob(glob)}
    others = {path for path in PACKAGE.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert {path for path in others if path.is_file()} == packed


def test_settings_of_any_depth():
    deep = 0
    for _ in range(500):
        deep = {"a": deep}
    assert [*page.flat({"b": [], "c": deep})] == ["b", "c" + ".a" * page.DEEPEST]
