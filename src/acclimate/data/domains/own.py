"""A user's own images, wherever they come from: classes, splits, what cannot be read."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from acclimate.data.arrays import spool
from acclimate.data.classes import parse_class_rules
from acclimate.data.domains.base import DataOptions, Domain, RawSplit, SplitName, cache_root, digest, shuffled
from acclimate.data.sets import UNKNOWN_LABEL
from acclimate.errors import DataError
from acclimate.progress import progress, say

SHARES: dict[SplitName, float] = {"val": 0.1, "test": 0.1}
"""Of all images, where the user does not say which are for what."""


@dataclass(frozen=True)
class Item:
    """One image: its name, and its class and split where the user says them."""

    name: str
    label: str = ""
    split: SplitName | None = None


class OwnImages(Domain):
    """A user's own images.

    With ``classes`` given (a target's are its source's), an image of another class has none, which is fine: such images
    are trained on but not evaluated on. Where no image says that it is for validation, or for testing, a tenth is,
    drawn with a fixed seed. A target without any label needs no test images: then all but the validation images are for
    training.

    Parameters
    ----------
    name
        What a person calls them.
    content
        Tells them from others.
    items
        The images.
    options
        Size, channels, fit, strictness, names of classes.
    classes
        Class names; None takes those of the images.

    Raises
    ------
    DataError
        Fewer than two classes, images of a source without one, or with ``strict`` an unreadable image.
    """

    native = "any size"
    licence = "yours"

    def __init__(
        self, name: str, content: str, items: Sequence[Item], options: DataOptions | None, classes: Sequence[str] | None
    ) -> None:
        super().__init__(options)
        self.name, self.content = name, content  # type: ignore[misc]
        rules = parse_class_rules(self.options.classes)
        self.items = [replace(item, label=rules.get(item.label, item.label)) for item in items]
        self.is_source = classes is None
        self.classes = tuple(classes) if classes is not None else self._own_classes()
        self.skipped: list[str] = []

    @abstractmethod
    def load(self, item: Item) -> Tensor:
        """Return an image, uint8 ``[C, H, W]`` at the working size.

        Raises
        ------
        DataError
            It cannot be read.
        """

    @abstractmethod
    def stamp(self, item: Item) -> str:
        """Return what tells an image from its changed self, cheaply."""

    def needed(self) -> str:
        """Say what a source needs for its classes."""
        return "a source needs at least two classes"

    def _own_classes(self) -> tuple[str, ...]:
        names = {item.label for item in self.items if item.label}
        if len(names) < 2:
            found = f"only {next(iter(names))!r}" if names else "none"
            raise DataError(f"{self.needed()}; {self.name} has {found}")
        return tuple(sorted(names))

    def fingerprint(self) -> str:
        options = self.options
        role = "source" if self.is_source else "target"  # they are split differently
        key = digest(self.content, role, options.strict, options.interpolation, options.classes, *self.classes)
        found = hashlib.sha256(key.encode())
        for item in self.items:
            found.update(f"{item}:{self.stamp(item)}\n".encode())
        return found.hexdigest()

    @property
    def has_labels(self) -> bool:
        return any(item.label in self.classes for item in self.items)

    def notes(self) -> dict[str, object]:
        others = Counter(item.label for item in self.items if item.label and item.label not in self.classes)
        other_classes = dict(others.most_common()) if self.has_labels else {}
        return {"classes": self.classes, "skipped": self.skipped, "other_classes": other_classes}

    def read(self) -> dict[str, RawSplit]:
        kept: list[Item] = []
        shape = self.options.channels, self.options.image_size, self.options.image_size
        pixels = spool(self._readable(kept), shape, cache_root())
        if self.skipped:
            say(f"skipped {len(self.skipped)} of {len(self.items)} files in {self.name} (--strict refuses instead):")
            for line in self.skipped[:20]:
                say(f"  {line}")
        if not kept:
            raise DataError(f"none of the {len(self.items)} files in {self.name} is a readable image")
        number = {name: index for index, name in enumerate(self.classes)}
        labels = np.array([number.get(item.label, UNKNOWN_LABEL) for item in kept], dtype=np.int64)
        self._check_classes(labels)
        return {
            split: RawSplit(pixels, labels[order], tuple(kept[index].name for index in order), order)
            for split, order in self._split(kept, labels).items()
        }

    def _readable(self, kept: list[Item]) -> Iterator[NDArray[np.uint8]]:
        """Yield every readable image, ``[C, H, W]``, and note it in ``kept``; note why the others are not."""
        self.skipped = []
        with progress(f"reading {self.slug}", len(self.items), unit="images") as bar:
            for item in self.items:
                try:
                    image = self.load(item)
                except DataError as error:
                    if self.options.strict:
                        raise
                    self.skipped.append(str(error))
                else:
                    kept.append(item)
                    yield image.numpy()
                bar.advance()

    def _check_classes(self, labels: NDArray[np.int64]) -> None:
        if self.is_source:
            counts = np.bincount(labels[labels >= 0], minlength=len(self.classes))
            for name, count in zip(self.classes, counts, strict=True):
                if count < 3:
                    raise DataError(f"class {name!r} of {self.name} has {count} readable images; 3 are the least")

    def _split(self, items: Sequence[Item], labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        order = shuffled(len(items))
        given = {item.split for item in items}
        split_of = np.array([items[index].split or "train" for index in order])
        for split, share in SHARES.items():
            if split in given or (split == "test" and not self.has_labels):
                continue
            candidates = np.flatnonzero(split_of == "train")
            groups = [(candidates, len(items))]
            if self.is_source:  # every class in every split; a target is split without a look at its labels
                of = labels[order]
                groups = [
                    (candidates[of[candidates] == label], int((of == label).sum()))
                    for label in range(len(self.classes))
                ]
            for members, size in groups:
                split_of[members[: max(1, min(round(share * size), len(members) // 2))]] = split
        return {split: order[split_of == split] for split in ("train", "val", "test")}
