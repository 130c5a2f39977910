"""Confusion matrices as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from acclimate.reporting.counts import precision_recall

MOST_CLASSES = 20
"""With more classes the most frequent confusions are listed instead of the matrix."""

MOST_CONFUSIONS = 20


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
    """

    title: str
    rows: str
    columns: str
    diagonal: float
    shares: list[list[float]]
    confusions: list[tuple[str, str, int]]
    precision: list[float]
    recall: list[float]


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
    return Matrix(title, rows, columns, diagonal, shares, confusions, precision, recall)
