"""The page in Chromium: a thousand images, by mouse and keyboard, on a desk, a phone and paper."""

import shutil
import time

import pytest
from fake_results import HOSTILE, results

from jaxadv.reports import page
from jaxadv.reports.page import generated

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser"),
]
COUNT, CLASSES = 1083, 10


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A page of 1,000 images, of classes with hostile names."""
    fake, originals = results(count=COUNT, classes=CLASSES)
    fake.manifest["classes"] = [f"{HOSTILE} {number}" for number in range(CLASSES)]
    path = tmp_path_factory.mktemp("page") / "page.html"
    page.write(path, [generated.run(fake, originals, most=1000)])
    return path


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser, path):
    """Opens the page; fails if it loads anything, or says anything on the console."""
    said = []
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: said.append(dialog.message))
    tab.on("request", lambda request: said.append(request.url))
    tab.goto(path.as_uri())
    yield tab
    loaded = [each for each in said if each != path.as_uri() and not each.startswith("data:")]
    tab.close()
    assert loaded == []


def shown(tab):
    return tab.locator("output").inner_text()


def captions(tab):
    return tab.locator("#cards .words").all_inner_texts()


def indices(tab):
    return [int(text.partition(":")[0].lstrip("#")) for text in captions(tab)]


def test_a_thousand_images_are_there_and_pages_turn_at_once(tab):
    total = int(shown(tab).rpartition(" ")[2])
    assert total == 1000 and shown(tab) == f"1–12 of {total}"
    first = indices(tab)
    start = time.perf_counter()
    for _ in range(20):
        tab.keyboard.press("ArrowRight")
    assert shown(tab) == f"241–252 of {total}"
    assert (time.perf_counter() - start) / 20 < 0.5  # 0.01 s where nothing else runs
    assert not {*first} & {*indices(tab)}
    for _ in range(25):
        tab.keyboard.press("ArrowLeft")
    assert indices(tab) == first
    assert tab.evaluate("[...document.images].every((each) => each.naturalWidth > 0)")


def test_mouse(tab):
    assert tab.locator("[name=back]").is_disabled()
    tab.locator("[name=on]").click()
    assert shown(tab).startswith("13–24")
    tab.locator("#cards button").nth(2).click()
    dialog = tab.locator("dialog")
    assert dialog.is_visible() and dialog.locator("img").count() == 3
    assert dialog.locator(".words").inner_text() == captions(tab)[2]
    tab.keyboard.press("ArrowRight")
    assert dialog.locator(".words").inner_text() == captions(tab)[3]
    back, on = (dialog.get_by_role("button", name=name) for name in ("back", "next"))
    on.click()
    assert dialog.locator(".words").inner_text() == captions(tab)[4]
    for place in (3, 2, 1, 0):
        back.click()
        assert dialog.locator(".words").inner_text() == captions(tab)[place]
    tab.get_by_role("button", name="close").click()
    assert not dialog.is_visible()


@pytest.mark.parametrize("field", ["label", "target", "status"])
def test_filters(tab, field):
    select = tab.locator(f"[name={field}]")
    for value in select.locator("option").evaluate_all("all => all.map((each) => each.value)")[1:]:
        select.select_option(value)
        found = captions(tab)
        assert found
        for text in found:
            label, _, rest = text.partition(": ")[2].partition(" → ")
            words = {"label": label, "target": rest, "status": rest}[field]
            assert words == value if field == "label" else value in words
    select.select_option("")
    assert shown(tab).startswith("1–12 of 1000")


def test_sorted_by_distortion(tab):
    sizes = []
    for order in ("up", "down"):
        tab.locator("[name=status]").select_option("success")
        tab.locator("[name=order]").select_option(order)
        words = [text.partition("distortion ")[2].partition(",")[0] for text in captions(tab)]
        sizes.append([*map(float, words)])
    up, down = sizes
    assert up == sorted(up) and down == sorted(down, reverse=True) and max(up) < min(down)


def test_keyboard_alone(tab):
    tab.locator("[name=status]").focus()
    tab.keyboard.press("ArrowDown")  # the select's own: chooses, and turns no page
    assert tab.locator("[name=status]").input_value() != ""
    tab.keyboard.press("ArrowUp")
    assert shown(tab).startswith("1–12")
    for _ in range(2):
        tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.name") == "on"  # as `back` cannot be pressed
    tab.keyboard.press("Enter")
    assert shown(tab).startswith("13–24")
    tab.locator("#cards button").first.focus()
    tab.keyboard.press("Enter")
    for _ in range(12):
        tab.keyboard.press("ArrowRight")
    last = tab.locator("dialog .words").inner_text()
    tab.keyboard.press("Escape")
    playwright.expect(tab.locator("output")).to_contain_text("25–36")
    assert captions(tab)[0] == last
    assert tab.evaluate("document.activeElement.innerText").endswith(last)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(tab, width):
    tab.set_viewport_size({"width": width, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    for button in tab.locator(".pager button").all():
        assert button.bounding_box()["height"] >= 38


@pytest.mark.parametrize("width, height", [(390, 660), (844, 390)])
def test_buttons_stay_where_they_are_on_short_screens(tab, width, height):
    """Images that were not there yet had no height: the buttons went out of sight at the 13th."""
    tab.set_viewport_size({"width": width, "height": height})
    tab.locator("#cards button").nth(10).click()
    button = tab.locator("dialog .pager button", has_text="next")
    box = button.bounding_box()
    assert box["y"] + box["height"] <= height
    for _ in range(4):
        tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    words = tab.locator("dialog .words").inner_text()
    assert words.startswith(f"#{indices(tab)[10] + 4}:")


def test_on_paper_without_controls(tab):
    tab.emulate_media(media="print")
    assert not tab.locator("#controls").is_visible()
    assert tab.locator("#cards img").first.is_visible()
    assert tab.locator(".chart img").first.is_visible()
