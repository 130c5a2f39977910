"""Class names of a user's own images, renamed and merged by a few rules."""

from __future__ import annotations

import re
from collections.abc import Mapping

from acclimate.data.listing import as_path
from acclimate.errors import DataError


def read_class_rules(text: str) -> str:
    """Return rules as text: those of the file that ``text`` names, or ``text`` itself.

    Raises
    ------
    DataError
        The file cannot be read, or what it holds are no rules.
    """
    path = as_path(text)
    if "->" not in text:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the classes' rules from {path}: {error}") from None
    parse_class_rules(text)
    return "; ".join(_lines(text))


def parse_class_rules(text: str) -> Mapping[str, str]:
    """Parse rules such as ``pickup, truck -> vehicle``, one a line or with semicolons between: old names to new ones.

    Empty lines, and what stands behind ``#``, are passed over.

    Raises
    ------
    DataError
        A line is no rule, or two rules rename the same class.
    """
    rules: dict[str, str] = {}
    for line in _lines(text):
        olds, arrow, new = line.rpartition("->")
        names = [name.strip() for name in olds.split(",")]
        if not arrow or not new.strip() or not all(names):
            raise DataError(f"a rule for classes is such as 'pickup, truck -> vehicle', not {line!r}")
        for name in names:
            if name in rules:
                raise DataError(f"two rules rename the class {name!r}")
            rules[name] = new.strip()
    return rules


def _lines(text: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in re.split(r"[;\n]", text))
    return [line for line in lines if line]
