"""A user's own images: a folder a class for a source, any nesting for a target."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate.data.arrays import spool
from acclimate.data.domains.base import DataOptions, Domain, RawSplit, cache_root, digest, shuffled
from acclimate.data.images import image_files, read_image
from acclimate.data.sets import UNKNOWN_LABEL
from acclimate.errors import DataError
from acclimate.progress import progress, say

_SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SHARES = {"val": 0.1, "test": 0.1}


class Folder(Domain):
    """Images below a folder.

    The name of the folder that an image lies in is its class. With ``classes`` given (a target's are its source's), a
    folder of another name gives an image without a class, which is fine: such images are trained on but not evaluated
    on. Where the top folder holds ``train``, ``val`` (or ``valid``) and ``test``, these are the splits; else a tenth of
    the images, drawn with a fixed seed, is for validation and a tenth for testing. A target without any label needs no
    test images: then all but the validation images are for training.

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

    native = "any size"
    licence = "yours"

    def __init__(self, path: Path, options: DataOptions | None = None, classes: Sequence[str] | None = None) -> None:
        super().__init__(options)
        self.path = Path(path).expanduser()
        if not self.path.exists():
            raise DataError(f"no such folder: {self.path}")
        if not self.path.is_dir():
            raise DataError(f"not a folder: {self.path}")
        self.paths = image_files(self.path)
        if not self.paths:
            raise DataError(f"no image in {self.path} or below it")
        self.name = str(path)  # type: ignore[misc]
        self.content = str(self.path.resolve())
        self.is_source = classes is None
        self.classes = tuple(classes) if classes is not None else self._folder_classes()
        self.skipped: list[str] = []

    def _folder_classes(self) -> tuple[str, ...]:
        names = {
            path.parent.name
            for path in self.paths
            if path.parent != self.path and path.parent.name not in _SPLIT_FOLDERS
        }
        loose = [path for path in self.paths if path.parent == self.path]
        if loose:
            raise DataError(
                f"{self.path} is to be a source with one folder a class, but {loose[0].name} lies in no class folder"
            )
        if len(names) < 2:
            found = f"only {next(iter(names))!r}" if names else "none"
            raise DataError(f"a source needs at least two classes, one folder each; {self.path} has {found}")
        return tuple(sorted(names))

    @property
    def slug(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.path.resolve().name)[:40] or "folder"

    def fingerprint(self) -> str:
        found = hashlib.sha256(
            digest(self.path.resolve(), self.options.strict, self.options.interpolation, *self.classes).encode()
        )
        for path in self.paths:
            stat = path.stat()
            found.update(f"{path.relative_to(self.path)}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
        return found.hexdigest()

    @property
    def has_labels(self) -> bool:
        return any(path.parent.name in self.classes for path in self.paths)

    def notes(self) -> dict[str, object]:
        return {"skipped": self.skipped}

    def read(self) -> dict[str, RawSplit]:
        kept: list[Path] = []
        shape = self.options.channels, self.options.image_size, self.options.image_size
        pixels = spool(self._readable(kept), shape, cache_root())
        if self.skipped:
            say(f"skipped {len(self.skipped)} of {len(self.paths)} files in {self.path} (--strict refuses instead):")
            for line in self.skipped[:20]:
                say(f"  {line}")
        if not kept:
            raise DataError(f"none of the {len(self.paths)} files in {self.path} is a readable image")
        number = {name: index for index, name in enumerate(self.classes)}
        labels = np.array([number.get(path.parent.name, UNKNOWN_LABEL) for path in kept], dtype=np.int64)
        self._check_classes(labels)
        names = [str(path.relative_to(self.path)) for path in kept]
        return {
            split: RawSplit(pixels, labels[order], tuple(names[index] for index in order), order)
            for split, order in self._split(names, labels).items()
        }

    def _readable(self, kept: list[Path]) -> Iterator[NDArray[np.uint8]]:
        """Yield every readable image, ``[C, H, W]``, and note its path in ``kept``; note why the others are not."""
        options, self.skipped = self.options, []
        with progress(f"reading {self.path.name}", len(self.paths), unit="images") as bar:
            for path in self.paths:
                try:
                    image = read_image(path, options.image_size, options.channels, options.fit, options.interpolation)
                except DataError as error:
                    if options.strict:
                        raise
                    self.skipped.append(str(error))
                else:
                    kept.append(path)
                    yield image.numpy()
                bar.advance()

    def _check_classes(self, labels: NDArray[np.int64]) -> None:
        if self.is_source:
            counts = np.bincount(labels, minlength=len(self.classes))
            for name, count in zip(self.classes, counts, strict=True):
                if count < 3:
                    raise DataError(f"class {name!r} of {self.path} has {count} readable images; 3 are the least")

    def _split(self, names: list[str], labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        order = shuffled(len(names))
        tops = ((index, names[index].partition("/")[0]) for index in order)
        given = {index: _SPLIT_FOLDERS[top] for index, top in tops if top in _SPLIT_FOLDERS}
        split_of = np.array([given.get(index, "train") for index in order])
        for split, share in _SHARES.items():
            if split in given.values() or (split == "test" and not self.has_labels):
                continue
            candidates = np.flatnonzero(split_of == "train")
            if self.is_source:  # every class in every split; a target is split without a look at its labels
                by_class = [candidates[labels[order[candidates]] == label] for label in range(len(self.classes))]
                chosen = np.concatenate([members[: max(1, round(share * len(members)))] for members in by_class])
            else:
                chosen = candidates[: round(share * len(names))]
            split_of[chosen] = split
        return {split: order[split_of == split] for split in ("train", "val", "test")}
