"""The report in a real browser, from the disk and without a network."""

import os
import shutil

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.figures import Heatmap, Line, Lines, Ridges, Table, numbers
from keras_initlab.lab.report import report

pytestmark = pytest.mark.page

MARKUP = '<img src=x onerror="window.hurt=1"><b>bold</b>%{y}</script><script>window.hurt=1</script>'
SHOWN = ".main-svg"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A report of runs, a sweep and a figure of each kind, with markup wherever a name can be."""
    folder = tmp_path_factory.mktemp("page")
    runs = [lab.run("nine-layers", verbose=False), lab.run("linear-100", width=64, depth=20, verbose=False)]
    generator = np.random.default_rng(0)
    layers = {(f"{i}{MARKUP}", "activation"): np.maximum(generator.standard_normal(500), 0) for i in range(4)}
    profile = profile_of(layers)
    figures = (
        Lines(MARKUP, MARKUP, MARKUP, (Line.of(MARKUP, [1, np.nan, 3]), Line.of(MARKUP, [1, 2, 3], predicted=True))),
        Heatmap(
            MARKUP, MARKUP, MARKUP, MARKUP, numbers([1, 2]), numbers([1, 2]), (numbers([1, 2]), numbers([3, np.nan]))
        ),
        Ridges.of(MARKUP, profile),
        Table.of(MARKUP, [MARKUP, "number"], [[MARKUP, 10.0], ["b", 9.0], ["c", 100.0]]),
    )
    checks = (lab.Check.equal(MARKUP, 1, 2),)
    marked = lab.Result(MARKUP, {MARKUP: MARKUP}, 1, {MARKUP: profile}, checks, figures, 1.0, {MARKUP: MARKUP})
    return report([*runs, marked], folder / "report.html")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert executable, "These tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(params=[920, 400], ids=["desktop", "phone"])
def opened(browser, page_file, request):
    """The page when all is drawn, what the console said, and what was asked for."""
    context = browser.new_context(viewport={"width": request.param, "height": 800}, offline=True)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda wanted: asked.append(wanted.url))
    page.goto(page_file.as_uri())
    page.wait_for_selector("body[data-drawn=all]", timeout=60_000)
    yield page, said, asked
    context.close()


def test_nothing_is_said_and_nothing_asked_for(opened, page_file):
    page, said, asked = opened
    page.mouse.wheel(0, 4000)
    assert said == []
    assert asked == [page_file.as_uri()]


def test_every_picture_is_drawn(opened):
    page, *_ = opened
    pictures = page.locator(".picture")
    # Of nine-layers two and two of its Profiles, of linear-100 one and one, of the last three and one.
    assert pictures.count() == 10
    for i in range(pictures.count()):
        picture = pictures.nth(i)
        assert picture.locator(SHOWN).count() > 0
        marks = picture.locator(".scatterlayer .js-line, .scatterlayer .js-fill, .heatmaplayer image")
        assert marks.count() > 0, picture.inner_text()
        box = picture.bounding_box()
        assert box["height"] > 250
        svg = picture.locator(SHOWN).first.bounding_box()
        assert abs(svg["height"] - box["height"]) < 2, "the place kept for it is as high as the picture"
        assert svg["width"] <= box["width"] + 1


def test_markup_in_names_is_shown_and_does_nothing(opened):
    page, *_ = opened
    assert page.evaluate("window.hurt") is None
    assert page.locator("img, b").count() == 0
    texts = page.locator(".run").last.locator(".gtitle").all_text_contents()
    assert MARKUP in texts
    # Shortened from the left, as layers' names are on the axis.
    names = page.locator(".run").last.locator(".yaxislayer-above text").all_text_contents()
    assert any(name.endswith("window.hurt=1</script>") for name in names)
    assert MARKUP in page.locator("#summary").inner_text()
    for picture in page.locator(".run").last.locator(".picture").all():
        picture.locator(".nsewdrag").first.hover(force=True)
    assert page.evaluate("window.hurt") is None


def test_tables_are_sorted_by_a_click(opened):
    page, *_ = opened
    table = page.locator(".sortable")
    button = table.locator("th button").nth(1)

    def column():
        return table.locator("td:nth-child(2)").all_text_contents()

    assert column() == ["10", "9", "100"]
    button.click()
    assert column() == ["9", "10", "100"]
    button.click()
    assert column() == ["100", "10", "9"]


def test_links_lead_to_their_sections(opened):
    page, *_ = opened
    for link in page.locator("nav a").all():
        link.click()
        target = link.get_attribute("href")[1:]
        top = page.evaluate("id => document.getElementById(id).getBoundingClientRect().top", target)
        bottom = page.evaluate("document.documentElement.scrollHeight - window.scrollY - window.innerHeight")
        assert abs(top) < 2 or bottom < 2


def test_a_phone_scrolls_in_one_direction(opened):
    page, *_ = opened
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
