"""A user's own images, wherever they come from: classes, splits, what cannot be read."""

from __future__ import annotations

import hashlib
import unicodedata
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from acclimate.data.arrays import spool
from acclimate.data.classes import parse_class_rules
from acclimate.data.domains.base import SPLITS, DataOptions, Domain, RawSplit, SplitName, cache_root, digest, shuffled
from acclimate.data.domains.tree import Item
from acclimate.data.images import Levels, Survey
from acclimate.data.likeness import near_duplicates
from acclimate.data.reading import read_in_order
from acclimate.data.sets import UNKNOWN_LABEL
from acclimate.errors import DataError
from acclimate.progress import progress, shown

SHARES: dict[SplitName, float] = {"val": 0.1, "test": 0.1}
"""Of all images, where the user does not say which are for what."""

FEW = 10
"""Images below which a class is said to have few."""


class OwnImages(Domain):
    """A user's own images.

    With ``classes`` given (a target's are its source's), an image of another class has none, which is fine: such images
    are trained on but not evaluated on. A source's images without a class are left out. Where no image says that it is
    for validation, or for testing, a tenth is, drawn with a fixed seed. A target without any label needs no test
    images: then all but the validation images are for training, whatever their folders are called if none is for
    training. What is opened only to be evaluated on
    (``options.whole``) is for testing, all of it unless it has a test split of its own.

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
        self.left_out = 0
        self.warnings: list[str] = []
        if self.is_source:
            self._unlabel_what_train_has_not()
            labelled = [item for item in self.items if item.label]
            self.left_out, self.items = len(self.items) - len(labelled), labelled
        self.classes = tuple(classes) if classes is not None else self._own_classes()
        if not self.is_source and not self.has_labels and all(item.split in SHARES for item in self.items):
            self.items = [replace(item, split=None) for item in self.items]  # there is nothing to test them for
        self.skipped: list[str] = []
        self.counts: dict[str, dict[str, int]] = {}
        self.passed_over: Mapping[str, int] = {}
        self.split_folders: Mapping[str, SplitName] = {}
        self.warnings += self._warnings_of_names()
        found = sorted({item.label for item in self.items if item.label})
        if self.classes and found and not self.has_labels:
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            self.warnings.append(
                f"no class of the source is among {', '.join(found[:5])}{more}: the images count as unlabelled"
            )

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

    def survey(self) -> Survey:
        """Look at the images before they are read."""
        return Survey(None, 0)

    @cached_property
    def _surveyed(self) -> Survey:
        return self.survey()

    @property
    def levels(self) -> Levels | None:
        """The values of images of more than 8 bits that become 0 and 255: those asked for, or the set's own."""
        return self.options.levels or self._surveyed.levels

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
        role = "source" if self.is_source else "whole" if options.whole else "target"  # they are split differently
        key = digest(
            *(self.content, role, options.strict, options.interpolation, options.classes, options.levels),
            *self.classes,
        )
        found = hashlib.sha256(key.encode())
        for item in self.items:
            found.update(f"{item}:{self.stamp(item)}\n".encode())
        return found.hexdigest()

    @property
    def has_labels(self) -> bool:
        return any(item.label in self.classes for item in self.items)

    def notes(self) -> dict[str, object]:
        others = Counter(item.label for item in self.items if item.label and item.label not in self.classes)
        return {
            "classes": self.classes,
            "files": len(self.items),
            "skipped": self.skipped,
            "other_classes": dict(others.most_common()) if self.has_labels else {},
            "left_out": self.left_out,
            "passed_over": self.passed_over,
            "split_folders": self.split_folders,
            "drawn": [split for split in SHARES if split not in {item.split for item in self.items}],
            "levels": self.levels,
            "several": self._surveyed.several,
            "counts": self.counts,
            "warnings": self.warnings,
        }

    def _unlabel_what_train_has_not(self) -> None:
        """Take the class from images of a source for evaluation where no training image can be of it."""
        trained = {item.label for item in self.items if item.label and item.split in (None, "train")}
        others = Counter(item.label for item in self.items if item.label and item.label not in trained)
        if not trained or not others:
            return
        self.items = [item if item.label in trained else replace(item, label="") for item in self.items]
        names = ", ".join(f"{name} ({count:,})" for name, count in others.most_common(8))
        self.warnings.append(f"classes of which no image is for training, left out: {names}")

    def _warnings_of_names(self) -> Iterator[str]:
        """Yield what looks wrong with the classes before any image is read."""
        alike, splits = defaultdict[str, list[str]](list), defaultdict[str, set[SplitName]](set)
        for item in self.items:
            if item.label and item.split:
                splits[item.label].add(item.split)
        for name in sorted({item.label for item in self.items if item.label} | set(self.classes)):
            plain = unicodedata.normalize("NFKD", name).casefold()
            alike["".join(c for c in plain if c.isalnum() and not unicodedata.combining(c))].append(name)
        for names in alike.values():
            if len(names) > 1:
                shown_names = " and ".join(map(repr, names))
                yield f"the classes {shown_names} differ in case, accents or spacing only (--classes can merge them)"
        if self.is_source and len(set().union(*splits.values())) > 1:
            for name, where in splits.items():
                if len(where) == 1:
                    yield f"the class {name!r} is in the split {next(iter(where))} only"

    def read(self) -> dict[str, RawSplit]:
        kept: list[Item] = []
        _ = self._surveyed  # before anything is written
        shape = self.options.channels, self.options.image_size, self.options.image_size
        pixels = spool(self._readable(kept), shape, cache_root())
        if not kept:
            raise DataError(
                f"none of the {len(self.items)} files in {self.name} is a readable image: {self.skipped[0]}"
            )
        number = {name: index for index, name in enumerate(self.classes)}
        labels = np.array([number.get(item.label, UNKNOWN_LABEL) for item in kept], dtype=np.int64)
        self._check_classes(labels)
        orders = self._split(kept, labels)
        self.counts = {split: self._count(labels[order]) for split, order in orders.items()}
        self._look(pixels, kept, orders)
        return {
            split: RawSplit(pixels, labels[order], tuple(kept[index].name for index in order), order)
            for split, order in orders.items()
        }

    def _count(self, labels: NDArray[np.int64]) -> dict[str, int]:
        counts = np.bincount(labels[labels >= 0], minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def _look(self, pixels: Tensor, kept: Sequence[Item], orders: Mapping[str, NDArray[np.int64]]) -> None:
        """Warn of classes with few images, and of images that are in two splits."""
        totals = {name: sum(counts[name] for counts in self.counts.values()) for name in self.classes}
        few = [f"{name} ({count})" for name, count in totals.items() if count < FEW]
        if few and (self.is_source or self.has_labels):
            more = f" and {len(few) - 8} more" if len(few) > 8 else ""
            self.warnings.append(f"classes with few images: {', '.join(few[:8])}{more}")
        for split, others in (("val", orders["train"]), ("test", np.concatenate([orders["train"], orders["val"]]))):
            pairs = near_duplicates(pixels, orders[split], others)
            if pairs:
                one, other = (shown(kept[index].name) for index in pairs[0])
                self.warnings.append(
                    f"{len(pairs)} of {len(orders[split])} {split} images are nearly the same as others,"
                    f" such as {one} and {other}: what is measured on them looks better than it is"
                )

    def _readable(self, kept: list[Item]) -> Iterator[NDArray[np.uint8]]:
        """Yield every readable image, ``[C, H, W]``, and note it in ``kept``; note why the others are not."""
        self.skipped = []
        with progress(f"reading {self.slug}", len(self.items), unit="images") as bar:
            for item, image in read_in_order(self.load, self.items, self.options.strict):
                if isinstance(image, Tensor):
                    kept.append(item)
                    yield image.numpy()
                else:
                    self.skipped.append(str(image))
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
        if self.options.whole:
            nothing = order[:0]
            is_test = np.array([items[index].split == "test" for index in order])
            tested = order[is_test] if (labels[order][is_test] >= 0).any() else order
            return {"train": nothing, "val": nothing, "test": tested}
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
        return {split: order[split_of == split] for split in SPLITS}
