"""Tables of benchmark result files, into a document: ``python benchmarks/document.py docs/results/*-cpu.json``.

They replace what stands between ``<!-- benchmarks -->`` and ``<!-- /benchmarks -->`` in docs/performance.md.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from acclimate.reporting.tables import insert, markdown

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
ENVIRONMENT = ("device", "threads", "precision", "versions", "commit")


def tables(name: str, value: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of what was measured under a name: parts of one kind are the rows of one table."""
    parts = {part: inner for part, inner in value.items() if isinstance(inner, Mapping)}
    own = {part: inner for part, inner in value.items() if part not in parts}
    kinds = {tuple(inner) for inner in parts.values()}
    nested = any(isinstance(cell, Mapping) for inner in parts.values() for cell in inner.values())
    if len(kinds) == 1 and not nested:
        yield markdown([name, *kinds.pop()], [[part, *map(_shown, inner.values())] for part, inner in parts.items()])
    else:
        for part, inner in parts.items():
            yield from tables(f"{name}, {part}", inner)
    if own:
        yield markdown([name, *own], [["", *map(_shown, own.values())]])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def section(path: Path) -> str:
    """Return a benchmark's tables under its name, with where it ran."""
    content = json.loads(path.read_text())
    where = {name: content.pop(name) for name in ENVIRONMENT}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    heading = (
        f"[{path.name}]({os.path.relpath(path, DOCUMENT.parent)}): {where['device']}, {where['threads']} threads,"
        f" {where['precision']}; {versions}; commit {where['commit'][:8]}."
    )
    parts = {name: part for name, part in content.items() if isinstance(part, Mapping)}
    facts = ", ".join(f"{name} {_shown(fact)}" for name, fact in content.items() if name not in parts)
    return "\n\n".join(
        [f"{heading} Of it all: {facts}.", *(table for name, part in parts.items() for table in tables(name, part))]
    )


if __name__ == "__main__":
    insert(DOCUMENT, "benchmarks", "\n\n".join(section(Path(path)) for path in sys.argv[1:]))
