"""The run directory: everything that a run is, readable from its path alone.

::

    config.json       source, target, method, preset, every setting
    metrics.jsonl     one line a logged step
    checkpoints/      the last full training states of the phase that is under way
    snapshots/        the translator's weights over training
    translated/       the translated source, uint8, memory-mapped, and what it took
    models/           trained classifiers
    figures/          pictures, and the analysis that they are drawn from
    result.json       the result with its protocol
    report.html       the report, once it is asked for
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acclimate.errors import RunError, did_you_mean
from acclimate.state import load_tree, save_tree, write_json

KEPT_CHECKPOINTS = 2


class Run:
    """A run directory.

    Parameters
    ----------
    path
        The directory; it must hold a run. :meth:`create` makes one.

    Raises
    ------
    RunError
        There is no run at ``path``.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not (self.path / "config.json").is_file():
            parent = self.path.parent
            runs = [folder.parent.name for folder in parent.glob("*/config.json")] if parent.is_dir() else []
            raise RunError(f"no run at {self.path}: it has no config.json.{did_you_mean(self.path.name, runs)}")

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> Run:
        """Make a new run directory.

        Raises
        ------
        RunError
            ``path`` holds another run, or files that are no run's.
        """
        if (path / "config.json").exists():
            raise RunError(
                f"{path} holds another run: resume it with --resume {path}, or name another folder with --out"
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path} is not empty: name another folder with --out")
        write_json(path / "config.json", config)
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """What the run was started with."""
        value: dict[str, Any] = json.loads((self.path / "config.json").read_text())
        return value

    @property
    def result(self) -> dict[str, Any]:
        """The result of a finished run.

        Raises
        ------
        RunError
            The run has not finished.
        """
        path = self.path / "result.json"
        if not path.exists():
            raise RunError(f"{self.path} has not finished: go on with acclimate run --resume {self.path}")
        value: dict[str, Any] = json.loads(path.read_text())
        return value

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this directory meanwhile.

        Raises
        ------
        RunError
            Another process is training here.
        """
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(f"another process is training in {self.path}") from None
            yield

    def save_checkpoint(self, phase: str, step: int, state: Any) -> Path:
        """Save a phase's full state after ``step`` steps; older ones but the last few are removed."""
        path = self.path / "checkpoints" / phase / f"{step:08d}.safetensors"
        save_tree(path, state)
        for old in sorted(path.parent.glob("*.safetensors"))[:-KEPT_CHECKPOINTS]:
            old.unlink()
        return path

    def load_checkpoint(self, phase: str) -> Any | None:
        """Load the newest readable state of a phase, None where there is none."""
        error = None
        for path in sorted((self.path / "checkpoints" / phase).glob("*.safetensors"), reverse=True):
            try:
                return load_tree(path)
            except RunError as found:
                error = found
        if error is not None:
            raise error
        return None

    def drop_checkpoints(self, phase: str) -> None:
        """Remove a finished phase's states."""
        folder = self.path / "checkpoints" / phase
        for path in folder.glob("*"):
            path.unlink()
        if folder.exists():
            folder.rmdir()

    def snapshots(self) -> dict[int, Path]:
        """Return the translator's snapshots by step."""
        return {int(path.stem): path for path in sorted((self.path / "snapshots").glob("*.safetensors"))}

    def model(self, name: str) -> Path:
        """Return where a model's weights lie or will lie."""
        return self.path / "models" / f"{name}.safetensors"

    def metrics(self, phase: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the logged steps, of one phase or of all."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                if phase is None or entry["phase"] == phase:
                    yield entry
