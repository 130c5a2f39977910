"""Commands of our own in processes of their own: one that fails takes nothing with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acclimate.progress import OF_ANOTHER

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Child:
    """What became of a command.

    Attributes
    ----------
    seconds
        What it took.
    stopped
        Whether it was stopped because its time was over.
    interrupted
        Whether it, or we, were interrupted; it has saved its state.
    error
        What it said last if it failed, else nothing.
    """

    seconds: float
    stopped: bool = False
    interrupted: bool = False
    error: str = ""


def run_child(arguments: Sequence[str], log: Path, most: float | None = None) -> Child:
    """Run ``acclimate`` with these arguments, its output going to a file; stop it after ``most`` seconds.

    It is in a session of its own, so that it gets one signal to stop, from us, and not the terminal's besides, which
    would stop it before it has saved its state. It stops by itself when we are gone: then what it reads from ends.
    """
    begin, stopped, interrupted = time.monotonic(), False, False
    with open(log, "a", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "acclimate", *arguments],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env=os.environ | {"PYTHONUNBUFFERED": "1", OF_ANOTHER: "1"},
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                if most is not None and not stopped and time.monotonic() - begin > most:
                    stopped = True
                    process.terminate()
        except KeyboardInterrupt:
            interrupted = True
            process.terminate()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()
    seconds = time.monotonic() - begin
    interrupted = interrupted or (process.returncode in (130, -2) and not stopped)
    if interrupted or stopped or process.returncode == 0:
        return Child(seconds, stopped and process.returncode != 0, interrupted)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [
        f"exit code {process.returncode}"
    ]
    return Child(seconds, error=lines[-1].removeprefix("acclimate: "))
