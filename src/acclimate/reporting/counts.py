"""Counts of classes: confusion matrices, precision and recall, one image of each class."""

from __future__ import annotations

import torch
from torch import Tensor


def count_pairs(rows: Tensor, columns: Tensor, classes: int) -> Tensor:
    """Count how often class i of ``rows`` meets class j of ``columns``, int64 ``[classes, classes]``."""
    return torch.bincount(rows * classes + columns, minlength=classes**2).view(classes, classes)


def precision_recall(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return each class's precision and recall, ``[classes]``, from a confusion matrix; NaN where there is no case."""
    right = counts.diagonal()
    return right / counts.sum(0), right / counts.sum(1)


def one_of_each(labels: Tensor, count: int) -> Tensor:
    """Return the indices of the first image of each class, of the second of each and so on, ``count`` at most."""
    seen: dict[int, int] = {}
    ranks = []
    for label in labels.tolist():
        ranks.append((seen.get(label, 0), label))
        seen[label] = ranks[-1][0] + 1
    return torch.tensor(sorted(range(len(ranks)), key=ranks.__getitem__)[:count], dtype=torch.int64)
