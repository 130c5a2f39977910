"""A folder of a user's own images: a folder a class for a source, any nesting for a target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from acclimate.data.domains.base import DataOptions
from acclimate.data.domains.own import OwnImages
from acclimate.data.domains.tree import Item, read_tree
from acclimate.data.images import Survey, read_image, survey
from acclimate.data.listing import as_path, list_images
from acclimate.errors import DataError
from acclimate.progress import shown


class Folder(OwnImages):
    """Images below a folder.

    The first folder that an image lies in, below the top or below a split, is its class (:func:`.tree.read_tree`).
    Which files are images is told by what they hold (:func:`~acclimate.data.listing.list_images`).

    Parameters
    ----------
    path
        The folder.
    options
        Size, channels, fit, strictness.
    classes
        Class names; None takes the names of the folders.

    Raises
    ------
    DataError
        No such folder, no image in it, fewer than two classes, or with ``strict`` an unreadable image.
    """

    def __init__(self, path: Path, options: DataOptions | None = None, classes: Sequence[str] | None = None) -> None:
        self.path = as_path(path)
        if not self.path.exists():
            raise DataError(f"no such folder: {self.path}")
        if not self.path.is_dir():
            raise DataError(f"not a folder: {self.path}")
        listing = list_images(self.path)
        if not listing.files:
            others = ", ".join(f"{count} {kind}" for kind, count in listing.passed_over.most_common(5))
            raise DataError(f"no image in {self.path} or below it" + (f", only {others}" if others else ""))
        files = [file.relative_to(self.path) for file in listing.files]
        self.tree = read_tree(files, classes or ())
        super().__init__(str(path), str(self.path.resolve()), self.tree.items, options, classes)
        self.passed_over = dict(listing.passed_over.most_common())
        self.warnings += listing.warnings
        self.split_folders = {shown(folder): split for folder, split in self.tree.splits.items()}
        self.warnings += self._several_domains()
        if classes and not self.has_labels:
            deeper = sorted({part for file in files for part in file.parts[1:-1]} & set(classes))
            if deeper:
                names = ", ".join(deeper[:5])
                self.warnings.append(f"folders called as classes are lie deeper than the first: {names}: no labels")

    @property
    def folder(self) -> Path:
        """Where the names of its images start."""
        return self.path

    def needed(self) -> str:
        below = sorted({Path(item.name).parts[0] for item in self.tree.items if len(Path(item.name).parts) > 2})
        advice = f" (are they below {self.path / below[0]}?)" if len(below) == 1 and not self.tree.splits else ""
        return f"a source needs at least two classes, one folder each{advice}"

    def _several_domains(self) -> list[str]:
        """Return a warning if the classes may be domains, in each of which the folders of the true classes lie."""
        below = defaultdict[str, set[str]](set)
        for item in self.tree.items:
            if item.label and len(parts := Path(item.name).parts) > 2:
                below[parts[0]].add(parts[1])
        names = {item.label for item in self.tree.items if item.label}
        common = set.intersection(*below.values()) if below else set()
        if not self.is_source or self.tree.splits or below.keys() != names or len(names) < 2 or len(common) < 3:
            return []
        inside = ", ".join(map(shown, sorted(common)[:3]))
        return [
            f"each class has the folders {inside}{', ...' * (len(common) > 3)} in it: if those are the classes,"
            f" and {', '.join(sorted(names)[:4])} domains, name one, such as {self.path / min(below)}"
        ]

    @property
    def slug(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in shown(self.path.resolve().name))[:40] or "folder"

    def stamp(self, item: Item) -> str:
        try:
            stat = (self.path / item.name).stat()
        except (OSError, ValueError):
            return "missing"
        return f"{stat.st_size}:{stat.st_mtime_ns}"

    def survey(self) -> Survey:
        return survey(self.path / item.name for item in self.items)

    def load(self, item: Item) -> Tensor:
        options = self.options
        return read_image(
            self.path / item.name,
            options.image_size,
            options.channels,
            options.fit,
            options.interpolation,
            self.levels,
        )
