"""Arrays on disk: ``.npy`` files, written piece by piece and opened as memory maps; no set has to fit into memory."""

from __future__ import annotations

import io
import math
import mmap
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from acclimate.errors import DataError
from acclimate.training.state import write_atomic, writing

PIECE = 256
"""Items of an array that are in memory at a time while it is copied."""

_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
"""Without this flag, which Python knows by name since 3.13, Linux maps no file larger than memory privately."""


def in_pieces(array: NDArray[Any] | Tensor, order: NDArray[np.int64] | None = None) -> Iterator[NDArray[Any]]:
    """Yield an array's items, :data:`PIECE` at a time.

    Parameters
    ----------
    array
        ``[N, ...]``, perhaps a memory map.
    order
        Which items, in which order; None for all as they are.
    """
    items = np.asarray(array)
    for start in range(0, len(items if order is None else order), PIECE):
        part = slice(start, start + PIECE)
        yield items[part] if order is None else items[order[part]]


def write_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike, pieces: Iterable[NDArray[Any]]) -> None:
    """Write an ``.npy`` file that is either whole or not there.

    It is written, not mapped: a full device is an error then, where a store into a map would kill the process.

    Parameters
    ----------
    path
        The file; missing folders are made.
    shape, dtype
        Of the whole array.
    pieces
        Its items ``[n, ...]`` in order, of that dtype.

    Raises
    ------
    AcclimateError
        The device is full or the folder cannot be written to.
    """
    header = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(header, described)
    write_atomic(path, chain([header.getvalue()], map(_buffer, pieces)))


def map_array(path: Path) -> Tensor:
    """Open an ``.npy`` file as a tensor over a memory map: what is not looked at is not read.

    Nothing may write to it; what does changes this process's memory alone, never the file.

    Raises
    ------
    DataError
        The file is missing or damaged.
    """
    try:
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            return _map(file, shape, dtype, file.tell())
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from None


def spool(pieces: Iterable[NDArray[np.uint8]], shape: tuple[int, ...], folder: Path) -> Tensor:
    """Write images to a file without a name, which goes when the tensor or the process does; return a memory map of it.

    Parameters
    ----------
    pieces
        One image or several each.
    shape
        Of an image.
    folder
        On the device that the file shall lie on; made if missing.

    Returns
    -------
    Tensor
        uint8 ``[N, *shape]``.

    Raises
    ------
    AcclimateError
        The device is full or the folder cannot be written to.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.writelines(map(_buffer, pieces))
            file.flush()
            count = file.tell() // math.prod(shape)
            if count == 0:  # nothing cannot be mapped
                return torch.empty(0, *shape, dtype=torch.uint8)
            return _map(file, (count, *shape), np.uint8)


def _map(file: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike, offset: int = 0) -> Tensor:
    """Map a file privately: torch has read-only memory only under protest, and who writes must not reach the file."""
    mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE)
    return torch.from_numpy(np.ndarray(shape, dtype, mapped, offset))


def _buffer(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).data
