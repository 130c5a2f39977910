"""The one training loop: phases, logs, checkpoints, resume, interruption. Methods bring the steps."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from acclimate.config import Precision
from acclimate.distributed import Processes, processes
from acclimate.errors import AcclimateError, InterruptedRunError, NonFiniteLossError
from acclimate.progress import progress
from acclimate.runs import Run
from acclimate.state import random_state, save_tree, set_random_state, write_atomic


class Stateful(Protocol):
    """What can be checkpointed: networks, optimizers, schedules, pools."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as nested dicts and lists of tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take back what :meth:`state_dict` returned."""


@dataclass(frozen=True)
class Engine:
    """Where and how precisely to compute.

    Attributes
    ----------
    device
        The torch device.
    dtype
        What autocast computes convolutions and matrix products in; None for float32 throughout.
    processes
        Those that train together.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype | None = None
    processes: Processes = field(default_factory=Processes)

    @classmethod
    def choose(cls, device: str = "auto", precision: Precision = "auto") -> Engine:
        """Resolve ``auto``: CUDA if it is there; bfloat16 where the hardware multiplies it natively.

        Raises
        ------
        AcclimateError
            No such device.
        """
        name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            chosen = torch.empty(0, device=torch.device(name)).device  # a GPU's with its number
            if chosen.type == "cuda":
                _set_up_cuda(chosen)
        except (RuntimeError, AssertionError) as error:
            raise AcclimateError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from None
        if precision == "auto":
            gpu = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            precision = "bfloat16" if gpu or (chosen.type == "cpu" and cpu_has_bf16()) else "float32"
        return cls(chosen, torch.bfloat16 if precision == "bfloat16" else None, processes())

    def alone(self) -> Engine:
        """Return the same without the other processes, for what one of them does by itself."""
        return replace(self, processes=Processes())

    def autocast(self) -> torch.autocast:
        """Return the context that forward passes run in."""
        return torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Draw at random from a seed in this context, and as before after it."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def place(self, network: nn.Module) -> None:
        """Move a network to the device, its images laid out channels last.

        Convolutions run up to 1.5 times faster so on a CPU; networks with instance norm do not.
        """
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _set_up_cuda(device: torch.device) -> None:
    """Make a GPU the current one, and its convolutions what is said of them: float32, not TF32, and repeatable."""
    torch.cuda.set_device(device)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively (AVX-512 BF16 or AMX)."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())


def seed_for(seed: int, *purpose: object) -> int:
    """Derive the seed of one purpose from the run's seed: independent streams from one number."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def linear_decay(step: int, steps: int) -> float:
    """Return the learning rate's factor: 1 over the first half of the steps, then falling to 0."""
    return min(1.0, 2.0 - 2.0 * step / steps)


class WeightAverage:
    """Exponential moving average of networks' weights (no buffers), one fused operation a step.

    Parameters
    ----------
    *networks
        What to average.
    decay
        Share of the average that stays at each step; it starts from the weights as they are.

    Attributes
    ----------
    networks
        Copies with the averaged weights.
    """

    def __init__(self, *networks: nn.Module, decay: float) -> None:
        self.decay = decay
        self.networks = tuple(copy.deepcopy(network).requires_grad_(False) for network in networks)
        self._live = [parameter.detach() for network in networks for parameter in network.parameters()]
        self._averaged: list[Tensor] = [parameter for network in self.networks for parameter in network.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now."""
        torch._foreach_lerp_(self._averaged, self._live, 1.0 - self.decay)

    def state_dict(self) -> dict[str, Any]:
        return {str(index): network.state_dict() for index, network in enumerate(self.networks)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for index, network in enumerate(self.networks):
            network.load_state_dict(state_dict[str(index)])


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Keep gradients out of ``networks`` while something is trained through them."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)


class Batches:
    """Which images come at which step: a function of seed and step alone, so that nothing of it needs saving.

    Every epoch is a new permutation.

    Parameters
    ----------
    count
        Images in the set.
    batch_size
        Images a batch.
    seed
        Of the permutations.
    drop_last
        Leave out the last batch of an epoch if it is not full.
    least
        Leave it out too if it has fewer images than these, unless it is the only one.
    what
        The set's name in the error message.

    Raises
    ------
    AcclimateError
        Not one batch can be filled, with ``drop_last``.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, *, drop_last: bool, least: int = 1, what: str = "the set"
    ) -> None:
        if count < (batch_size if drop_last else 1):
            raise AcclimateError(
                f"{what} has {count} images, fewer than a batch of {batch_size}: add images or use a smaller batch"
            )
        self.count, self.batch_size, self.seed = count, batch_size, seed
        whole, rest = divmod(count, batch_size)
        self.steps_per_epoch = whole if drop_last or (rest < least and whole) else whole + 1
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def size(self, step: int) -> int:
        """Return how many images a step has."""
        return min(self.batch_size, self.count - step % self.steps_per_epoch * self.batch_size)

    def __getitem__(self, step: int) -> Tensor:
        """Return the image indices of a step, int64 ``[batch_size]``, fewer in an epoch's last batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(seed_for(self.seed, epoch))
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=generator)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]


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
        Called after each epoch; returns numbers to log and whether to stop.
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
    phase: Phase, run: Run, engine: Engine, seed: int, *, log_every: int = 20, checkpoint_every: int = 500
) -> float:
    """Run a phase to its end, from its newest checkpoint if the run has one.

    Parameters
    ----------
    phase
        What to train.
    run
        Where logs and checkpoints go.
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
    if (saved := run.load_checkpoint(phase.name)) is not None:
        for name, part in phase.state.items():
            part.load_state_dict(saved["state"][name])
            if isinstance(part, torch.optim.Optimizer):
                _lay_out_as_parameters(part)
        done, seconds, stop = saved["step"], saved["seconds"], saved["stop"]
        if len(saved["random"]) == group.count:
            set_random_state(saved["random"][group.rank], engine.device)
        else:  # saved by another number of processes
            torch.manual_seed(_process_seed(seed, f"{phase.name} from {done}", group))
    start = time.monotonic() - seconds

    def save() -> None:
        state = {name: part.state_dict() for name, part in phase.state.items()}
        random = group.gather(random_state(engine.device))
        position = {"step": done, "seconds": time.monotonic() - start, "stop": stop}
        if group.first:
            run.save_checkpoint(phase.name, done, position | {"state": state, "random": random})

    def is_stopped() -> bool:
        """Whether to stop before the end; several processes ask one another now and then, and agree."""
        if group.alone:
            return stopped.is_set()
        return done % log_every == 0 and group.any(stopped.is_set())

    with (
        _Log(run, phase, done, group) as log,
        _stop_signal(group) as stopped,
        progress(phase.name, phase.steps, done=done, unit="steps") as bar,
    ):
        while done < phase.steps and not stop:
            log.add(phase.step(done))
            done += 1
            bar.advance()
            ends_epoch, interrupted = done % phase.steps_per_epoch == 0, is_stopped()
            saves = done % checkpoint_every == 0 or done == phase.steps or interrupted
            snaps = phase.snapshot_every > 0 and (done % phase.snapshot_every == 0 or done == phase.steps)
            if done % log_every == 0 or ends_epoch or saves or snaps:
                bar.note(log.write(done))
                for part in phase.state.values():
                    if isinstance(part, nn.Module):
                        group.average_buffers(part)
            if ends_epoch and phase.end_epoch is not None:
                values, stop = phase.end_epoch()
                log.write_values(done, values)
            if snaps and phase.snapshot is not None and group.first:
                save_tree(run.path / "snapshots" / f"{done:08d}.safetensors", phase.snapshot())
            if saves or stop:
                save()
            if interrupted:
                break
        if group.any(stopped.is_set()):  # perhaps while the last state was written, or since processes last agreed
            raise InterruptedRunError(
                f"stopped in {phase.name} after step {done:,}; go on with: acclimate run --resume {run.path}"
            )
    return time.monotonic() - start


def _process_seed(seed: int, purpose: str, group: Processes) -> int:
    """Return the seed of one process's own draws, such as dropout; the first one's is that of a process alone."""
    return seed_for(seed, purpose) if group.first else seed_for(seed, purpose, group.rank)


def _lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Order loaded moments in memory as their parameters are (channels last): fused steps pair them by position."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


class _Log:
    """Collects scalars on the device, and writes their means to ``metrics.jsonl`` and TensorBoard."""

    def __init__(self, run: Run, phase: Phase, done: int, group: Processes) -> None:
        self.run, self.phase, self.group = run, phase, group
        self.names: list[str] = []
        self.window: list[Tensor] = []
        path = run.path / "metrics.jsonl" if group.first else Path(os.devnull)
        if group.first and path.exists():  # drop what an interrupted process logged beyond its last checkpoint
            kept = [entry for entry in run.metrics() if entry["phase"] != phase.name or entry["step"] <= done]
            write_atomic(path, "".join(json.dumps(entry) + "\n" for entry in kept).encode())
        self.file = open(path, "a")  # noqa: SIM115 (closed by __exit__)
        self.board = _tensorboard(run, done) if group.first else None

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
            kept = sorted((self.run.path / "checkpoints" / self.phase.name).glob("*.safetensors"))
            last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
            raise NonFiniteLossError(
                f"{self.names[column]} became {rows[row, column].item()} in {self.phase.name} at step"
                f" {step - len(rows) + row + 1:,}; {last}. A lower learning rate or --precision float32 may help"
            )
        means = dict(zip(self.names, rows.mean(0).tolist(), strict=True))
        self.write_values(step, means)
        return "  ".join(f"{name} {value:.3f}" for name, value in list(means.items())[:3])

    def write_values(self, step: int, values: Mapping[str, float]) -> None:
        rounded = {name: round(value, 6) for name, value in values.items()}
        self.file.write(json.dumps({"phase": self.phase.name, "step": step} | rounded) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{self.phase.name}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()


def _tensorboard(run: Run, done: int) -> Any:
    """Return a TensorBoard writer where tensorboard is installed (the extra of that name), else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run.path / "tensorboard"), purge_step=done + 1 if done else None)


@contextmanager
def _stop_signal(group: Processes) -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that the step ends and the state is saved; a second stops at once.

    Not so for several processes: ``torchrun`` passes on a signal that they have got already.
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
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
