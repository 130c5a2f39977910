"""The metrics of a training: collected on the device, written as JSON lines and, if it is there, to TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from acclimate.errors import NonFiniteLossError
from acclimate.training.distributed import Processes
from acclimate.training.record import TrainingRecord
from acclimate.training.state import write_atomic


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
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by __exit__)
        self.board = _tensorboard(record, done) if group.first else None

    def add(self, values: Mapping[str, Tensor]) -> None:
        self.names = list(values)
        self.window.append(torch.stack([value.detach().float() for value in values.values()]))

    def write(self, step: int) -> str:
        if not self.window:
            return ""
        rows = self.group.average(torch.stack(self.window)).cpu()
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

    def write_values(self, step: int, values: Mapping[str, float]) -> None:
        rounded = {name: round(value, 6) for name, value in values.items()}
        self.file.write(json.dumps({"phase": self.phase, "step": step} | rounded) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{self.phase}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()


def _tensorboard(record: TrainingRecord, done: int) -> Any:
    """Return a TensorBoard writer where tensorboard is installed (the extra of that name), else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(record.path / "tensorboard"), purge_step=done + 1 if done else None)
