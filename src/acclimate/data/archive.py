"""Archives, read in memory: nothing that they hold is written to disk."""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from acclimate.errors import DataError

MOST_BYTES = 2 << 30
"""What a file or an archive may unpack to: a small one can hold terabytes."""


def unpack(path: Path, *, max_bytes: int = MOST_BYTES) -> bytes:
    """Return what a file holds, unpacked if it is gzip or bzip2.

    Raises
    ------
    DataError
        It cannot be read, is damaged or cut off, or unpacks to more than ``max_bytes``.
    """
    try:
        with open(path, "rb") as file:
            magic = file.read(3)
        opener = gzip.open if magic[:2] == b"\x1f\x8b" else bz2.open if magic == b"BZh" else open
        with opener(path, "rb") as file:
            content: bytes = file.read(max_bytes + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut off ({error})") from None
    if len(content) > max_bytes:
        raise DataError(f"{path}: unpacks to more than {max_bytes:,} bytes")
    return content


def read_archive(
    path: Path, pattern: str, *, max_members: int = 100_000, max_bytes: int = MOST_BYTES
) -> Iterator[tuple[str, bytes]]:
    """Read the members of a tar archive whose names match ``pattern``, in memory: nothing is written to disk.

    Yields
    ------
    tuple of name and content, in the archive's order.

    Raises
    ------
    DataError
        The archive is damaged, has too many members, unpacks to more than ``max_bytes``, or a matching member is no
        plain file or has a name that leaves the archive.
    """
    unpacked = 0
    try:
        with tarfile.open(path) as archive:
            for count, member in enumerate(archive):
                if count >= max_members:
                    raise DataError(f"{path}: more than {max_members:,} members")
                unpacked += member.size
                if unpacked > max_bytes:
                    raise DataError(f"{path}: unpacks to more than {max_bytes:,} bytes")
                if not fnmatch.fnmatch(member.name, pattern):
                    continue
                name = PurePosixPath(member.name)
                file = archive.extractfile(member) if member.isreg() else None
                if file is None or name.is_absolute() or ".." in name.parts:
                    raise DataError(f"{path}: member {member.name!r} is no plain file inside the archive")
                yield member.name, file.read()
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut off ({error})") from None
