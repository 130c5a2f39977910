"""Shared fixtures: a cache of its own, a finished tiny run, the real data where it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acclimate.commands import main
from acclimate.pipeline.adapt import adapt
from acclimate.reporting.analysis import Analysis, analyse
from acclimate.runs.adaptation import Adaptation
from helpers import FINISHED, REAL_DATA


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["ACCLIMATE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("ACCLIMATE_DATA", None)
    threads = 1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1)  # a worker has a core
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of processes that tests start


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Adaptation:
    """Return a finished tiny run of CycleGAN."""
    return adapt("digits", "digits-m", preset="demo", out=tmp_path_factory.mktemp("runs") / "digits", **FINISHED)


@pytest.fixture(scope="session")
def analysed(finished: Adaptation) -> Analysis:
    """Return the analysis of the tiny run, on few images; it is kept with the run."""
    with pytest.MonkeyPatch.context() as patch:
        _analyse_little(patch)
        return analyse(finished)


@pytest.fixture
def small_analysis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let analyses look at few images."""
    _analyse_little(monkeypatch)


def _analyse_little(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("acclimate.reporting.parts.SAMPLE", 40)
    patch.setattr("acclimate.reporting.parts.NEIGHBOURS_OF", 30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a Chromium, driven by playwright, whose event loop must end before other tests have one."""
    reason = "playwright is not installed: pip install .[browser]"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    off = ("gpu", "quic", "background-networking", "component-update", "sync")
    arguments = ("--no-sandbox", "--no-first-run", *(f"--disable-{one}" for one in off))
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as driver:
        try:
            opened = driver.chromium.launch(executable_path=found, args=arguments)
        except playwright.Error as error:
            pytest.skip(f"no Chromium can be started: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    return run


@pytest.fixture
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real data is not at {REAL_DATA} (set ACCLIMATE_TEST_DATA)")
    return REAL_DATA


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of image folders: random images, brighter from class to class."""

    def make(name: str, classes: tuple[str, ...] = ("cat", "dog"), count: int = 12, suffix: str = ".png") -> Path:
        random = np.random.default_rng(len(name))
        for number, label in enumerate(classes):
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 80, (10, 12, 3), dtype=np.uint8) + np.uint8(90 * number)
                Image.fromarray(pixels).save(folder / f"{index:03d}{suffix}")
        return tmp_path / name

    return make
