"""The logged losses and accuracies of a run as curves, and which of them belong in one panel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Curves = dict[str, dict[str, Tensor]]
"""float64 ``[T, 2]``, step and value, by phase and by the metric's name."""

HEALTHY = (0.6, 0.8)
"""The discriminator accuracies that led to the best images (section 4.3)."""

SELF_TRAINING = {
    ("losses of self-training", "loss"): {"source": "source, labels", "target": "target, pseudo-labels"},
    ("shares of target images", "share"): {"kept": "sure enough to be learnt", "agreement": "student, teacher agree"},
    ("effective classes of the target", "classes"): {"classes": "given by the teacher"},
}
"""What self-training logs and a person wants to see: by the panel's title and axis, the metrics with their words."""

_SIDES = frozenset({"x", "y", "g", "f", "s", "t", "st", "ts", "source", "target", "real", "fake"})


@dataclass(frozen=True)
class Panel:
    """Curves that share an axis.

    Attributes
    ----------
    title
        What they show.
    curves
        float64 ``[T, 2]`` by the metric's name.
    accuracy
        Whether the values are shares in [0, 1] rather than losses.
    band
        Values to mark as healthy.
    axis
        What the values are, in a word.
    """

    title: str
    curves: Mapping[str, Tensor]
    accuracy: bool = False
    band: tuple[float, float] | None = None
    axis: str = "loss"


def read_curves(metrics: Iterable[Mapping[str, Any]]) -> Curves:
    """Return the curves of logged steps, in the order in which their names appear."""
    rows: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for entry in metrics:
        for name, value in entry.items():
            if name not in ("phase", "step"):
                rows[entry["phase"]][name].append((entry["step"], value))
    return {
        phase: {name: torch.tensor(points, dtype=torch.float64) for name, points in curves.items()}
        for phase, curves in rows.items()
    }


def method_panels(curves: Curves) -> list[Panel]:
    """Group a method's phases into panels: one for the like losses of both directions, one for the accuracies."""
    panels = []
    for phase, metrics in curves.items():
        groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, curve in metrics.items():
            groups[_family(name)][name] = curve
        prefix = f"{phase}: " if len(curves) > 1 else ""
        for family, group in groups.items():
            accuracy, band = "accuracy" in family, HEALTHY if family == "discriminator accuracy" else None
            panels.append(Panel(prefix + family, group, accuracy, band, "accuracy" if accuracy else "loss"))
    return panels


def classifier_panels(curves: Curves) -> list[Panel]:
    """Return how the first training of each kind of classifier did on its own validation images."""
    panels = []
    for title, name in (("validation loss", "val_loss"), ("validation accuracy", "val_accuracy")):
        group = {phase.rpartition("-")[0]: metrics[name] for phase, metrics in curves.items() if name in metrics}
        if group:
            panels.append(Panel(title, group, name == "val_accuracy", axis=title.partition(" ")[2]))
    return panels


def self_training_panels(curves: Curves) -> list[Panel]:
    """Return how the first self-training went, by what needs no label: losses, shares of images, classes given."""
    logged = next(
        (metrics for metrics in curves.values() if "agreement" in metrics and bool(metrics["agreement"][:, 1].any())),
        {},
    )
    panels = []
    for (title, axis), names in SELF_TRAINING.items():
        if group := {word: logged[name] for name, word in names.items() if name in logged}:
            panels.append(Panel(title, group, axis == "share", axis=axis))
    return panels


def _family(name: str) -> str:
    """Return what a metric measures, without the side that it measures it on."""
    words = [word for word in name.split("_") if word.lower() not in _SIDES]
    if words[:1] == ["D"]:
        words[0] = "discriminators" if len(words) == 1 else "discriminator"
    return " ".join(words) or name
