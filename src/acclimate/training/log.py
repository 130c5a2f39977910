"""The metrics of a training: collected on the device, written as JSON lines and, if it is there, to TensorBoard."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from acclimate.errors import NonFiniteLossError
from acclimate.progress import say
from acclimate.training.distributed import Processes
from acclimate.training.record import TrainingRecord
from acclimate.training.state import write_atomic, writing


class MetricsLog:
    """Collects scalars on the device, and writes their means to ``metrics.jsonl`` and TensorBoard."""

    def __init__(self, record: TrainingRecord, phase: str, done: int, group: Processes) -> None:
        self.record, self.phase, self.group = record, phase, group
        self.names: list[str] = []
        self.window: list[Tensor] = []
        path = record.path / "metrics.jsonl" if group.first else Path(os.devnull)
        if group.first and path.exists():  # drop what an interrupted process logged beyond its last checkpoint
            kept = [entry for entry in record.metrics() if entry["phase"] != phase or entry["step"] <= done]
            write_atomic(path, "".join(json.dumps(entry) + "\n" for entry in kept).encode())
        with writing(path):
            self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by __exit__)
        self.board = Board(record.path / "tensorboard" if group.first else None, done)

    def add(self, values: Mapping[str, Tensor]) -> None:
        self.names = list(values)
        self.window.append(torch.stack([value.detach().float() for value in values.values()]))

    def unlogged(self) -> dict[str, Any] | None:
        """Return what was added since the last line, for :meth:`take_back` when an interrupted training goes on."""
        if not self.window:
            return None
        return {"names": self.names, "rows": self._rows()}

    def take_back(self, unlogged: dict[str, Any] | None) -> None:
        """Go on from what :meth:`unlogged` returned: a line is then the mean over the same steps as without a break."""
        if unlogged is not None:
            self.names, self.window = unlogged["names"], list(unlogged["rows"])

    def write(self, step: int) -> str:
        if not self.window:
            return ""
        rows = self._rows()
        self.window.clear()
        bad = (~torch.isfinite(rows)).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            kept = self.record.checkpoints(self.phase)
            last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
            raise NonFiniteLossError(
                f"{self.names[column]} became {rows[row, column].item()} in {self.phase} at step"
                f" {step - len(rows) + row + 1:,}; {last}. A lower learning rate or --precision float32 may help"
            )
        means = dict(zip(self.names, rows.mean(0).tolist(), strict=True))
        self.write_values(step, means)
        return "  ".join(f"{name} {value:.3f}" for name, value in list(means.items())[:3])

    def _rows(self) -> Tensor:
        """Return what was added since the last line, the mean over the processes."""
        device = self.window[-1].device  # those that were taken back lie on the CPU
        return self.group.average(torch.stack([row.to(device) for row in self.window])).cpu()

    def write_values(self, step: int, values: Mapping[str, float]) -> None:
        rounded = {name: round(value, 6) for name, value in values.items()}
        with writing(self.record.path / "metrics.jsonl"):
            self.file.write(json.dumps({"phase": self.phase, "step": step} | rounded) + "\n")
            self.file.flush()
        self.board.add({f"{self.phase}/{name}": value for name, value in values.items()}, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.board.close()
        with writing(self.record.path / "metrics.jsonl"):
            self.file.close()


class Board:
    """TensorBoard's events, where the extra of that name is installed; a full disk ends them, not the run.

    Parameters
    ----------
    folder
        Where they go; None for nowhere.
    done
        The step that is behind us: events beyond it are of an interrupted process.
    """

    def __init__(self, folder: Path | None, done: int) -> None:
        self._writer: Any = None
        self._hook = threading.excepthook
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        if folder is not None:
            threading.excepthook = self._in_its_thread
            with self._at_risk():
                self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Add values of a step."""
        with self._at_risk():
            for name, value in values.items() if self._writer is not None else ():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is not written yet."""
        with self._at_risk():
            if self._writer is not None:
                self._writer.close()
        threading.excepthook = self._hook

    @contextmanager
    def _at_risk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if self._writer is not None:
            say(f"TensorBoard's events are written no more: {error.strerror or error}")
        self._writer = None

    def _in_its_thread(self, what: threading.ExceptHookArgs) -> None:
        if isinstance(what.exc_value, OSError) and type(what.thread).__module__.startswith("tensorboard"):
            self._give_up(what.exc_value)
        else:
            self._hook(what)
