"""Which images a training's steps get, brought to the device: from there if the set fits, else gathered ahead."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from acclimate.training.batches import Batches
from acclimate.training.engine import Engine

SHARE = 0.5
"""Sets fit up to this share of a GPU's free memory, or of the machine's physical memory where a CPU computes."""

UNKNOWN_MEMORY = 8 * 2**30
"""Bytes that a machine is taken to have which does not say."""

AHEAD = 2
"""Steps that batches are gathered ahead."""


class Feed:
    """The batches of some arrays, step by step, on the device.

    Arrays that fit rest on the device, which for a CPU means that the system keeps their memory maps in memory. Of
    others a thread gathers the batches of the next steps while a step computes. What a step gets depends on its number
    alone, either way.

    Parameters
    ----------
    engine
        Where the batches are needed, and the processes that share each.
    *columns
        Arrays ``[N, ...]`` on the CPU, each with the indices of every step.
    """

    def __init__(self, engine: Engine, *columns: tuple[Tensor, Batches]) -> None:
        device = engine.device
        self._device, self._share, self._columns = device, engine.processes.share, columns
        self._thread: ThreadPoolExecutor | None = None
        self._gathered: dict[int, Future[list[Tensor]]] = {}
        if fits(sum(array.nbytes for array, _ in columns), device):
            self._columns = tuple((array.to(device), batches) for array, batches in columns)
        else:  # the thread must say itself which GPU the memory is pinned for
            numbered = torch.empty(0, device=device).device
            choose = partial(torch.cuda.set_device, numbered) if device.type == "cuda" else None
            self._thread = ThreadPoolExecutor(1, "feed", choose)

    def __getitem__(self, step: int) -> list[Tensor]:
        """Return a step's batch of each array, or this process's share of it."""
        if self._thread is None:
            orders = dict.fromkeys(batches for _, batches in self._columns)
            indices = {batches: self._to_device(self._share(batches[step])) for batches in orders}
            return [array[indices[batches]] for array, batches in self._columns]
        wanted = range(step, step + AHEAD + 1)  # others, of steps before a jump, are dropped
        self._gathered = {one: self._gathered.get(one) or self._thread.submit(self._gather, one) for one in wanted}
        return [self._to_device(batch) for batch in self._gathered.pop(step).result()]

    def _gather(self, step: int) -> list[Tensor]:
        # NumPy gathers in this thread alone; torch would start threads that compete with the step's
        found = [
            torch.from_numpy(array.numpy()[self._share(batches[step]).numpy()]) for array, batches in self._columns
        ]
        return [self._pinned(batch) for batch in found]

    def _to_device(self, batch: Tensor) -> Tensor:
        """Send a batch to the device without waiting for its arrival."""
        return self._pinned(batch).to(self._device, non_blocking=True)

    def _pinned(self, batch: Tensor) -> Tensor:
        return batch.pin_memory() if self._device.type == "cuda" else batch  # itself if it is pinned already


def fits(size: int, device: torch.device) -> bool:
    """Whether arrays of ``size`` bytes may rest on the device: see :data:`SHARE`."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # kept by torch
        return size <= SHARE * (torch.cuda.mem_get_info(device)[0] + unused)
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        memory = UNKNOWN_MEMORY
    return size <= SHARE * memory
