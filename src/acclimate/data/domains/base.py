"""What a domain is: named splits of images, class names, provenance, and a cache of the images at the working size."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor

from acclimate.config import Config, Fit, Interpolation
from acclimate.data.arrays import in_pieces, map_array, spool, write_array
from acclimate.data.download import RemoteFile, ensure_all
from acclimate.data.images import Levels, from_arrays
from acclimate.data.sets import UNKNOWN_LABEL, Images, LabelledImages
from acclimate.errors import DataError
from acclimate.progress import say
from acclimate.training.state import read_json, write_json, writing

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

CACHE_VERSION = 3

STALE = 24 * 3600.0
"""Seconds after which what was begun in the cache and not ended is removed."""


def cache_root() -> Path:
    """Where images at the working size are kept: ``$ACCLIMATE_CACHE`` or the user's cache folder.

    Where that cannot be written to, a folder for temporary files.
    """
    return cache_roots()[0]


def cache_roots() -> tuple[Path, ...]:
    """Where they are looked for: :func:`cache_root`, and a cache that can only be read."""
    wanted = Path(os.environ.get("ACCLIMATE_CACHE") or user_cache_path("acclimate"))
    own = _writable(wanted)
    return (own,) if own == wanted else (own, wanted)


@cache
def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return folder
        user = os.getuid() if hasattr(os, "getuid") else "user"
        instead = Path(tempfile.gettempdir(), f"acclimate-{user}")
        instead.mkdir(mode=0o700, parents=True, exist_ok=True)
        say(f"{folder} cannot be written to ({error.strerror}): the cache is {instead}; $ACCLIMATE_CACHE names another")
        return instead


def default_data_root() -> Path:
    """Where publishers' files are looked for and downloaded to: ``$ACCLIMATE_DATA`` or ``data`` in the cache folder."""
    return Path(os.environ.get("ACCLIMATE_DATA") or cache_root() / "data")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How a domain's images are read.

    Attributes
    ----------
    image_size
        Height and width in pixels.
    channels
        1 or 3.
    fit
        How a user's images become square: ``stretch``, ``crop`` the middle, or ``pad`` with black.
    interpolation
        How a user's images are resized; published sets are resized bilinearly.
    strict
        Refuse a folder with unreadable images instead of skipping them.
    classes
        Rules that rename and merge the classes of a user's images, such as ``pickup, truck -> vehicle``.
    levels
        The values of images of more than 8 bits that become 0 and 255; None for what fits the set.
    whole
        For a user's images: all are to be evaluated on, not only a tenth.
    data_root
        Folder with one subfolder a publisher.
    download
        Fetch missing files.
    """

    image_size: int = 32
    channels: int = 3
    fit: Fit = "stretch"
    interpolation: Interpolation = "bilinear"
    strict: bool = False
    classes: str = ""
    levels: Levels | None = None
    whole: bool = False
    data_root: Path = field(default_factory=default_data_root)
    download: bool = True

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise DataError(f"images have 1 or 3 channels, not {self.channels}")
        if not 8 <= self.image_size <= 1024:
            raise DataError(f"image size {self.image_size} is out of range: 8 to 1024")

    @classmethod
    def of(cls, config: Config, data_root: Path) -> DataOptions:
        """Return how a run with these settings reads images."""
        return cls(
            image_size=config.image_size,
            channels=config.channels,
            fit=config.fit,
            interpolation=config.interpolation,
            strict=config.strict,
            classes=config.classes,
            data_root=data_root,
        )


@dataclass(frozen=True)
class RawSplit:
    """What a domain reads from its files, before it is brought to the working size."""

    pixels: NDArray[np.uint8] | Tensor
    """uint8 ``[N, H, W]`` or ``[N, H, W, C]`` at native size, or a tensor ``[N, C, H, W]`` at the working size."""
    labels: NDArray[np.integer]
    names: tuple[str, ...] | None = None
    """The images' names in the publisher's or user's own terms, such as relative paths."""
    order: NDArray[np.int64] | None = None
    """Which of ``pixels`` the split is made of, in which order; None for all as they are."""

    def pieces(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the split's pixels, some images at a time."""
        return in_pieces(self.pixels, self.order)


class Domain(ABC):
    """A named set of images in three splits.

    Images and labels are read from separate files of the cache, so that opening the images alone never touches a label.
    Subclasses say what files they need and how to read them; see "Add a domain" in CONTRIBUTING.md.

    Attributes
    ----------
    name
        What a person types.
    classes
        Class names, in the order of the labels.
    content
        What the images show; two domains of the same content hold the same objects in two styles, in the same order.
    native
        Size and kind of the published images, for people.
    licence
        The publisher's terms, for people.
    """

    name: ClassVar[str] = ""
    classes: tuple[str, ...] = ()
    content: str = ""
    native: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    files: ClassVar[tuple[RemoteFile, ...]] = ()
    checksum: ClassVar[str | None] = None
    """md5 over the native pixels and labels of all splits, where the domain has one right content."""

    def __init__(self, options: DataOptions | None = None) -> None:
        self.options = options or DataOptions()
        self._folder: Path | None = None

    @abstractmethod
    def read(self) -> Mapping[str, RawSplit]:
        """Read every split from the files."""

    def fingerprint(self) -> str:
        """Identify the content that :meth:`read` would give, cheaply: the cache's key.

        A file is identified by size and time of change; it was verified in full when it was read.
        """
        stats = [(self.options.data_root / file.path).stat() for file in self.required_files()]
        return digest(*(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats))

    def required_files(self) -> tuple[RemoteFile, ...]:
        """List the publisher's files that the domain is made of."""
        return self.files

    def prepare(self) -> Path:
        """Fetch, verify, read and cache the domain at the working size; return its cache folder.

        Raises
        ------
        DataError
            A file is missing and cannot be fetched, or is not what its publisher serves.
        AcclimateError
            The cache cannot be written.
        """
        if self._folder is None or not self._folder.exists():  # a cache may be cleared at any time
            ensure_all(self.required_files(), self.options.data_root, download=self.options.download)
            options = self.options
            key = digest(
                CACHE_VERSION, self.name, self.fingerprint(), options.image_size, options.channels, options.fit
            )
            name = f"{self.slug}-{options.image_size}px-{key[:12]}"
            places = [root / "prepared" / name for root in cache_roots()]
            folder = next((place for place in places if (place / "manifest.json").exists()), places[0])
            if not (folder / "manifest.json").exists():
                self._build(folder)
            self._folder = folder
        return self._folder

    @property
    def slug(self) -> str:
        """The name as part of a file name."""
        return self.name

    def _build(self, folder: Path) -> None:
        splits = self.read()
        md5 = content_checksum(splits)
        if self.checksum not in (None, md5):
            raise DataError(f"{self.name}: the content's md5 is {md5}, expected {self.checksum}")
        for left in folder.parent.glob(f"{folder.name}.*.partial"):  # by a process that was killed
            with suppress(OSError):  # another process removes it, too
                if left.stat().st_mtime < time.time() - STALE:
                    shutil.rmtree(left)
        partial = folder.with_name(f"{folder.name}.{uuid4().hex}.partial")  # containers all have process 1
        try:
            for name, split in splits.items():
                self._write(split, partial, name)
            sizes = {name: len(split.labels) for name, split in splits.items()}
            manifest = {"name": self.name, "splits": sizes, "md5": md5, **self.notes()}
            write_json(partial / "manifest.json", manifest)
            with writing(folder):
                try:
                    partial.rename(folder)
                except OSError:
                    if not (folder / "manifest.json").exists():  # else another process was faster
                        shutil.rmtree(folder, ignore_errors=True)
                        partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _write(self, split: RawSplit, folder: Path, name: str) -> None:
        size, channels, count = self.options.image_size, self.options.channels, len(split.labels)
        pieces = split.pieces()
        if not isinstance(split.pixels, Tensor):
            pieces = (from_arrays(piece, size, channels).numpy() for piece in pieces)
        write_array(folder / f"{name}.images.npy", (count, channels, size, size), np.uint8, pieces)
        write_array(folder / f"{name}.labels.npy", (count,), np.int64, [split.labels.astype(np.int64)])
        if split.names is not None:
            write_json(folder / f"{name}.names.json", split.names)

    def notes(self) -> dict[str, object]:
        """Return what else the manifest should say, such as the images that were skipped."""
        return {}

    def manifest(self) -> dict[str, object]:
        """Return name, split sizes, md5 of the native content, and notes."""
        result: dict[str, object] = read_json(self.prepare() / "manifest.json")
        return result

    def sizes(self) -> dict[str, int]:
        """Return the number of images of each split."""
        sizes = self.manifest()["splits"]
        assert isinstance(sizes, dict)
        return sizes

    def images(self, split: SplitName) -> Images:
        """Return a split without its labels, uint8 ``[N, C, H, W]``, memory-mapped; no label is read."""
        return Images(map_array(self.prepare() / f"{split}.images.npy"))

    def labelled(self, split: SplitName) -> LabelledImages:
        """Return a split with labels; images of unknown class are left out."""
        pixels = self.images(split).pixels
        labels = map_array(self.prepare() / f"{split}.labels.npy")
        known = (labels != UNKNOWN_LABEL).nonzero()[:, 0]
        if len(known) == len(labels):
            return LabelledImages(pixels, labels)
        return LabelledImages(spool(in_pieces(pixels, known.numpy()), pixels.shape[1:], cache_root()), labels[known])

    def names(self, split: SplitName) -> list[str] | None:
        """Return the images' own names, such as relative paths, or None where they have none."""
        path = self.prepare() / f"{split}.names.json"
        return read_json(path) if path.exists() else None

    @property
    def has_labels(self) -> bool:
        """Whether the evaluator will find labels."""
        return True

    def has_labelled(self, *splits: SplitName) -> bool:
        """Whether there are labelled images in each of some splits."""
        return self.has_labels and all(len(self.labelled(split)) for split in splits)

    def describe(self) -> dict[str, object]:
        """Everything about the domain that a result file or a person may ask."""
        described = {"native": self.native, "licence": self.licence, "classes": list(self.classes)}
        return self.manifest() | described | {"options": {k: str(v) for k, v in asdict(self.options).items()}}


def digest(*parts: object) -> str:
    """Return the sha256 over the parts' texts."""
    return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()


def content_checksum(splits: Mapping[str, RawSplit]) -> str:
    """Return the md5 over pixels and labels of all splits as they were read."""
    checksum = hashlib.md5(usedforsecurity=False)
    for name in SPLITS:
        if name in splits:
            for piece in splits[name].pieces():
                checksum.update(np.ascontiguousarray(piece).data)
            checksum.update(splits[name].labels.astype(np.int64).tobytes())
    return checksum.hexdigest()


def shuffled(count: int, seed: int = 42) -> NDArray[np.int64]:
    """Return a permutation from NumPy's frozen legacy generator: the same on every version and machine."""
    return np.random.RandomState(seed).permutation(count).astype(np.int64)


def split_off(
    pixels: NDArray[np.uint8], labels: NDArray[np.integer], validation: int, of: int | None = None
) -> dict[str, RawSplit]:
    """Split a publisher's training images in two: the last ``validation`` of their :func:`shuffled` order validate.

    They may be the first of a set of ``of`` images: then each goes where it does when that is split.
    """
    order = shuffled(of or len(labels))
    parts = {"train": order[:-validation], "val": order[-validation:]}
    there = {name: part[part < len(labels)] for name, part in parts.items()}
    return {name: RawSplit(pixels[part], labels[part]) for name, part in there.items()}
