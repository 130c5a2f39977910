"""The accuracies that a result has, by the kind of classifier, lowest bar first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acclimate.runs.kinds import KINDS

KIND_NAMES = {
    "source-only": "Source only",
    "source-only-augmented": "Source only, augmented",
    "adapted": "Adapted",
    "target-only": "Target only",
    "target-only-augmented": "Target only, augmented",
}
"""For people."""


def accuracies(result: Mapping[str, Any], own_kind: str) -> dict[str, Mapping[str, Any]]:
    """Return what was measured on the target's test images, by kind; ``own_kind`` is what the run is about."""
    baselines = result["baselines"]
    measured = {kind: baselines.get(kind.replace("-", "_")) for kind in KINDS} | {own_kind: result["accuracy"]}
    return {kind: part for kind, part in measured.items() if part is not None}
