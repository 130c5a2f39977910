"""Images that are nearly the same: copies in another format or size, frames of one film."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

THUMBNAIL = 8
"""Height and width of what is compared first."""

ALIKE, SAME = 2.5, 5.0
"""Grey levels (root mean square) up to which two thumbnails may differ, and then two images at the working size."""

FLAT = 4.0
"""Standard deviation of a thumbnail below which there is nothing to compare."""

AT_ONCE = 2**24
"""Pairs of thumbnails that are compared at once."""


def near_duplicates(pixels: Tensor, some: NDArray[np.int64], others: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return each of ``some`` images that is nearly the same as one of the ``others``, with the likest of these.

    Parameters
    ----------
    pixels
        uint8 ``[N, C, H, W]``.
    some, others
        Indices of images.

    Returns
    -------
    list of tuple
        Pairs of indices.
    """
    if not len(some) or not len(others):
        return []
    first, second = _thumbnails(pixels, some), _thumbnails(pixels, others)
    structured = first.std(1) >= FLAT
    rest, found = second.square().sum(1), list[tuple[int, int]]()
    step = max(1, AT_ONCE // len(second))
    for start in range(0, len(first), step):
        part = first[start : start + step]
        distances = (part.square().sum(1)[:, None] + rest - 2 * part @ second.T).clamp_min_(0) / THUMBNAIL**2
        least, index = distances.min(1)
        for row in ((least.sqrt() <= ALIKE) & structured[start : start + step]).nonzero()[:, 0].tolist():
            one, other = int(some[start + row]), int(others[int(index[row])])
            if (pixels[one].float() - pixels[other].float()).square().mean().sqrt() <= SAME:
                found.append((one, other))
    return found


def _thumbnails(pixels: Tensor, indices: NDArray[np.int64]) -> Tensor:
    """Return grey thumbnails, float32 ``[n, 64]``."""
    parts = []
    for start in range(0, len(indices), 512):
        gray = pixels[torch.from_numpy(indices[start : start + 512])].float().mean(1, keepdim=True)
        parts.append(F.adaptive_avg_pool2d(gray, THUMBNAIL).flatten(1))
    return torch.cat(parts)
