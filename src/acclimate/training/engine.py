"""Where and how precisely to compute, and the seeds of what is drawn at random."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from acclimate.config import Precision
from acclimate.errors import AcclimateError
from acclimate.training.distributed import Processes, processes


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
    replays
        Whether a GPU may replay steps as CUDA graphs.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype | None = None
    processes: Processes = field(default_factory=Processes)
    replays: bool = True

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
            reason = str(error).splitlines()[0]
            if reason.startswith("Expected one of"):  # all that torch has ever run on
                reason = "auto, cpu, cuda and cuda:1 are such names"
            raise AcclimateError(f"device {device!r} cannot be used: {reason}") from None
        if precision == "auto":
            gpu = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            precision = "bfloat16" if gpu or (chosen.type == "cpu" and cpu_has_bf16()) else "float32"
        return cls(chosen, torch.bfloat16 if precision == "bfloat16" else None, processes())

    def at_once(self, most: int, items: Tensor) -> int:
        """Return how many of ``items``, images ``[N, C, H, W]`` or vectors, go through a network at once.

        A CPU gets :data:`PIXELS_AT_ONCE`, as its memory is not asked; a GPU says itself what is too much. The variable
        ``$ACCLIMATE_PIXELS_AT_ONCE`` of the environment sets it for both.
        """
        asked = os.environ.get(PIXELS_VARIABLE, "")
        if items.ndim < 4 or (self.device.type == "cuda" and not asked):
            return most
        if asked and not (asked.isdecimal() and int(asked)):
            raise AcclimateError(f"${PIXELS_VARIABLE} is a number of pixels, not {asked!r}")
        pixels = int(asked or PIXELS_AT_ONCE)
        return max(1, min(most, pixels // (items.shape[-2] * items.shape[-1])))

    def alone(self) -> Engine:
        """Return the same without the other processes, for what one of them does by itself."""
        return replace(self, processes=Processes())

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context that forward passes run in."""
        return torch.autocast(self.device.type, dtype=self.dtype) if self.dtype is not None else nullcontext()

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


PIXELS_VARIABLE = "ACCLIMATE_PIXELS_AT_ONCE"

PIXELS_AT_ONCE = 2**19
"""Pixels of a batch on a CPU at most, where nothing is learnt: 512 images of 32 pixels, ten of 224."""


def in_parts(compute: Callable[[Tensor], Tensor], items: Tensor, most: int) -> Tensor:
    """Return ``compute(items)``, computed part by part and put together.

    Parameters
    ----------
    compute
        Maps ``[n, ...]``, some of the items, to ``[n, ...]`` on the CPU, without gradients.
    items
        ``[N, ...]``.
    most
        Items of a part. A part that does not fit into a GPU's memory is halved.
    """
    size, done = most, 0
    results: list[Tensor] = []
    while done < len(items) or not results:
        try:
            results.append(compute(items[done : done + size]))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            torch.cuda.empty_cache()
            size = max(1, size // 2)
        else:
            done += size
    return torch.cat(results)


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
