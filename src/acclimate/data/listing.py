"""Which files below a folder are images: by what they hold, not by what they are called."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from acclimate.data.images import IMAGE_SUFFIXES, is_image

SIDE_FOLDERS = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
)
"""What systems and archivers put beside people's images, in lower case; hidden folders are passed over as well."""

SIDE_FILES = frozenset({"thumbs.db", "desktop.ini", "icon\r"})


@dataclass
class Listing:
    """What lies below a folder.

    Attributes
    ----------
    files
        The image files, sorted; some of them may turn out to be unreadable.
    passed_over
        How many others there are, by kind: a suffix such as ``.txt``, or words.
    warnings
        What a person should know of how the folder was walked.
    """

    files: list[Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


def as_path(text: str | Path) -> Path:
    """Return a path as a person means it: ``~`` is a home, but where no user is called so it is part of a name."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def list_images(folder: Path) -> Listing:
    """List the image files below ``folder``, in any nesting; links are followed, but never round in a circle.

    A file whose suffix is an image's is one, whatever it holds: it is named later if it cannot be read. Of the others
    those are that begin like an image. Hidden files and folders, and what systems put beside images, are passed over.
    """
    found, seen = Listing(), dict[tuple[int, int], Path]()
    _walk(folder, folder, found, seen, frozenset())
    found.files.sort()
    return found


def _walk(
    top: Path, folder: Path, found: Listing, seen: dict[tuple[int, int], Path], above: frozenset[tuple[int, int]]
) -> None:
    inside = folder.relative_to(top)
    try:
        stat = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        found.passed_over["unreadable folders"] += 1
        found.warnings.append(f"the folder {inside} cannot be read: {error.strerror}")
        return
    identity = (stat.st_dev, stat.st_ino)
    if identity in above:
        found.warnings.append(f"the link {inside} leads back to a folder that it lies in: not followed")
        return
    if (before := seen.get(identity)) is not None and stat.st_ino:
        found.warnings.append(f"{inside} and {before} are the same folder, by a link: its images count twice")
    seen[identity] = inside
    folders = []
    for entry in entries:
        if _is_folder(entry):
            if entry.name.startswith(".") or entry.name.lower() in SIDE_FOLDERS:
                found.passed_over["hidden folders and those of the system"] += 1
            else:
                folders.append(Path(entry.path))
        elif entry.name.startswith(".") or entry.name.lower() in SIDE_FILES:
            found.passed_over["hidden files and those of the system"] += 1
        else:
            _add(Path(entry.path), entry, found)
    for path in folders:
        _walk(top, path, found, seen, above | {identity})


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _add(path: Path, entry: os.DirEntry[str], found: Listing) -> None:
    try:
        regular = entry.is_file()
    except OSError:
        regular = False
    if not regular and not entry.is_symlink():
        found.passed_over["pipes and devices"] += 1
    elif path.suffix.lower() in IMAGE_SUFFIXES or (regular and is_image(path)):
        found.files.append(path)  # a dangling link, too: it is named when it cannot be read
    else:
        found.passed_over[path.suffix.lower() or "without a suffix"] += 1
