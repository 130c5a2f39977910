"""Line charts and maps as shapes that a page draws: positions, paths, ticks, and the values for reading them off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from acclimate.reporting.curves import Panel

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 350, 10, 178
POINTS = 120
TABLE_ROWS = 12

SIDE = 400
MARKS = {
    "circle": "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    "triangle": "m0-3.6l3.4 6.2h-6.8z",
    "square": "m-2.6-2.6h5.2v5.2h-5.2z",
}
"""Paths of the marks around a point: a domain is told by its shape as well as by its colour."""


@dataclass(frozen=True)
class Tick:
    """A tick: where it stands, and its words."""

    position: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve: its name, its path, and its points, step and value."""

    name: str
    path: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A line chart.

    Attributes
    ----------
    title, unit
        What it shows, and in what; an empty unit for pure numbers.
    lines
        The curves.
    last, values
        The last step, and the ends of the axis of values.
    x_ticks, y_ticks
        The axes' ticks.
    band
        Top, height and words of a marked band of values.
    marked
        Position and words of a marked step.
    """

    title: str
    unit: str
    lines: list[Line]
    last: float
    values: tuple[float, float]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    band: tuple[float, float, str] | None = None
    marked: Tick | None = None

    @property
    def summary(self) -> str:
        """The chart in a sentence, for those who do not see it."""
        ends = (
            f"{line.name} from {number(line.points[0][1])}{self.unit} to {number(line.points[-1][1])}{self.unit}"
            for line in self.lines
        )
        return f"{self.title} over {self.last:,.0f} steps: {'; '.join(ends)}"

    @property
    def table(self) -> list[tuple[str, list[str]]]:
        """Some steps and every curve's value there, a dash where it has none."""
        steps = sorted({step for line in self.lines for step, _ in line.points})
        count = min(TABLE_ROWS, len(steps))
        chosen = [steps[round(index * (len(steps) - 1) / max(1, count - 1))] for index in range(count)]
        known = [dict(line.points) for line in self.lines]
        return [
            (f"{step:,.0f}", [f"{number(one[step])}{self.unit}" if step in one else "–" for one in known])
            for step in chosen
        ]

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script needs to read values off."""
        return {
            "unit": self.unit,
            "last": self.last,
            "values": self.values,
            "box": (LEFT, RIGHT, TOP, BOTTOM),
            "lines": [{"name": line.name, "points": line.points} for line in self.lines],
        }


def line_chart(panel: Panel, marked: int | None = None) -> Chart:
    """Return a panel's chart, each curve thinned to at most 120 means; ``marked`` is a step to point out."""
    scale, unit = (100.0, " %") if panel.accuracy else (1.0, "")
    curves = {name: thinned(curve) * torch.tensor([1.0, scale]) for name, curve in panel.curves.items()}
    everything = torch.cat(list(curves.values()))
    lowest, highest = float(everything[:, 1].min()), float(everything[:, 1].max())
    last = float(everything[:, 0].max())
    y_ticks = nice_ticks(lowest if panel.accuracy else min(0.0, lowest), highest)
    if panel.band is not None:
        y_ticks = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    low, high = y_ticks[0], y_ticks[-1]

    def x(step: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * step / last, 1)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), 1)

    lines = []
    for name, curve in curves.items():
        points = [(round(step), float(f"{value:.4g}")) for step, value in curve.tolist()]
        path = "L".join(f"{x(step)} {y(value)}" for step, value in points)
        lines.append(Line(name, f"M{path}", [(float(step), value) for step, value in points]))
    band = None
    if panel.band is not None:
        bottom, top = (scale * value for value in panel.band)
        band = (y(top), y(bottom) - y(top), f"healthy: {bottom:.0f}–{top:.0f} %")
    x_ticks = [Tick(x(step), f"{step:,.0f}") for step in nice_ticks(0.0, last) if step <= last]
    return Chart(
        panel.title,
        unit,
        lines,
        last,
        (low, high),
        x_ticks,
        [Tick(y(value), number(value)) for value in y_ticks],
        band,
        None if marked is None else Tick(x(marked), f"chosen: {marked:,}"),
    )


def thinned(curve: Tensor) -> Tensor:
    """Return a curve ``[T, 2]`` as means over at most 120 equal stretches, its last step kept."""
    size = math.ceil(len(curve) / POINTS)
    means = torch.stack([chunk.mean(0) for chunk in curve.split(size)])
    means[-1, 0] = curve[-1, 0]
    return means


def nice_ticks(low: float, high: float) -> list[float]:
    """Return about five round values that enclose ``low`` and ``high``."""
    span = max(high - low, 1e-9 + 1e-9 * abs(high))
    raw = span / 4
    base = math.pow(10.0, math.floor(math.log10(raw)))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def number(value: float) -> str:
    """Return a value to three digits, without an exponent where it can be."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Cloud:
    """The points of one domain in a map.

    Attributes
    ----------
    name
        What the points are.
    role
        ``source``, ``adapted`` or ``target``: decides the colour.
    mark
        A name in :data:`MARKS`.
    paths
        The path of each class's points, by the label; -1 for unknown.
    """

    name: str
    role: str
    mark: str
    paths: Mapping[int, str]


@dataclass(frozen=True)
class Map:
    """A t-SNE map: its title, its clouds, and what the page's script needs to tell about each point."""

    title: str
    note: str
    clouds: list[Cloud]
    data: dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Images of a map: name, role, labels ``[N]``, cells of the sheet, and perhaps what a classifier sees."""

    name: str
    role: str
    labels: Tensor
    cells: Sequence[int]
    predicted: Tensor | None = None
    confidence: Tensor | None = None


def scatter(title: str, note: str, points: Tensor, groups: Sequence[Group]) -> Map:
    """Return a map of points ``[N, 2]`` in [0, 1], which are the groups' images one after another."""
    marks = {"source": "circle", "adapted": "triangle", "target": "square"}
    margin = 10
    positions = torch.stack([points[:, 0], 1 - points[:, 1]], 1) * (SIDE - 2 * margin) + margin
    xy = [(round(x, 1), round(y, 1)) for x, y in positions.tolist()]
    clouds, rows, start = [], [], 0
    for index, group in enumerate(groups):
        own, labels = xy[start : start + len(group.cells)], group.labels.tolist()
        start += len(group.cells)
        shape = MARKS[marks[group.role]]
        paths = {
            label: "".join(f"M{x} {y}{shape}" for (x, y), one in zip(own, labels, strict=True) if one == label)
            for label in sorted(set(labels))
        }
        clouds.append(Cloud(group.name, group.role, marks[group.role], paths))
        seen = [-1] * len(own) if group.predicted is None else group.predicted.tolist()
        sure = [0.0] * len(own) if group.confidence is None else group.confidence.tolist()
        for (x, y), label, cell, what, share in zip(own, labels, group.cells, seen, sure, strict=True):
            rows.append((x, y, index, label, cell, what, round(100 * share)))
    return Map(title, note, clouds, {"groups": [group.name for group in groups], "points": rows})
