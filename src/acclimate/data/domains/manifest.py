"""A table of a user's own images, as CSV or JSON lines: a path, a class and perhaps a split in each row."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from acclimate.data.domains.base import DataOptions
from acclimate.data.domains.own import OwnImages
from acclimate.data.domains.tree import Item, split_name
from acclimate.data.images import Survey, read_image, survey
from acclimate.data.listing import as_path
from acclimate.errors import DataError

SUFFIXES = (".csv", ".jsonl", ".ndjson")


class Manifest(OwnImages):
    """The images that a table names.

    Its columns, or the keys of its lines, are ``path``, relative to the table's folder unless absolute, and where they
    are known ``label`` and ``split`` (train, val or test).

    Parameters
    ----------
    path
        The table, ``.csv`` or ``.jsonl``.
    options
        Size, channels, fit, strictness.
    classes
        Class names; None takes the table's.

    Raises
    ------
    DataError
        No such file, a damaged one, a row without a path or with another split, fewer than two classes.
    """

    def __init__(self, path: Path, options: DataOptions | None = None, classes: Sequence[str] | None = None) -> None:
        self.path = as_path(path)
        items = [self._item(number, row) for number, row in self._rows()]
        if not items:
            raise DataError(f"{self.path} names no image")
        without = [item.name for item in items if not item.label]
        if classes is None and without:
            raise DataError(f"{self.path} is to be a source, but {without[0]} has no label in it")
        super().__init__(str(path), str(self.path.resolve()), items, options, classes)

    def _rows(self) -> Iterator[tuple[int, Mapping[str, object]]]:
        """Yield the number and the content of each row."""
        try:
            with open(self.path, newline="", encoding="utf-8-sig") as file:
                if self.path.suffix == ".csv":
                    table = csv.DictReader(file, skipinitialspace=True)
                    if "path" not in (table.fieldnames or ()):
                        raise DataError(f"{self.path}: its first line names no column path (beside label and split)")
                    yield from ((table.line_num, row) for row in table)
                else:
                    for number, line in enumerate(file, 1):
                        if line.strip():
                            yield number, json.loads(line)
        except (OSError, csv.Error, ValueError, RecursionError) as error:
            raise DataError(f"cannot read {self.path}: {error}") from None

    def _item(self, number: int, row: Mapping[str, object]) -> Item:
        where = f"{self.path}, line {number}"
        if not isinstance(row, dict) or not row.get("path"):
            raise DataError(f"{where}: no path")
        written = str(row.get("split") or "").strip()
        split = split_name(written)
        if written and split is None:
            raise DataError(f"{where}: split {written!r} is none of train, val, test")
        label = row.get("label")
        return Item(str(row["path"]), "" if label is None else str(label).strip(), split)

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self.path.parent

    @property
    def slug(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.path.stem)[:40] or "table"

    def _file(self, item: Item) -> Path:
        return self.folder / as_path(item.name)

    def stamp(self, item: Item) -> str:
        try:
            stat = self._file(item).stat()
        except (OSError, ValueError):
            return "missing"
        return f"{stat.st_size}:{stat.st_mtime_ns}"

    def survey(self) -> Survey:
        return survey(self._file(item) for item in self.items)

    def load(self, item: Item) -> Tensor:
        options = self.options
        return read_image(
            self._file(item),
            options.image_size,
            options.channels,
            options.fit,
            options.interpolation,
            self.levels,
        )
