"""The one training loop: phases, logs, checkpoints, resume, interruption. Methods bring the steps."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from acclimate.errors import InterruptedRunError, LostProcessError
from acclimate.progress import progress
from acclimate.training.distributed import Processes
from acclimate.training.engine import Engine, seed_for
from acclimate.training.log import MetricsLog
from acclimate.training.record import TrainingRecord
from acclimate.training.state import random_state, set_random_state
from acclimate.training.updates import lay_out_as_parameters


class Stateful(Protocol):
    """What can be checkpointed: networks, optimizers, schedules, pools."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as nested dicts and lists of tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take back what :meth:`state_dict` returned."""


@runtime_checkable
class HasBuffers(Protocol):
    """What has statistics that each of several processes takes over its own share of the batches."""

    def buffers(self) -> Iterable[Tensor]:
        """Return the statistics."""


@dataclass
class Phase:
    """A stretch of training.

    Attributes
    ----------
    name
        Names the checkpoints, the metrics and the progress bar.
    steps
        Optimisation steps at most.
    step
        Does one step, given its number, and returns scalar tensors to log; they are read only now and then.
    state
        Everything that the steps change.
    steps_per_epoch
        For :attr:`end_epoch` and the logs.
    end_epoch
        Called after each epoch, and at the end; returns numbers to log and whether to stop.
    snapshot
        Returns the weights worth keeping at intervals.
    snapshot_every
        Steps between snapshots; 0 for none.
    """

    name: str
    steps: int
    step: Callable[[int], Mapping[str, Tensor]]
    state: Mapping[str, Stateful]
    steps_per_epoch: int
    end_epoch: Callable[[], tuple[dict[str, float], bool]] | None = None
    snapshot: Callable[[], dict[str, Any]] | None = None
    snapshot_every: int = 0


def train(
    phase: Phase, record: TrainingRecord, engine: Engine, seed: int, *, log_every: int = 20, checkpoint_every: int = 500
) -> float:
    """Run a phase to its end, from its newest checkpoint if the run has one.

    Parameters
    ----------
    phase
        What to train.
    record
        Where logs, snapshots and checkpoints go.
    engine
        The device, for the random state; the processes that train together.
    seed
        Seeds the global generators when the phase starts.
    log_every
        Steps between lines of metrics, each the mean over the steps since the last.
    checkpoint_every
        Steps between full states.

    Returns
    -------
    float
        Seconds of training, those before a resume included.

    Raises
    ------
    NonFiniteLossError
        A metric became NaN or infinite.
    InterruptedRunError
        Ctrl-C or SIGTERM came; the state was saved.
    """
    group = engine.processes
    torch.manual_seed(_process_seed(seed, phase.name, group))
    done, seconds, stop = 0, 0.0, False
    if (saved := record.load_checkpoint(phase.name)) is not None:
        for name, part in phase.state.items():
            part.load_state_dict(saved["state"][name])
            if isinstance(part, torch.optim.Optimizer):
                lay_out_as_parameters(part)
        done, seconds, stop = saved["step"], saved["seconds"], saved["stop"]
        if len(saved["random"]) == group.count:
            set_random_state(saved["random"][group.rank], engine.device)
        else:  # saved by another number of processes
            torch.manual_seed(_process_seed(seed, f"{phase.name} from {done}", group))
    start = time.monotonic() - seconds

    def save() -> None:
        state = {name: part.state_dict() for name, part in phase.state.items()}
        random = group.gather(random_state(engine.device))
        position = {"step": done, "seconds": time.monotonic() - start, "stop": stop, "unlogged": log.unlogged()}
        if group.first:
            record.save_checkpoint(phase.name, done, position | {"state": state, "random": random})

    def is_stopped() -> bool:
        """Whether to stop before the end; several processes ask one another now and then, and agree."""
        if group.alone:
            return stopped.is_set()
        return done % log_every == 0 and group.any(stopped.is_set())

    with (
        MetricsLog(record, phase.name, done, group) as log,
        _stop_signal(group) as stopped,
        progress(phase.name, phase.steps, done=done, unit="steps") as bar,
    ):
        if saved is not None:
            log.take_back(saved.get("unlogged"))
        while done < phase.steps and not stop:
            log.add(phase.step(done))
            done += 1
            bar.advance()
            ends, interrupted = done == phase.steps, is_stopped()
            ends_epoch = ends or done % phase.steps_per_epoch == 0
            saves = ends or done % checkpoint_every == 0
            snaps = phase.snapshot_every > 0 and (ends or done % phase.snapshot_every == 0)
            if done % log_every == 0 or ends_epoch or saves or snaps:
                bar.note(log.write(done))
                _average_buffers(phase, group)
            if ends_epoch and phase.end_epoch is not None:
                values, stop = phase.end_epoch()
                log.write_values(done, values)
            if snaps and phase.snapshot is not None and group.first:
                record.save_snapshot(done, phase.snapshot())
            if interrupted:
                _average_buffers(phase, group)
            if saves or stop or interrupted:
                save()
            if interrupted:
                break
        if group.any(stopped.is_set()):  # perhaps while the last state was written, or since processes last agreed
            raise InterruptedRunError(
                f"stopped in {phase.name} after step {done:,}; go on with: acclimate run --resume {record.path}"
            )
    return time.monotonic() - start


def _average_buffers(phase: Phase, group: Processes) -> None:
    for part in phase.state.values():
        if isinstance(part, HasBuffers):
            group.average_buffers(part.buffers())


def _process_seed(seed: int, purpose: str, group: Processes) -> int:
    """Return the seed of one process's own draws, such as dropout; the first one's is that of a process alone."""
    return seed_for(seed, purpose) if group.first else seed_for(seed, purpose, group.rank)


@contextmanager
def _stop_signal(group: Processes) -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that the step ends and the state is saved; a second stops at once.

    Not so for several processes: ``torchrun`` passes on a signal that they have got already. Once one of them is lost
    it sends SIGTERM to the others, which must not cut off what they have to say: they are on their way out.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if event.is_set() and group.alone:
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    except LostProcessError:
        del before[signal.SIGTERM]
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
