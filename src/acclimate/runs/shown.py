"""A run as a notebook shows it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from acclimate.runs.kinds import Kind, accuracies


def as_html(result: Mapping[str, Any], own_kind: Kind) -> str:
    """Return a result as a small table: who is how often right on the target, the forecast, what to use.

    Parameters
    ----------
    result
        Of a finished run.
    own_kind
        The kind of classifier that the run is about.
    """
    pair = f"{Path(result['source']).name} → {Path(result['target']).name}"
    rows = [
        f"<tr><th colspan=2>{escape(pair)}</th><th>{escape(result['method'])}, {escape(result['preset'])}</th></tr>"
    ]
    measured = accuracies(result, own_kind)
    unadapted = measured.get("source-only")
    for name, one in measured.items():
        gain = f"{100 * (one['mean'] - unadapted['mean']):+.1f}" if unadapted and name != "source-only" else ""
        rows.append(f"<tr><td>{escape(name)}</td><td>{100 * one['mean']:.1f} %</td><td>{gain}</td></tr>")
    if not measured:
        rows.append("<tr><td colspan=3>the target has no labels: accuracy unknown</td></tr>")
    if result["forecast"]:
        low, mean, high = (100 * result["forecast"][name] for name in ("low", "mean", "high"))
        rows.append(f"<tr><td>forecast</td><td>{mean:.0f} %</td><td>{low:.0f} to {high:.0f}, without labels</td></tr>")
    if "recommendation" in result:
        use = "adapted" if result["recommendation"]["use"] == "adapted" else result["unadapted"]["kind"]
        rows.append(f"<tr><td>recommended</td><td colspan=2>{escape(use)}</td></tr>")
    rows += [f"<tr><td colspan=3>{escape(finding['text'])}</td></tr>" for finding in result.get("findings", [])]
    return f"<table>{''.join(rows)}</table>"
