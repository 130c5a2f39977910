"""Confusion matrices as tables."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from acclimate.reporting.counts import precision_recall

MOST_CLASSES = 20
"""With more classes the matrix is a picture, and the most frequent confusions are listed beside it."""

MOST_CONFUSIONS = 20
LONGEST_LEVEL = 3
"""Letters of a class name up to which columns have it level."""

LIGHT, DARK = (243, 244, 244), (11, 90, 156)
"""Colours of no case and of a whole row's cases."""


@dataclass(frozen=True)
class Matrix:
    """How often class i is taken for class j.

    Attributes
    ----------
    title, rows, columns
        What it shows, and what its rows and columns are.
    diagonal
        Share of all cases that lie on the diagonal, in %.
    shares
        Each row in %; empty where there are too many classes to show.
    confusions
        The most frequent pairs off the diagonal where the rows are empty: row's class, column's class, cases.
    precision, recall
        Of each class, in %; NaN where undefined.
    level
        Whether the columns' names are written level.
    picture
        The matrix as a picture of a pixel a cell, a ``data:`` address, where the rows are empty.
    cases
        Row, column and cases of what is not 0, where the rows are empty.
    """

    title: str
    rows: str
    columns: str
    diagonal: float
    shares: list[list[float]]
    confusions: list[tuple[str, str, int]]
    precision: list[float]
    recall: list[float]
    level: bool = True
    picture: str = ""
    cases: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def by_recall(self) -> list[int]:
        """The classes' numbers, those that are recognised worst first."""
        return sorted(range(len(self.recall)), key=lambda one: (math.isnan(self.recall[one]), self.recall[one]))


def matrix(title: str, rows: str, columns: str, counts: Tensor, classes: Sequence[str]) -> Matrix:
    """Return a matrix of counts ``[classes, classes]`` as it is shown."""
    precision, recall = ((100 * part).tolist() for part in precision_recall(counts))
    diagonal = 100 * int(counts.diagonal().sum()) / int(counts.sum())
    shares: list[list[float]] = []
    confusions: list[tuple[str, str, int]] = []
    if len(classes) <= MOST_CLASSES:
        shares = (100 * counts / counts.sum(1, keepdim=True).clamp_min(1)).tolist()
    else:
        off = counts.clone().fill_diagonal_(0).flatten()
        for index in off.argsort(descending=True, stable=True)[:MOST_CONFUSIONS].tolist():
            row, column = divmod(index, len(classes))
            if off[index] > 0:
                confusions.append((classes[row], classes[column], int(off[index])))
    level = max(map(len, classes)) <= LONGEST_LEVEL
    if shares:
        return Matrix(title, rows, columns, diagonal, shares, confusions, precision, recall, level)
    cases = [(row, column, int(counts[row, column])) for row, column in counts.nonzero().tolist()]
    return Matrix(title, rows, columns, diagonal, shares, confusions, precision, recall, level, _picture(counts), cases)


def _picture(counts: Tensor) -> str:
    """Return counts ``[classes, classes]`` as a PNG of a pixel a cell, each row by its shares."""
    shares = (counts / counts.sum(1, keepdim=True).clamp_min(1)).sqrt()  # else all but the most frequent is invisible
    light, dark = (torch.tensor(colour, dtype=torch.float32) for colour in (LIGHT, DARK))
    pixels = torch.lerp(light, dark, shares.float().unsqueeze(2)).round().to(torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
