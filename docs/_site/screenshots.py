"""Pictures of the report and of the serving page, as a browser shows them: ``make screenshots``.

Needs playwright and a Chromium. Makes the run of the documentation's example, and writes to ``docs/screenshots``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

OUT = Path(__file__).parents[1] / "screenshots"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
DROPPED = ("roof/003.jpg", "flower/000.jpg", "leaves/001.jpg")


def acclimate(*arguments: str, folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "acclimate", *arguments], cwd=folder, check=True)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the example's run; yield its address."""
    command = [sys.executable, "-m", "acclimate", "serve", "run", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
        process.terminate()


@contextmanager
def opened(browser: Browser, address: str, scheme: str, width: int = 1280, height: int = 900) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def main() -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        folder = Path(scratch)
        acclimate("data", "example", "example", folder=folder)
        acclimate("run", "example/drawings", "example/photos", "--out", "run", folder=folder)
        acclimate("report", "run", folder=folder)
        found = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=found, args=ARGUMENTS)
        for scheme in ("light", "dark"):
            with opened(browser, (folder / "run" / "report.html").as_uri(), scheme) as page:
                page.screenshot(path=OUT / f"report-{scheme}.png")
            with served(folder) as address, opened(browser, address, scheme, height=620) as page:
                page.set_input_files("#files", [folder / "example" / "photos" / name for name in DROPPED])
                page.locator("#answers .like").nth(len(DROPPED) - 1).wait_for()
                page.screenshot(path=OUT / f"serve-{scheme}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
