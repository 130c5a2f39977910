"""Processes killed at random moments, and started again: in the end everything is as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torture.work import SETTINGS, acclimate, content, flags

KILLS = {"run": 34, "run self-training": 14, "prepare": 12, "translate": 10, "select": 10, "report": 10, "bench": 10}
"""How often each command is killed."""

LONGEST = 6.0
"""Seconds that a process is let live at most, so that one run is killed many times."""

STARTS = 5
"""Processes that are started at most, as a multiple of the kills that are wanted."""


class Job:
    """A command that is killed, and started again until it ends by itself.

    Parameters
    ----------
    name
        Of :data:`KILLS`.
    folder
        Where it works, made anew by :meth:`reset`.
    domains
        Source and target.
    run
        A finished run, of which the commands that need one get a copy.
    """

    def __init__(self, name: str, folder: Path, domains: tuple[Path, Path], run: Path) -> None:
        self.name, self.folder, self.domains, self.run = name, folder, domains, run
        self.cache, self.out = folder / "cache", folder / "out"

    def reset(self) -> None:
        """Begin from nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.name in ("translate", "select", "report"):
            shutil.copytree(self.run, self.folder / "run")
            for name in ("selection", "figures"):
                shutil.rmtree(self.folder / "run" / name, ignore_errors=True)

    def arguments(self) -> list[object]:
        """Return what is typed, at first or to go on."""
        run, (source, target) = self.folder / "run", self.domains
        if self.name.startswith("run"):
            if (self.out / "config.json").exists():
                return ["run", "--resume", self.out]
            method = self.name.partition(" ")[2]
            settings = flags(SETTINGS) if not method else [f"--method={method}", *flags(_of_stage())]
            return ["run", source, target, "--out", self.out, *settings]
        if self.name == "bench":
            bench = ["--methods=cyclegan", "--preset=demo", "--seeds=2", "--threads=1", "--no-estimate"]
            own = {name: value for name, value in SETTINGS.items() if name not in ("preset", "threads")}
            settings = [f"--set={name.replace('-', '_')}={value}" for name, value in (own | {"steps": 20}).items()]
            return ["bench", f"--pairs={source}:{target}", *bench, *settings, "--out", self.out]
        return {
            "prepare": ["data", "prepare", source, target, "--image-size=64"],
            "translate": ["translate", run, source, self.out],
            "select": ["select", run, "--study"],
            "report": ["report", run],
        }[self.name]

    def made(self) -> dict[str, str]:
        """Return a checksum of each file that it has made."""
        if self.name == "prepare":
            return content(self.cache)
        return content(self.folder / "run" if self.name in ("select", "report") else self.out)

    def start(self) -> subprocess.Popen[bytes]:
        return acclimate(*self.arguments(), cache=self.cache)

    def to_its_end(self) -> None:
        """Let it end by itself.

        Raises
        ------
        RuntimeError
            It ends with an error.
        """
        process = self.start()
        _, said = process.communicate(timeout=900)
        text = said.decode(errors="replace")
        if process.returncode and not (self.name == "translate" and "is not empty" in text):  # it was whole already
            raise RuntimeError(f"it ends with {process.returncode}: {text[-300:]}")


def _of_stage() -> dict[str, object]:
    names = ("preset", "image-size", "stage-steps", "ramp-start", "ramp-end", "checkpoint-every", "threads")
    return {name: SETTINGS[name] for name in (*names, "classifier-batch-size", "target-batch-size")}


def torture(folder: Path, domains: tuple[Path, Path], run: Path, scale: float = 1.0) -> tuple[Counter[str], list[str]]:
    """Kill every command; return how often each was killed and compared, and what was not as without kills."""
    counts, wrong = Counter[str](), list[str]()

    def one(name: str) -> None:
        job = Job(name, folder / name.replace(" ", "-"), domains, run)
        try:
            wrong.extend(f"{name}: {what}" for what in _kill(job, max(1, round(KILLS[name] * scale)), counts))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            wrong.append(f"{name}: {error}")

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(one, KILLS))
    return counts, wrong


def _kill(job: Job, wanted: int, counts: Counter[str]) -> list[str]:
    """Kill a job so often, at random moments; begin anew where it ends before; return what differs in the end."""
    job.reset()
    start = time.monotonic()
    job.to_its_end()
    longest = min(LONGEST, 1.1 * (time.monotonic() - start))
    expected, random_, kills, wrong = job.made(), random.Random(job.name), 0, list[str]()
    if not expected:
        return ["it has made nothing"]
    job.reset()
    for _ in range(STARTS * wanted):
        process = job.start()
        try:
            process.communicate(timeout=random_.uniform(0.3, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            counts[f"{job.name}: killed"] += 1
        if process.returncode >= 0 or kills == wanted:
            job.to_its_end()
            found = job.made()
            counts[f"{job.name}: compared"] += 1
            names = expected.keys() | found.keys()
            if differing := sorted(name for name in names if expected.get(name) != found.get(name)):
                wrong.append(f"after {kills} kills: {', '.join(differing[:8])}")
            job.reset()
        if kills == wanted:
            break
    return wrong
