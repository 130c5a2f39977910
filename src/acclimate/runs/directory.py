"""The run directory: everything that a run is, readable from its path alone.

::

    config.json       source, target, classes, method, preset, every setting
    data.json         what source and target were when the run began
    samples/          a few of their images at the working size
    metrics.jsonl     one line a logged step
    checkpoints/      the last full training states of the phase that is under way
    snapshots/        the translator's weights over training
    candidates/       of a choice among methods: a run each
    choice.json       what was tried, what is taken
    translated/       the translated source, uint8, memory-mapped, and what it took
    models/           trained classifiers
    statistics/       of the backbone's batch norm on each domain
    familiar.safetensors  what the target looks like to the classifier
    figures/          pictures, and the analysis that they are drawn from
    result.json       the result with its protocol
    report.html       the report, once it is asked for
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from acclimate.errors import RunError, did_you_mean
from acclimate.training.locking import locked
from acclimate.training.record import TrainingRecord
from acclimate.training.state import read_json, write_json

WORK = ("checkpoints", "snapshots", "models", "candidates", "translated", "choice.json", "result.json")
"""What a run has that has trained something."""

BEGINNINGS = ("data.json", "metrics.jsonl", "statistics", "samples", "tensorboard")
"""What a run may have before."""


class Run(TrainingRecord):
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
        super().__init__(path)
        if not (self.path / "config.json").is_file():
            parent = self.path.parent
            runs = [folder.parent.name for folder in parent.glob("*/config.json")] if parent.is_dir() else []
            raise RunError(f"no run at {self.path}: it has no config.json.{did_you_mean(self.path.name, runs)}")

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> Run:
        """Make a new run directory; a run in which nothing was trained yet is begun anew.

        Raises
        ------
        RunError
            ``path`` holds another run, or files that are no run's.
        """
        if (path / "config.json").exists():
            if any((path / name).exists() for name in WORK):
                raise RunError(
                    f"{path} holds another run: resume it with --resume {path}, or name another folder with --out"
                )
            with cls(path).lock():  # not while it reads its images
                for name in BEGINNINGS:
                    if (path / name).is_dir():
                        shutil.rmtree(path / name)
                    else:
                        (path / name).unlink(missing_ok=True)
                write_json(path / "config.json", config)
            return cls(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path} is not empty: name another folder with --out")
        write_json(path / "config.json", config)
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """What the run was started with.

        Raises
        ------
        RunError
            The file is damaged.
        """
        value: dict[str, Any] = read_json(self.path / "config.json")
        if not isinstance(value, dict):
            raise RunError(f"{self.path / 'config.json'} is damaged: it is no JSON object")
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
        value: dict[str, Any] = read_json(path)
        if not isinstance(value, dict) or "accuracy" not in value:
            raise RunError(f"{path} is damaged: it is no result")
        return value

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes from training in this directory meanwhile.

        Raises
        ------
        RunError
            Another process is training here.
        """
        return locked(self.path / ".lock")

    @property
    def data(self) -> Path:
        """The file that says what source and target were."""
        return self.path / "data.json"

    def samples(self, of: str) -> Path:
        """Return the folder with a few of a domain's images."""
        return self.path / "samples" / of

    def model(self, name: str) -> Path:
        """Return where a model's weights lie or will lie."""
        return self.path / "models" / f"{name}.safetensors"

    def head(self, name: str) -> Path:
        """Return where the classifier of frozen features lies, or will lie, that a tuned one started from."""
        return self.path / "models" / "heads" / f"{name}-head.safetensors"

    def statistics(self, of: str) -> Path:
        """Return where the statistics of the backbone's batch norm on a domain lie or will lie."""
        return self.path / "statistics" / f"{of}.safetensors"

    @property
    def method_done(self) -> Path:
        """The file that says that the method is trained, with the seconds of its phases."""
        return self.path / "models" / "method.json"

    @property
    def directions(self) -> Path:
        """The file that says how the classifications in both directions are weighed."""
        return self.path / "directions.json"

    @property
    def choice(self) -> Path:
        """The file that says which candidates were tried, and which are taken."""
        return self.path / "choice.json"

    def candidate(self, name: str) -> Path:
        """Return the run directory of a candidate."""
        return self.path / "candidates" / name

    @property
    def selection(self) -> Path:
        """The file that says which snapshot was chosen, and why."""
        return self.path / "selection.json"
