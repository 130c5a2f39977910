"""Several processes that train one run together: data parallel, under ``torchrun``, by torch.distributed itself.

Every process takes its share of each batch, gradients are averaged before each update, and whatever steers training
(whether a discriminator rests, whether to stop) is decided on the average. So a batch is the same whatever the number
of processes, and so is its update but for what each process draws or keeps itself: dropout, noise, the statistics of
batch norm, its part of an image pool. The first process alone writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from acclimate.errors import AcclimateError, LostProcessError

T = TypeVar("T")

OBJECT_TIMEOUT = timedelta(days=2)
"""How long processes wait for one another's objects: while one prepares a domain or translates, the others rest."""

GRADIENT_TIMEOUT = timedelta(minutes=30)
"""How long they wait for one another's gradients. Objects go by gloo, which notices at once when a process dies; NCCL,
which carries gradients between GPUs, does not."""

SETTLING = 0.5
"""Seconds before processes part. A thread of gloo needs the interpreter's lock to free the last message, and the end of
the group holds that lock while it waits for the thread: seen with torch 2.6, one time in twelve on a busy machine."""

_object_group: dist.ProcessGroup | None = None
"""The gloo group that passes objects, not gradients."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together, and which of them this is; by default one alone.

    All methods but :meth:`share` wait for the other processes, which must call them too.

    Attributes
    ----------
    rank
        This process's number.
    count
        How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def check_batch(self, size: int) -> None:
        """Refuse a batch that cannot be shared equally.

        Raises
        ------
        AcclimateError
            The number of processes does not divide ``size``.
        """
        if size % self.count:
            raise AcclimateError(
                f"{self.count} processes cannot share a batch of {size} equally: change one or the other"
            )

    def share(self, batch: Tensor) -> Tensor:
        """Return this process's part of a batch ``[N, ...]``: every ``count``-th, so that no two overlap."""
        return batch[self.rank :: self.count]

    def average(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes; it takes no part in gradients."""
        value = value.detach()
        if not self.alone:
            value = value.clone()
            with _watched():
                dist.all_reduce(value)
            value /= self.count
        return value

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients of ``parameters`` by their means over the processes."""
        self._average_in_place([parameter.grad for parameter in parameters if parameter.grad is not None])

    def average_buffers(self, buffers: Iterable[Tensor]) -> None:
        """Average the statistics of batch norms, which each process takes over its own share."""
        self._average_in_place([buffer for buffer in buffers if buffer.is_floating_point()])

    def _average_in_place(self, tensors: Sequence[Tensor]) -> None:
        if self.alone or not tensors:
            return
        means = self.average(torch.cat([one.flatten() for one in tensors]))  # one message for all
        for one, mean in zip(tensors, means.split([one.numel() for one in tensors]), strict=True):
            one.copy_(mean.view_as(one))

    def gather(self, value: T) -> list[T]:
        """Return every process's value, in order."""
        if self.alone:
            return [value]
        values: list[T] = [value] * self.count
        with _watched():
            dist.all_gather_object(values, value, group=_object_group)
        return values

    def agree(self, value: T) -> T:
        """Return the first process's value."""
        if self.alone:
            return value
        values = [value]
        with _watched():
            dist.broadcast_object_list(values, group=_object_group)
        return values[0]

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in any process."""
        return any(self.gather(flag))

    def first_then_all(self, make: Callable[[], T]) -> T:
        """Call ``make`` in the first process, then in the others, which find on disk what it made.

        An error of the first is raised in all: nobody waits for what will not come.
        """
        result, error = None, None
        if self.first:
            try:
                result = make()
            except AcclimateError as found:
                error = found
        error = self.agree(error)
        if error is not None:
            raise error
        return result if self.first else make()  # type: ignore[return-value]


@contextmanager
def _watched() -> Iterator[None]:
    """Turn the failure of a message into an error that says what to do."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostProcessError(
            f"another process of this run is gone or does not answer ({str(error).splitlines()[0][:120]})"
        ) from None


@contextmanager
def joined(device: str | None) -> Iterator[None]:
    """Join the processes that ``torchrun`` has started, if it has, and leave them at the end.

    Not after an error: leaving waits for what is under way between GPUs, perhaps with a process that is gone.
    """
    global _object_group
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    # An optimizer imports this. Imported after the group is there, it keeps the group alive beyond its end, and gloo's
    # threads then crash the interpreter as it exits.
    import torch._dynamo

    on_gpu = torch.cuda.is_available() if device in (None, "auto") else str(device).startswith("cuda")
    if on_gpu:
        _take_gpu(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=GRADIENT_TIMEOUT)
    _object_group = dist.new_group(backend="gloo", timeout=OBJECT_TIMEOUT)
    yield
    time.sleep(SETTLING)
    dist.destroy_process_group()
    _object_group = None


def _take_gpu(device: str | None) -> None:
    """Give each process of a machine a GPU of its own."""
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device not in (None, "auto", "cuda"):
        raise AcclimateError(f"each process takes a GPU of its own: say --device cuda instead of {device}")
    if not there:
        raise AcclimateError("this machine has no GPU: say --device cpu")
    if number >= there:
        raise AcclimateError(f"this machine has {there} GPUs: start no more processes on it")
    torch.cuda.set_device(number)


def processes() -> Processes:
    """Return the processes that have joined, or one alone."""
    return Processes(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Processes()
