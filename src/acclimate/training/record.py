"""What a training leaves on disk while it runs: states to resume from, snapshots, logged steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from acclimate.errors import RunError
from acclimate.training.state import load_tree, save_tree

KEPT_CHECKPOINTS = 2


class TrainingRecord:
    """A folder that trainings write to.

    ::

        metrics.jsonl     one line a logged step
        checkpoints/      the last full training states of the phase that is under way
        snapshots/        weights over training

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def checkpoints(self, phase: str) -> list[Path]:
        """Return the files of a phase's saved states, the newest last."""
        return sorted((self.path / "checkpoints" / phase).glob("*.safetensors"))

    def save_checkpoint(self, phase: str, step: int, state: Any) -> Path:
        """Save a phase's full state after ``step`` steps; older ones but the last few are removed."""
        path = self.path / "checkpoints" / phase / f"{step:08d}.safetensors"
        save_tree(path, state)
        for old in self.checkpoints(phase)[:-KEPT_CHECKPOINTS]:
            old.unlink()
        return path

    def load_checkpoint(self, phase: str) -> Any | None:
        """Load the newest readable state of a phase, None where there is none."""
        error = None
        for path in reversed(self.checkpoints(phase)):
            try:
                return load_tree(path)
            except RunError as found:
                error = found
        if error is not None:
            raise error
        return None

    def keep_last_checkpoint(self, phase: str) -> None:
        """Remove a finished phase's states but the last, from which it can be extended."""
        for path in self.checkpoints(phase)[:-1]:
            path.unlink()

    def drop_checkpoints(self, phase: str) -> None:
        """Remove a phase's states."""
        folder = self.path / "checkpoints" / phase
        for path in folder.glob("*"):
            path.unlink()
        if folder.exists():
            folder.rmdir()

    def save_snapshot(self, step: int, weights: Any) -> None:
        """Save the weights worth keeping after ``step`` steps."""
        save_tree(self.path / "snapshots" / f"{step:08d}.safetensors", weights)

    def snapshots(self) -> dict[int, Path]:
        """Return the snapshots by step."""
        return {int(path.stem): path for path in sorted((self.path / "snapshots").glob("*.safetensors"))}

    def metrics(self, phase: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the logged steps, of one phase or of all; lines that are torn, by a crash or a full disk, are not."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            for line in path.read_bytes().split(b"\n"):
                entry = _entry(line)
                if entry is not None and phase in (None, entry["phase"]):
                    yield entry


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(entry, dict) and isinstance(entry.get("phase"), str) and isinstance(entry.get("step"), int)
    return entry if is_one else None
