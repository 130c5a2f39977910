"""Images read by several threads: decoders let others run meanwhile."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from acclimate.errors import DataError

Item = TypeVar("Item")

MOST_THREADS = 4
"""Threads at most: each may hold an image of the largest size that is read, with its copies."""

AHEAD = 4
"""Images that a thread may be ahead of the one that is asked for."""


def read_in_order(
    read: Callable[[Item], Tensor], items: Iterable[Item], strict: bool = False
) -> Iterator[tuple[Item, Tensor | DataError]]:
    """Yield items in their order, each with what ``read`` returns of it, or with the DataError that it raises.

    With ``strict`` that is raised, as other errors are anyway. ``read`` runs in as many threads as torch has, so that
    ``--threads 1`` is obeyed.
    """
    threads = min(torch.get_num_threads(), MOST_THREADS)

    def tried(item: Item) -> tuple[Item, Tensor | DataError]:
        try:
            return item, read(item)
        except DataError as error:
            if strict:
                raise
            return item, error

    if threads < 2:
        yield from map(tried, items)
        return
    waiting: deque[Future[tuple[Item, Tensor | DataError]]] = deque()
    with warnings.catch_warnings(), ThreadPoolExecutor(threads, "reading") as pool:
        warnings.simplefilter("ignore")  # each thread does so too, but what it puts back may be another one's
        try:
            for item in items:
                waiting.append(pool.submit(tried, item))
                if len(waiting) > threads * AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
