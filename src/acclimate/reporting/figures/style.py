"""How all figures look: colours that the colour-blind can tell apart, one font size, axes without boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

SOURCE, ADAPTED, TARGET = "#0072b2", "#d55e00", "#6b7280"
"""Colours of the domains: Okabe and Ito's blue and vermilion, and a gray of a third lightness."""

MARKERS = {SOURCE: "o", ADAPTED: "^", TARGET: "s"}

CLASSES = (
    "#332288",
    "#88ccee",
    "#117733",
    "#ddcc77",
    "#cc6677",
    "#aa4499",
    "#44aa99",
    "#999933",
    "#882255",
    "#555555",
)
"""Colours of classes (Tol's "muted"); repeated beyond ten, which is why classes are always named too."""

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.linewidth": 0.8,
    "axes.labelcolor": "#333333",
    "xtick.color": "#8a8f98",
    "ytick.color": "#8a8f98",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "lines.linewidth": 1.4,
    "figure.facecolor": "white",
    "figure.dpi": 150,
    "pdf.fonttype": 42,
}

CELL, GAP, EDGE = 0.55, 0.12, 0.06
"""Inches that an image takes in a figure, that set groups of rows apart, and at the figure's edge."""


def styled() -> Any:
    """Return the context in which figures are drawn."""
    return matplotlib.rc_context(STYLE)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the path's suffix; PDFs hold no date, so that equal figures are equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
    return path


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``count`` axes of ``width`` by ``height`` inches in rows of at most ``columns``."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, number + 1) for number in range(count)]


def image_rows(rows: Sequence[tuple[str, Tensor]], columns: Sequence[str] = (), gap_after: int = 0) -> Figure:
    """Draw rows of images with a word before each row.

    Parameters
    ----------
    rows
        Each row's name and its images, uint8 ``[N, C, H, W]``.
    columns
        Words above the columns.
    gap_after
        Rows after which some space sets the next ones apart; 0 for none.
    """
    left = 0.25 + 0.075 * max(len(name) for name, _ in rows)
    top = 0.25 if columns else EDGE
    gaps = (len(rows) - 1) // gap_after if gap_after else 0
    width = left + CELL * max(len(images) for _, images in rows) + EDGE
    height = top + CELL * len(rows) + GAP * gaps + EDGE
    figure = Figure(figsize=(width, height))
    for number, (name, images) in enumerate(rows):
        bottom = height - top - CELL * (number + 1) - GAP * (number // gap_after if gap_after else 0)
        axes = figure.add_axes((left / width, bottom / height, CELL * len(images) / width, CELL / height))
        axes.set_axis_off()
        show(axes, strip(images))
        figure.text((left - 0.08) / width, (bottom + CELL / 2) / height, name, ha="right", va="center")
    for number, word in enumerate(columns):
        x = (left + CELL * (number + 0.5)) / width
        figure.text(x, 1 - 0.5 * top / height, word, ha="center", va="center", fontsize=7.5)
    return figure


def strip(images: Tensor) -> Tensor:
    """Lay images side by side with a little white around each."""
    margin = max(1, images.shape[-1] // 24)
    return torch.cat(list(F.pad(images, (margin,) * 4, value=255)), dim=2)


def show(axes: Axes, image: Tensor) -> None:
    """Draw one uint8 image ``[C, H, W]``, its pixels as they are."""
    array = image.permute(1, 2, 0).cpu().numpy()
    gray = array.shape[-1] == 1
    axes.imshow(array[..., 0] if gray else array, cmap="gray", vmin=0, vmax=255, aspect="auto", interpolation="nearest")
