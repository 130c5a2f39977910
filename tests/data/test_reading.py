"""Images read by several threads."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from acclimate.data.reading import AHEAD, MOST_THREADS, read_in_order
from acclimate.errors import DataError


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_the_order_stays_whoever_is_done_first(threads: int) -> None:
    names = set()

    def read(number: int) -> Tensor:
        names.add(threading.current_thread().name)
        time.sleep(0.02 if number % 2 == 0 else 0)
        if number == 5:
            raise DataError("the fifth")
        return torch.full((1,), number)

    found = list(read_in_order(read, range(20)))
    assert [item for item, _ in found] == list(range(20))
    assert [one.item() for _, one in found if isinstance(one, Tensor)] == [n for n in range(20) if n != 5]
    assert str(found[5][1]) == "the fifth"
    assert len(names) == threads


def test_no_more_is_read_than_is_ahead(threads: int) -> None:
    begun = []

    def read(number: int) -> Tensor:
        begun.append(number)
        return torch.zeros(1)

    reading = read_in_order(read, range(1000))
    next(reading)
    time.sleep(0.2)
    assert len(begun) <= 1 + MOST_THREADS * AHEAD
    reading.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("strict", "error"), [(True, DataError), (False, KeyError)])
def test_what_ends_the_reading_leaves_no_thread_and_no_filter(
    threads: int, strict: bool, error: type[Exception]
) -> None:
    def read(number: int) -> Tensor:
        if number == 3:
            raise error("wrong")
        return torch.zeros(1)

    before = list(warnings.filters), threading.active_count()
    with pytest.raises(error, match="wrong"):
        list(read_in_order(read, range(1000), strict))
    assert (list(warnings.filters), threading.active_count()) == before
