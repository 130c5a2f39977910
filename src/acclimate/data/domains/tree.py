"""How a folder of images is understood: which folders are splits, which are classes, what is left out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from acclimate.data.domains.base import SplitName
from acclimate.progress import shown

SPLIT_NAMES: dict[SplitName, str] = {
    "train": "train|training",
    "val": "val|valid|validation|dev",
    "test": "test|testing",
}
"""What people call them, in any case, perhaps with ``set``, ``data``, ``images`` or ``split`` behind."""

CONTAINERS = frozenset({"image", "images", "img", "imgs", "data", "all", "unlabeled", "unlabelled", "unknown"})
"""The one folder in a split that holds its images without telling their classes."""


@dataclass(frozen=True)
class Item:
    """One image: its name, and its class and split where the user says them."""

    name: str
    label: str = ""
    split: SplitName | None = None


@dataclass(frozen=True)
class Tree:
    """What a folder's image files are for.

    Attributes
    ----------
    items
        The images, those without a class among them.
    splits
        The folders that are splits, by their own names.
    """

    items: tuple[Item, ...]
    splits: dict[str, SplitName] = field(default_factory=dict)


def split_name(name: str) -> SplitName | None:
    """Return which split a person means by a name, such as ``Training`` or ``test_set``; None for none."""
    return _named(name, "", "set|data|images|split")


def _named(name: str, before: str, behind: str) -> SplitName | None:
    for split, names in SPLIT_NAMES.items():
        if re.fullmatch(rf"{before}({names})([ _-]?({behind}))?", name.casefold()):
            return split
    return None


def _affixed(name: str) -> SplitName | None:
    """Return which split a name such as ``seg_train`` or ``val2017`` may mean, if another one beside it does too."""
    return _named(name, r"(\w+[ _-])?", r"set|data|images|split|\d+")


def read_tree(files: Sequence[Path], classes: Collection[str] = ()) -> Tree:
    """Return how a folder's files, relative to it, are understood.

    The first folder below the top, or below a split, is the class. A top folder is a split if it is called so, and if
    class folders lie in it or, where classes lie nowhere, images do; the others beside it are then no classes.

    Parameters
    ----------
    files
        Paths of the images.
    classes
        Names that are classes in any case: those of the source, for a target.
    """
    splits = _splits(files, classes)
    below: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.parts[0] in splits and len(file.parts) > 2:
            below[file.parts[0]].add(file.parts[1])
    containers = {
        top
        for top, folders in below.items()
        if len(folders) == 1 and _is_container(next(iter(folders)), splits[top], classes)
    }
    nested = {file.parts[0] for file in files if file.parts[0] in containers and len(file.parts) > 3}
    items = []
    for file in files:
        top, *rest = file.parts
        if top in nested:  # train/train/CLASS
            rest = rest[1:]
        split, label = splits.get(top), ""
        if split is None and rest and not splits:
            label = shown(top)
        elif split is not None and len(rest) > 1 and top not in containers - nested:
            label = shown(rest[0])
        items.append(Item(str(file), label, split))
    return Tree(tuple(items), splits)


def _splits(files: Sequence[Path], classes: Collection[str]) -> dict[str, SplitName]:
    tops = {file.parts[0] for file in files if len(file.parts) > 1}
    below: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if len(file.parts) > 2:
            below[file.parts[0]].add(file.parts[1])
    named = {top: split for top in sorted(tops) if (split := split_name(top)) is not None}
    affixed = {top: split for top in sorted(tops) if (split := _affixed(top)) is not None}
    if not named and len(set(affixed.values())) > 1 and affixed.keys() & below.keys():
        named = affixed
    if classes:  # a class that is called as a split is has none of the classes in it
        named = {top: split for top, split in named.items() if top not in classes or below[top] & set(classes)}
    with_folders, others = below.keys() & named.keys(), tops - named.keys()
    if any(below[top] for top in with_folders) and (len(named) > 1 or len(others) < 2):
        return named
    return named if not others and not named.keys() & set(classes) else {}


def _is_container(folder: str, split: SplitName, classes: Collection[str]) -> bool:
    return folder not in classes and (folder.casefold() in CONTAINERS or _affixed(folder) == split)
