"""A folder of a user's own images: a folder a class for a source, any nesting for a target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from acclimate.data.domains.base import DataOptions, SplitName
from acclimate.data.domains.own import Item, OwnImages
from acclimate.data.images import image_files, read_image
from acclimate.errors import DataError

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


class Folder(OwnImages):
    """Images below a folder.

    The name of the folder that an image lies in is its class. Where the top folder holds ``train``, ``val`` (or
    ``valid``) and ``test``, these are the splits.

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
        self.path = Path(path).expanduser()
        if not self.path.exists():
            raise DataError(f"no such folder: {self.path}")
        if not self.path.is_dir():
            raise DataError(f"not a folder: {self.path}")
        paths = image_files(self.path)
        if not paths:
            raise DataError(f"no image in {self.path} or below it")
        loose = [file for file in paths if file.parent == self.path]
        if classes is None and loose:
            raise DataError(
                f"{self.path} is to be a source with one folder a class, but {loose[0].name} lies in no class folder"
            )
        items = [self._item(file) for file in paths]
        super().__init__(str(path), str(self.path.resolve()), items, options, classes)

    def _item(self, file: Path) -> Item:
        inside = file.relative_to(self.path)
        loose = len(inside.parts) == 1 or inside.parent.name in SPLIT_FOLDERS
        return Item(str(inside), "" if loose else inside.parent.name, SPLIT_FOLDERS.get(inside.parts[0]))

    @property
    def folder(self) -> Path:
        """Where the names of its images start."""
        return self.path

    def needed(self) -> str:
        return "a source needs at least two classes, one folder each"

    @property
    def slug(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.path.resolve().name)[:40] or "folder"

    def stamp(self, item: Item) -> str:
        stat = (self.path / item.name).stat()
        return f"{stat.st_size}:{stat.st_mtime_ns}"

    def load(self, item: Item) -> Tensor:
        options = self.options
        return read_image(
            self.path / item.name, options.image_size, options.channels, options.fit, options.interpolation
        )
