"""Tables of results: from result files alone, every number with its spread."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from acclimate.errors import RunError

Result = Mapping[str, Any]


def read_results(paths: Iterable[Path]) -> list[Result]:
    """Read result files; a folder stands for every result file below it.

    Raises
    ------
    RunError
        A file is not there or is no result, or there is none at all.
    """
    results: list[Result] = []
    for path in paths:
        files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        for file in files:
            try:
                content = json.loads(file.read_text())
            except (OSError, ValueError) as error:
                raise RunError(f"cannot read {file}: {error}") from None
            if isinstance(content, dict) and {"schema", "method", "accuracy", "baselines"} <= content.keys():
                results.append(content)
            elif not path.is_dir():
                raise RunError(f"{file} is not a result file")
    if not results:
        raise RunError("no result file there")
    return results


def markdown(results: Sequence[Result]) -> str:
    """Return a Markdown table: one row a pair, method and preset, in % on the target's test images.

    One run shows its classifier seeds' spread; several runs show the spread of their means over pipeline seeds.
    """
    groups: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for result in results:
        groups[result["source"], result["target"], result["method"], result["preset"]].append(result)
    lines = [
        "| source → target | method | source only | **adapted** | target only | ± over | minutes | on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (source, target, method, preset), runs in sorted(groups.items()):
        cells = [_cell([run["baselines"]["source_only"] for run in runs])]
        cells += [f"**{_cell([run['accuracy'] for run in runs])}**"]
        cells += [_cell([run["baselines"]["target_only"] for run in runs])]
        over = (
            f"{len(runs)} pipeline seeds" if len(runs) > 1 else f"{len(runs[0]['accuracy']['runs'])} classifier seeds"
        )
        minutes = fmean(run["seconds"]["total"] for run in runs) / 60
        where = ", ".join(sorted({f"{run['device'].split(',')[0]}, {run['threads']} threads" for run in runs}))
        lines.append(
            f"| {source} → {target} | {method} `{preset}` | {' | '.join(cells)} | {over} | {minutes:.0f} | {where} |"
        )
    return "\n".join(lines)


def _cell(accuracies: Sequence[Mapping[str, Any] | None]) -> str:
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    if not known:
        return "–"
    means = [accuracy["mean"] for accuracy in known]
    std = known[0]["std"] if len(known) == 1 else pstdev(means)
    return f"{100 * fmean(means):.1f} ± {100 * std:.1f}"
