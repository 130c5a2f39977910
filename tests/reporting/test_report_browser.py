"""The report in a real browser, opened from its file: needs playwright and a Chromium, and skips where one lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acclimate import Adaptation
from acclimate.reporting.analysis import Analysis
from acclimate.reporting.page import write_report


@pytest.fixture(scope="module")
def report(finished: Adaptation, analysed: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([finished], tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
    page.goto(report.as_uri())
    yield page
    context.close()
    assert complaints == []


def visible_cards(page: Any) -> list[str]:
    return [card.inner_text() for card in page.locator(".gallery .card:visible").all()]


def test_images_are_shown(page: Any) -> None:
    cell = page.locator(".gallery .cell").first
    assert cell.get_attribute("aria-label").startswith("digits image of class ")
    box = cell.bounding_box()
    assert (box["width"], box["height"]) == (64, 64)
    assert "data:image/webp" in cell.evaluate("element => getComputedStyle(element).backgroundImage")


@pytest.mark.parametrize("width", [360, 768, 1100])
def test_nothing_sticks_out_at_any_width(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_chart_tells_its_values_under_the_pointer_and_by_keyboard(page: Any) -> None:
    chart = page.locator(".chart", has=page.get_by_role("heading", name="cycle"))
    values = chart.locator(".legend output")
    assert values.all_inner_texts() == ["", "", ""]
    plot = chart.locator(".plot")
    plot.hover()
    shown = values.all_inner_texts()
    assert float(shown[0]) > 0
    assert float(shown[1]) > 0
    assert shown[2].startswith("at step ")
    page.mouse.move(0, 0)
    assert values.all_inner_texts() == ["", "", ""]
    plot.focus()
    page.keyboard.press("Home")
    assert values.all_inner_texts()[2] == "at step 2"
    page.keyboard.press("ArrowRight")
    assert values.all_inner_texts()[2] == "at step 4"
    page.keyboard.press("End")
    assert values.all_inner_texts()[2] == "at step 6"


def test_a_chart_has_a_table(page: Any) -> None:
    chart = page.locator(".chart").first
    assert not chart.locator("table").is_visible()
    chart.locator("summary").focus()
    page.keyboard.press("Enter")
    assert chart.locator("tbody tr").count() == 3


def test_a_map_shows_the_image_under_the_pointer_and_by_keyboard(page: Any) -> None:
    figure = page.locator(".map").last
    detail = figure.locator(".detail output")
    assert detail.inner_text() == "Point at a mark to see its image."
    plot = figure.locator(".plot")
    plot.scroll_into_view_if_needed()
    point = figure.evaluate("figure => JSON.parse(figure.querySelector('script').textContent).points[70]")
    box = figure.locator(".plot > svg").bounding_box()
    page.mouse.move(box["x"] + point[0] * box["width"] / 400, box["y"] + point[1] * box["height"] / 400)
    assert detail.inner_text().startswith("digits")
    assert "seen as" in detail.inner_text()
    ring = figure.locator(".ring")
    assert (float(ring.get_attribute("cx")), float(ring.get_attribute("cy"))) == tuple(point[:2])
    position = figure.locator(".detail .cell").evaluate(
        "cell => [cell.style.getPropertyValue('--x'), cell.style.getPropertyValue('--y')]"
    )
    assert [int(part) for part in position] == [point[4] % 48, point[4] // 48]
    plot.focus()
    seen = {ring.get_attribute("cx")}
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        seen.add(ring.get_attribute("cx"))
    assert len(seen) > 1


def test_one_class_of_the_maps_can_be_picked_out(page: Any) -> None:
    page.get_by_label("Class", exact=True).select_option("3")
    faded = page.locator(".map path.faded").count()
    assert faded == page.locator(".map path[data-label]:not([data-label='3'])").count() > 0
    figure = page.locator(".map").first
    figure.locator(".plot").focus()
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        assert "class 3" in figure.locator(".detail output").inner_text()


def test_the_gallery_pages_by_keyboard(page: Any) -> None:
    gallery = page.locator(".gallery")
    first = visible_cards(page)
    assert len(first) == 12
    output = gallery.locator(".controls output")
    assert output.inner_text() == "1–12 of 30"
    gallery.focus()
    page.keyboard.press("ArrowRight")
    assert output.inner_text() == "13–24 of 30"
    assert visible_cards(page) != first
    page.keyboard.press("End")
    assert output.inner_text() == "25–30 of 30"
    assert gallery.get_by_role("button", name="Next").is_disabled()
    page.keyboard.press("Home")
    assert visible_cards(page) == first
    gallery.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    assert output.inner_text() == "13–24 of 30"
    gallery.get_by_role("checkbox").check()
    assert all("other class" in card for card in visible_cards(page))


def test_the_film_follows_its_slider(page: Any) -> None:
    film = page.locator(".film")
    assert film.locator(".row:visible .name").all_inner_texts() == ["source", "step 6"]
    film.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    assert film.locator(".row:visible .name").all_inner_texts() == ["source", "step 4"]
    assert film.get_by_role("slider").get_attribute("aria-valuetext") == "step 4"


def test_everything_can_be_reached_and_the_skip_link_comes_first(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_paper_shows_all_snapshots_and_tables(page: Any) -> None:
    page.emulate_media(media="print")
    assert page.locator(".film .row:visible").count() == 4
    assert page.locator(".controls:visible").count() == 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_it_is_whole_without_scripts(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".gallery .card:visible").count() == 30
    assert page.locator(".film .row:visible").count() == 4
    assert page.locator(".controls:visible").count() == 0
    context.close()


def test_several_runs(finished: Adaptation, analysed: Analysis, browser: Any, tmp_path: Path) -> None:
    file = write_report([finished, finished], tmp_path / "comparison.html")
    page = browser.new_page(viewport={"width": 360, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    assert page.get_by_role("heading", level=1).inner_text() == "Comparison of runs"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()
    assert complaints == []
