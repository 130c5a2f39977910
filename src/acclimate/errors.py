"""Errors that are for the person, not for us: one clear line, exit code 2."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AcclimateError(Exception):
    """Something that the user can mend. The message says what was wrong, where, and what to do."""

    exit_code = 2


class DataError(AcclimateError):
    """Images, labels or files that cannot be used as they are."""


class RunError(AcclimateError):
    """A run directory that cannot be used for what was asked."""


class NonFiniteLossError(AcclimateError):
    """A loss became NaN or infinite; the message names it, the step and the last good checkpoint."""

    exit_code = 1


class LostProcessError(AcclimateError):
    """Another of the processes that train a run together died or does not answer."""

    exit_code = 1


class InterruptedRunError(AcclimateError):
    """Ctrl-C or SIGTERM: the state was saved and the message says how to resume."""

    exit_code = 130


def in_a_line(error: BaseException) -> str:
    """Return what kind of error it is, and the first line of what it says."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest of ``names``, or an empty string."""
    close = get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
