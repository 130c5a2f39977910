"""Progress: a bar with rate and time left on a terminal, a log line now and then elsewhere; all on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOG_SECONDS = 30.0

WIDE = 70
"""Columns of a terminal from which a bar has everything."""

OF_ANOTHER = "ACCLIMATE_CHILD"
"""The environment variable of a process that another one, such as ``bench``, has started."""


class Bar(Protocol):
    """What :func:`progress` yields."""

    def advance(self, amount: float = 1) -> None:
        """Count ``amount`` more as done."""

    def note(self, text: str) -> None:
        """Show a few words beside the bar."""


def shown(name: object) -> str:
    r"""Return a file's name as text that can be written anywhere; bytes that are no UTF-8 as ``\xe9``."""
    return os.fsencode(str(name)).decode("utf-8", "backslashreplace")


def say(text: str = "", *, error: bool = False) -> None:
    """Print one line for the person, above any bar; of several processes the first does, an error is from any."""
    if error or _speaks():
        print(text, file=sys.stderr, flush=True)


def _speaks() -> bool:
    """Whether this process tells the person how things go: of several that train together, the first one."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def _in_notebook() -> bool:
    """Whether what is written goes below a notebook's cell; a package that is merely imported says nothing."""
    return type(sys.stderr).__module__.startswith("ipykernel.")


@contextmanager
def progress(description: str, total: float | None, *, done: float = 0, unit: str = "it") -> Iterator[Bar]:
    """Show progress through ``total`` units of which ``done`` are behind us."""
    if sys.stderr.isatty() and _speaks():
        with _rich_bar(description, total, done, unit) as bar:
            yield bar
    else:
        log = (_LineBar if _in_notebook() else _LogBar)(description, total, done, unit)
        yield log
        log.finish()


class _LogBar:
    """A line now and then."""

    every = LOG_SECONDS

    def __init__(self, description: str, total: float | None, done: float, unit: str) -> None:
        self.description, self.total, self.done, self.unit = description, total, done, unit
        self.start, self.first, self.last = time.monotonic(), done, time.monotonic()
        self.text = ""

    def advance(self, amount: float = 1) -> None:
        self.done += amount
        if time.monotonic() - self.last >= self.every:
            self._log()

    def note(self, text: str) -> None:
        self.text = text

    def finish(self) -> None:
        if time.monotonic() - self.start >= 1.0:
            self._log()

    def _log(self) -> None:
        say(self._line())

    def _line(self) -> str:
        self.last = time.monotonic()
        rate = (self.done - self.first) / max(self.last - self.start, 1e-9)
        left = (self.total - self.done) / rate if self.total and rate > 0 else 0.0
        of_total = f"/{self.total:,.0f}" if self.total else ""
        eta = f", {clock(left)} left" if left >= 1 else f", took {clock(self.last - self.start)}"
        return f"{self.description}: {self.done:,.0f}{of_total} {self.unit}, {rate:,.1f}/s{eta}  {self.text}".rstrip()


class _LineBar(_LogBar):
    """One line that is written over, as notebooks show it."""

    every, width = 1.0, 0

    def _log(self) -> None:
        line = self._line()
        print(f"\r{line:<{self.width}}", end="", file=sys.stderr, flush=True)
        self.width = len(line)

    def finish(self) -> None:
        if self.width or time.monotonic() - self.start >= 1.0:
            self._log()
            print(file=sys.stderr)


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


class _RichBar:
    def __init__(self, bars: object, task: object) -> None:
        self.bars, self.task = bars, task

    def advance(self, amount: float = 1) -> None:
        self.bars.advance(self.task, amount)  # type: ignore[attr-defined]

    def note(self, text: str) -> None:
        self.bars.update(self.task, note=text)  # type: ignore[attr-defined]


@contextmanager
def _rich_bar(description: str, total: float | None, done: float, unit: str) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn()]
    if console.width >= WIDE:
        columns[1:1] = [BarColumn(bar_width=None)]
        columns[3:3] = [TextColumn(unit), TimeElapsedColumn(), TextColumn("left")]
        columns.append(TextColumn("{task.fields[note]}", style="dim"))
    with Progress(*columns, console=console, transient=False) as bars:
        yield _RichBar(bars, bars.add_task(description, total=total, completed=int(done), note=""))
