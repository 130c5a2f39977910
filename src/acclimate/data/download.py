"""Publishers' files: fetch from several mirrors, resume, verify the content, move into place; read archives safely.

A hash of the *content* decides, not one of the file: mirrors wrap the same bytes differently.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import math
import os
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from acclimate.errors import DataError
from acclimate.progress import progress
from acclimate.training.locking import locked

CHUNK = 1 << 18
TIMEOUT_SECONDS = 30.0
ATTEMPTS = 3
"""Times that one mirror is tried; each goes on where the last one stopped."""


def ensure_all(files: Iterable[RemoteFile], root: Path, *, download: bool = True) -> None:
    """Have every file in place below ``root``.

    Raises
    ------
    DataError
        Some could not be had; the message is about each of them.
    """
    failures = []
    for file in files:
        try:
            file.ensure(root, download=download)
        except DataError as error:
            failures.append(str(error))
    if failures:
        raise DataError("\n".join(failures))


class _TransferError(Exception):
    """One attempt at one mirror failed; ``permanent`` where asking the mirror again cannot help."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True)
class RemoteFile:
    """A publisher's file.

    Attributes
    ----------
    path
        Where it lies below the data root.
    urls
        Mirrors, the first tried first.
    md5
        md5 of the content; empty where none is known, and reading the file is the only check.
    digest
        Computes that md5 from the file at a path. The default takes the file's bytes, unpacked if they are gzip;
        formats that wrap the same content in different bytes bring their own.
    source
        The page where a person finds it.
    """

    path: str
    urls: tuple[str, ...]
    md5: str = ""
    digest: Callable[[Path], str] = field(default_factory=lambda: content_md5)
    source: str = ""

    def verify(self, path: Path) -> None:
        """Raise DataError unless the file at ``path`` holds what its publisher serves."""
        if self.md5 and (found := self.digest(path)) != self.md5:
            raise DataError(f"{path}: the content's md5 is {found}, expected {self.md5}")

    def ensure(self, root: Path, *, download: bool = True) -> Path:
        """Return the verified file below ``root``, fetched if it is not there.

        A file that was verified once is not verified again until it changes.

        Raises
        ------
        DataError
            The file is there but wrong, or it is missing and no mirror gave it.
        """
        path = root / self.path
        if path.exists():
            stamp = self._stamp(path)
            if stamp not in _verified:
                self.verify(path)
                _verified.add(stamp)
            return path
        if not download:
            raise DataError(self._missing(root, ["downloading is switched off"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock")
        with locked(lock, patience=math.inf):
            if not path.exists():  # else another process has fetched it
                self._fetch_any(root)
                lock.unlink(missing_ok=True)
                return path
        return self.ensure(root, download=download)

    def _fetch_any(self, root: Path) -> None:
        path, failures = root / self.path, []
        for url in self.urls:
            try:
                self._fetch(url, path)
                return
            except _TransferError as error:
                failures.append(f"{url}: {error}")
        raise DataError(self._missing(root, failures))

    def _missing(self, root: Path, failures: list[str]) -> str:
        lines = [f"{self.path} is missing and could not be fetched:", *(f"  {failure}" for failure in failures)]
        lines.append(f"  published at {self.source or (self.urls[0] if self.urls else 'nowhere on the web')}")
        lines.append(f"  put it at {root / self.path}, or name another folder with --data-root")
        return "\n".join(lines)

    def _fetch(self, url: str, path: Path) -> None:
        """Fetch one mirror's copy into ``path``; what arrived stays in a ``.part`` file for the next attempt."""
        part = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _transfer(url, part)
                break
            except _TransferError as error:
                if error.permanent or attempt == ATTEMPTS:
                    raise
                time.sleep(0.2 * 2**attempt)
        try:
            self.verify(part)
        except DataError as error:
            part.unlink()
            raise _TransferError(str(error).removeprefix(f"{part}: ")) from None
        os.replace(part, path)
        _verified.add(self._stamp(path))

    def _stamp(self, path: Path) -> tuple[str, str, int, int]:
        stat = path.stat()
        return self.md5, str(path.resolve()), stat.st_size, stat.st_mtime_ns


_verified: set[tuple[str, str, int, int]] = set()


def _transfer(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "acclimate", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                have = 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            with open(part, "ab" if have else "wb") as file, progress(url.rsplit("/", 1)[-1], total, unit="B") as bar:
                bar.advance(have)
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    bar.advance(len(chunk))
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return  # the part is whole already
        permanent = 400 <= error.code < 500 and error.code not in (408, 429)
        raise _TransferError(f"HTTP {error.code} {error.reason}", permanent=permanent) from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DataError(f"{part.parent}: no space left on the device") from None
        raise _TransferError(str(getattr(error, "reason", error)) or type(error).__name__) from None
    if total is not None and part.stat().st_size < total:
        raise _TransferError(f"cut off after {part.stat().st_size:,} of {total:,} bytes")


def file_md5(path: Path) -> str:
    """Return the md5 of a file's bytes as they are, for publishers who state no other."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def content_md5(path: Path) -> str:
    """Return the md5 of a file's content: of the unpacked bytes if it is gzip, whatever its name.

    Raises
    ------
    DataError
        The file is cut off or damaged.
    """
    checksum = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        stream = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
        try:
            while chunk := stream.read(CHUNK):
                checksum.update(chunk)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path}: damaged or cut off ({error})") from None
    return checksum.hexdigest()
