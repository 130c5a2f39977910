"""Locks on files, where the system has them."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from acclimate.errors import RunError
from acclimate.progress import OF_ANOTHER, say
from acclimate.training.state import writing

TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
"""What a system answers where another process holds the lock; anything else means that it has no locks here."""


PATIENCE = 60.0
"""Seconds that a process which another one started waits: one before it may be saving its state still."""


class LockedError(RunError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, patience: float | None = None) -> Iterator[None]:
    """Hold the lock on a file, which is made; wait for it ``patience`` seconds, by default only after another process.

    On file systems without locks, as some networks' are, there is none: that is said, and two processes must not be
    started on the same files.

    Raises
    ------
    LockedError
        Another process holds it.
    AcclimateError
        The file cannot be written.
    """
    with writing(path):
        file = open(path, "a+b")  # noqa: SIM115 (closed below)
    if patience is None:
        patience = PATIENCE if OF_ANOTHER in os.environ else 0.0
    until = time.monotonic() + patience
    with file:
        while True:
            try:
                _lock(file)
            except OSError as error:
                if error.errno not in TAKEN:
                    say(f"{path.parent}: files cannot be locked here ({error.strerror}): start no second process in it")
                    break
                if time.monotonic() >= until:
                    raise LockedError(f"another process is at work in {path.parent}") from None
                time.sleep(0.2)
            else:
                break
        yield


def _lock(file: IO[Any]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
