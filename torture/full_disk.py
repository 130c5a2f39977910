"""A disk that is full from some write on, at each write of a small run one after the other, and then has room again."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from acclimate.commands import main
from torture.work import SETTINGS, content, flags

SMALL = SETTINGS | {
    "image-size": 8,
    "steps": 6,
    "stage-steps": 4,
    "judge-steps": 2,
    "snapshots": 1,
    "select": "last",
    "checkpoint-every": 3,
    "classifier": "lenet",
    "judge": "lenet",
    "target-only": False,
}
"""A run of a second that has every stage."""


class Disk:
    """Counts what is written, and is full from the write of a certain number on.

    What is written to a file counts once, and once more where it is made safe.

    Parameters
    ----------
    room
        Writes that succeed; None for all.
    """

    def __init__(self, room: int | None) -> None:
        self.room, self.count = room, 0

    @property
    def is_full(self) -> bool:
        return self.room is not None and self.count >= self.room

    def write(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.count += 1


class FileOnDisk:
    """A file that is written to such a disk."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk, self._written = file, disk, False

    def write(self, data: Any) -> Any:
        if not self._written or self._disk.is_full:
            self._disk.write()
        self._written = True
        return self._file.write(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> FileOnDisk:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._file.__exit__(*error)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)


@contextlib.contextmanager
def on(disk: Disk) -> Iterator[None]:
    """Let everything be written to a disk: files, folders, what is renamed and made safe."""
    own_open: Callable[..., Any] = builtins.open
    calls: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in ("mkdir", "replace", "rename", "fsync")}

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+") or str(file) == os.devnull:
            return own_open(file, mode, *arguments, **options)
        disk.write()
        return FileOnDisk(own_open(file, mode, *arguments, **options), disk)

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any, **options: Any) -> Any:
            disk.write()
            return call(*arguments, **options)

        return do

    builtins.open = io.open = opened
    for name, call in calls.items():
        setattr(os, name, watched(call))
    try:
        yield
    finally:
        builtins.open = io.open = own_open
        for name, call in calls.items():
            setattr(os, name, call)


def _run(arguments: list[str], disk: Disk) -> tuple[int | str, str]:
    """Run a command; return its exit code, or what escaped, and what it said."""
    said = io.StringIO()
    code: int | str = 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), on(disk):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        except BaseException as error:  # whatever it is, it should not have come
            code = f"{type(error).__name__}: {error}"
    return code, said.getvalue()


def _work(folder: Path, domains: tuple[Path, Path], first: int, step: int, results: Any) -> None:
    torch.set_num_threads(1)
    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]  # its thread writes when it likes
    place = folder / str(first)
    os.environ["ACCLIMATE_CACHE"], run = str(place / "cache"), place / "run"
    begin = ["run", *map(str, domains), "--out", str(run), *flags(SMALL)]
    resume = ["run", "--resume", str(run)]

    def again() -> tuple[int | str, str]:
        return _run(resume if (run / "config.json").exists() else begin, Disk(None))

    whole = Disk(None)
    code, said = _run(begin, whole)
    expected = content(run) if code == 0 else {}
    if not expected:
        results.put((0, f"the run that is compared with ends with {code}: {said[-500:]}"))
    for room in range(first, whole.count, step):
        shutil.rmtree(place, ignore_errors=True)
        code, said = _run(begin, Disk(room))
        lines = [line for line in said.splitlines() if "acclimate: " in line]
        wrong = ""
        if code != 0 and (code != 2 or len(lines) != 1 or "space" not in lines[0] or "Traceback" in said):
            wrong = f"ends with {code}: {said[-1500:]}"
        else:
            code, said = again()
            found = content(run) if code == 0 else {}
            differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            wrong = f"goes on with {code}: {', '.join(differing[:5])} {said[-1500:]}" if code or differing else ""
        results.put((1, f"write {room + 1} of {whole.count}: {wrong}" if wrong else ""))
    results.put((0, None))


def torture(folder: Path, domains: tuple[Path, Path], scale: float = 1.0) -> tuple[int, list[str]]:
    """Fill the disk at each write of a run, then let it go on; return how often, and what went wrong."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    processes, full, wrong = 2, 0, list[str]()
    step = processes * max(1, round(1 / scale))
    for number in range(processes):
        (folder / str(number)).mkdir(parents=True)
        context.Process(target=_work, args=(folder, domains, number, step, results), daemon=True).start()
    left = processes
    while left:
        count, what = results.get()
        full += count
        if what is None:
            left -= 1
        elif what:
            wrong.append(what)
    return full, wrong
