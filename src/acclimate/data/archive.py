"""Archives, read in memory: nothing that they hold is written to disk."""

from __future__ import annotations

import fnmatch
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from acclimate.errors import DataError


def read_archive(
    path: Path, pattern: str, *, max_members: int = 100_000, max_bytes: int = 2 << 30
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
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut off ({error})") from None
