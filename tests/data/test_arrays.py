"""Arrays on disk: written piece by piece, whole or not there, mapped and never changed."""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from acclimate.data import arrays
from acclimate.data.arrays import in_pieces, map_array, spool, write_array
from acclimate.errors import AcclimateError, DataError
from acclimate.training.batches import Batches
from acclimate.training.engine import Engine
from acclimate.training.feed import Feed, fits

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "PIECE", 4)


@pytest.mark.parametrize("order", [None, np.array([9, 0, 5, 5, 1])])
def test_pieces_are_the_whole_in_order(order: np.ndarray | None) -> None:
    pieces = list(in_pieces(torch.from_numpy(PIXELS), order))
    assert [len(piece) for piece in pieces] == ([4, 4, 2] if order is None else [4, 1])
    assert np.array_equal(np.concatenate(pieces), PIXELS if order is None else PIXELS[order])


@pytest.mark.parametrize("array", [PIXELS, PIXELS[::2], PIXELS[:0], np.arange(7)])
def test_written_in_pieces_is_read_back_whole(array: np.ndarray, tmp_path: Path) -> None:
    write_array(tmp_path / "new" / "a.npy", array.shape, array.dtype, in_pieces(array))
    assert np.array_equal(np.load(tmp_path / "new" / "a.npy"), array)
    mapped = map_array(tmp_path / "new" / "a.npy")
    assert mapped.shape == array.shape
    assert np.array_equal(mapped.numpy(), array)


def test_the_file_stays_as_it_is_whatever_is_done_to_the_tensor(tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", PIXELS.shape, PIXELS.dtype, [PIXELS])
    map_array(tmp_path / "a.npy").zero_()
    assert np.array_equal(map_array(tmp_path / "a.npy").numpy(), PIXELS)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", PIXELS.shape, PIXELS.dtype, [PIXELS])
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    for name in ("a.npy", "none.npy"):
        with pytest.raises(DataError, match=f"cannot read .*{name}"):
            map_array(tmp_path / name)


def test_more_than_the_machines_memory_is_mapped_and_gathered_from(tmp_path: Path) -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shape = (2 * physical // (3 * 512 * 512), 3, 512, 512)
    write_array(tmp_path / "a.npy", shape, np.uint8, [])
    with open(tmp_path / "a.npy", "r+b") as file:  # the images are a hole, which takes no room on the disk
        file.truncate(file.seek(0, os.SEEK_END) + math.prod(shape))
    images, batches = map_array(tmp_path / "a.npy"), Batches(shape[0], 4, 0, drop_last=True)
    assert not fits(images.nbytes, torch.device("cpu"))
    (batch,) = Feed(Engine(), (images, batches))[0]
    assert batch.shape == (4, 3, 512, 512)
    assert not batch.any()


def test_stopped_half_way_leaves_nothing(tmp_path: Path) -> None:
    def stopped() -> Iterator[np.ndarray]:
        yield PIXELS[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_array(tmp_path / "a.npy", PIXELS.shape, PIXELS.dtype, stopped())
    with pytest.raises(KeyboardInterrupt):
        spool(stopped(), PIXELS.shape[1:], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(AcclimateError, match=r"cannot write .*a\.npy: no space left on the device"):
        write_array(tmp_path / "a.npy", PIXELS.shape, PIXELS.dtype, [PIXELS])
    with pytest.raises(AcclimateError, match=r"cannot write .*: no space left on the device"):
        spool([PIXELS], PIXELS.shape[1:], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_spool_has_no_name_and_holds_single_images_and_several(tmp_path: Path) -> None:
    spooled = spool([PIXELS[0], PIXELS[1:4], PIXELS[4:4], PIXELS[4:]], PIXELS.shape[1:], tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    assert np.array_equal(spooled.numpy(), PIXELS)
    assert spool([], (3, 4, 4), tmp_path).shape == (0, 3, 4, 4)
