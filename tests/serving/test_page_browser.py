"""The page to drop images on, in a real browser against a real server; skips where playwright or a Chromium lacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from acclimate.runs.adaptation import Adaptation

pytest.importorskip("fastapi", reason="the extra serve is not installed")

TOKEN = "of-this-test"


@pytest.fixture(scope="module")
def address(finished: Adaptation) -> Iterator[str]:
    arguments = [sys.executable, "-m", "acclimate", "serve", str(finished.run.path), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        arguments, stderr=subprocess.PIPE, text=True, env=os.environ | {"ACCLIMATE_TOKEN": TOKEN, "COLUMNS": "200"}
    )
    assert process.stderr
    yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
    process.terminate()
    assert process.wait(30) == 0
    process.stderr.close()


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    outside: list[str] = []
    page.on("pageerror", lambda error: outside.append(str(error)))
    page.on("request", lambda one: one.url.startswith((address, "blob:", "data:")) or outside.append(one.url))
    page.goto(address)
    yield page
    page.close()
    assert outside == []


@pytest.fixture
def files(finished: Adaptation, tmp_path: Path) -> list[Path]:
    """Write three test images, and one file that is none."""
    for number, pixels in enumerate(finished.target.images("test").pixels[:3]):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    (tmp_path / "no <b>image.png").write_text("hello")
    return sorted(tmp_path.iterdir())


def test_without_the_token_nothing_is_told(page: Any, files: list[Path]) -> None:
    page.set_input_files("#files", files[:1])
    page.locator("#answers .error").wait_for()
    assert "a token is needed" in page.locator("#answers .error").inner_text()
    page.reload()


def test_images_that_are_chosen_are_classified_and_redrawn(page: Any, files: list[Path]) -> None:
    page.fill("#token", TOKEN)
    page.set_input_files("#files", files)
    page.locator("#answers .error").wait_for()  # the last file is no image
    cards = page.locator("#answers li")
    assert cards.count() == 4
    assert cards.first.locator(".error").inner_text() == "no <b>image.png: not a readable image"
    for number in range(1, 4):
        card = cards.nth(number)
        assert card.locator("h2").inner_text() in "0123456789"
        assert card.locator(".row").count() == 3
        assert "target" in card.locator(".like").inner_text()
        captions = [one.inner_text() for one in card.locator("figcaption").all()]
        assert captions == ["your image", "as digits-m", "as digits"]
        widths = card.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
        assert all(widths)


def test_the_keyboard_reaches_the_files(page: Any) -> None:
    page.locator("#token").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"


@pytest.mark.parametrize("width", [360, 1000])
def test_nothing_sticks_out(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_interface_is_described(page: Any, address: str) -> None:
    page.goto(f"{address}/docs")
    assert page.locator("section").count() == 4
    assert "curl -F files=@image.png" in page.locator("pre").first.inner_text()
