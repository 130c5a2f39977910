"""What many people ask at once, computed as one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

import torch
from torch import Tensor

AT_ONCE = 256
"""Images of a batch, at most, unless one request alone has more."""


class BusyError(Exception):
    """Too many images are waiting."""


class Batcher:
    """Joins the images of waiting requests into batches. While one is computed, the next gathers; none is waited for.

    Parameters
    ----------
    compute
        Maps a batch ``[N, ...]`` to its answers ``[N, ...]``; called in ``executor``, by one thread at a time.
    executor
        Where it computes.
    most_waiting
        Images that may wait.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], executor: Executor, most_waiting: int) -> None:
        self._compute, self._executor, self._most_waiting = compute, executor, most_waiting
        self._waiting: list[tuple[Tensor, asyncio.Future[Tensor]]] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, images: Tensor) -> Tensor:
        """Return the answers for some images ``[N, ...]``, computed together with what others ask.

        Raises
        ------
        BusyError
            Too many images are waiting already.
        """
        if self.is_full(len(images)):
            raise BusyError
        answer: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()
        self._waiting.append((images, answer))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await answer

    def is_full(self, more: int) -> bool:
        """Whether so many more images would be too many."""
        return sum(len(one) for one, _ in self._waiting) + more > self._most_waiting

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._next())
        finally:
            self._working = None

    def _next(self) -> list[tuple[Tensor, asyncio.Future[Tensor]]]:
        taken = [self._waiting.pop(0)]
        count = len(taken[0][0])
        while self._waiting and count + len(self._waiting[0][0]) <= AT_ONCE:
            taken.append(self._waiting.pop(0))
            count += len(taken[-1][0])
        return taken

    async def _answer(self, taken: list[tuple[Tensor, asyncio.Future[Tensor]]]) -> None:
        images, answers = zip(*taken, strict=True)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._executor, self._compute, torch.cat(images))
        except Exception as error:  # whatever it is, those who wait must hear of it
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)
            return
        for answer, part in zip(answers, found.split([len(one) for one in images]), strict=True):
            if not answer.done():  # its client may be gone
                answer.set_result(part)
