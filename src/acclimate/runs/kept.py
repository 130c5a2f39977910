"""What a run keeps of its domains, so that it can be used, and checked, when they have moved, changed or gone.

``data.json`` says what they were; ``samples/`` holds a few of their images at the working size.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from acclimate.data.arrays import in_pieces, map_array, write_array
from acclimate.data.domains import DataOptions, Domain
from acclimate.data.domains.base import SPLITS, RawSplit, SplitName, cache_roots
from acclimate.data.images import Levels
from acclimate.data.sets import UNKNOWN_LABEL
from acclimate.errors import DataError, RunError
from acclimate.training.state import read_json, write_json

DomainName = Literal["source", "target"]

SAMPLES, SAMPLES_BYTES = 500, 2**21
"""Images of a split that a run keeps, by their number and by their size."""


@dataclass(frozen=True)
class DomainRecord:
    """What a domain was when a run began.

    Attributes
    ----------
    name, content, classes
        As the domain's.
    sizes
        Images of each split.
    md5
        Over pixels and labels of all splits, as they were read.
    levels
        The values of its images of more than 8 bits that became 0 and 255.
    cache
        Its folder in the cache.
    """

    name: str
    content: str
    classes: tuple[str, ...]
    sizes: Mapping[str, int]
    md5: str
    levels: Levels | None
    cache: str

    @classmethod
    def of(cls, domain: Domain) -> DomainRecord:
        """Describe a domain, which is prepared if it is not yet."""
        manifest: Any = domain.manifest()
        levels = manifest.get("levels")
        return cls(
            domain.name,
            domain.content,
            domain.classes,
            domain.sizes(),
            manifest["md5"],
            tuple(levels) if levels else None,
            domain.prepare().name,
        )

    def check(self, domain: Domain, role: str) -> None:
        """Check that a domain is still what it was.

        Raises
        ------
        RunError
            It is not.
        """
        now = DomainRecord.of(domain)
        if now.md5 != self.md5:
            before, after = (", ".join(f"{n:,} {split}" for split, n in one.sizes.items()) for one in (self, now))
            raise RunError(
                f"the {role} {domain.name} is not what the run began with: {before} images then (md5 {self.md5[:8]}),"
                f" {after} now (md5 {now.md5[:8]}); put it back as it was, or start a new run"
            )


def read_records(file: Path) -> dict[str, DomainRecord]:
    """Return the records of a run's domains by role; none where the run has not begun, or is older than they are."""
    if not file.exists():
        return {}
    stored = read_json(file)
    try:
        return {
            role: DomainRecord(**one | {"classes": tuple(one["classes"]), "levels": tuple(one["levels"] or ()) or None})
            for role, one in stored.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged: {error}") from None


def write_records(file: Path, domains: Mapping[DomainName, Domain]) -> None:
    """Write the records of a run's domains."""
    write_json(file, {role: asdict(DomainRecord.of(domain)) for role, domain in domains.items()})


def keep_samples(domain: Domain, folder: Path, *, labelled: bool) -> None:
    """Keep the first images of each split in a folder like the cache's; labels of all, or of test images alone."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for split in SPLITS:
        pixels = domain.images(split).pixels
        one = int(np.prod(pixels.shape[1:]))
        count = min(len(pixels), SAMPLES, max(1, SAMPLES_BYTES // one))
        labels = map_array(domain.prepare() / f"{split}.labels.npy")[:count].numpy()
        if not (labelled or split == "test"):
            labels = np.full(count, UNKNOWN_LABEL)
        write_array(partial / f"{split}.images.npy", (count, *pixels.shape[1:]), np.uint8, in_pieces(pixels[:count]))
        write_array(partial / f"{split}.labels.npy", (count,), np.int64, [labels.astype(np.int64)])
        if (names := domain.names(split)) is not None:
            write_json(partial / f"{split}.names.json", names[:count])
    write_json(partial / "manifest.json", domain.manifest())
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


class Kept(Domain):
    """A domain as the cache has it, or of which a run has kept a few images: its own files are not opened.

    Parameters
    ----------
    record
        What it was.
    options
        How its images were read.
    samples
        Where the run keeps some of them; None where some are not enough.

    Raises
    ------
    DataError
        There is neither.
    """

    def __init__(self, record: DomainRecord, options: DataOptions, samples: Path | None) -> None:
        super().__init__(options)
        self.record = record
        self.name, self.content, self.classes = record.name, record.content, record.classes  # type: ignore[misc]
        places = (*(root / "prepared" / record.cache for root in cache_roots()), samples)
        self._folder = next((place for place in places if place and (place / "manifest.json").exists()), None)
        if self._folder is None:
            raise DataError(f"{record.name} is gone, and not in the cache any more")

    def prepare(self) -> Path:
        assert self._folder is not None
        return self._folder

    def check_whole(self, split: SplitName) -> None:
        """Check that all images of a split are there, not only some.

        Raises
        ------
        DataError
            They are not.
        """
        there, all_ = len(self.images(split)), self.record.sizes[split]
        if there < all_:
            raise DataError(f"only {there} of the {all_:,} {split} images of {self.name} are kept: name a domain")

    @property
    def has_labels(self) -> bool:
        return any((map_array(self.prepare() / f"{split}.labels.npy") != UNKNOWN_LABEL).any() for split in SPLITS)

    def read(self) -> Mapping[str, RawSplit]:
        raise DataError(f"{self.name} is kept only as it was prepared")
