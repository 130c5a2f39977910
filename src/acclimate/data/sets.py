"""Sets of images: alone, as a method gets the target's, or with labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

UNKNOWN_LABEL = -1
"""The label of an image whose class nobody knows."""


@dataclass(frozen=True)
class Images:
    """Images without labels: all that a method ever sees of the target.

    Attributes
    ----------
    pixels
        uint8 ``[N, C, H, W]``, perhaps a memory map, which nothing may write to.
    """

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def first(self, count: int | None) -> Images:
        """Return the first ``count`` images, all for None."""
        return Images(self.pixels[:count])


@dataclass(frozen=True)
class LabelledImages:
    """Images with labels: the source, and what the evaluator keeps.

    Attributes
    ----------
    pixels
        uint8 ``[N, C, H, W]``, perhaps a memory map, which nothing may write to.
    labels
        int64 ``[N]``, indices of the domain's class names.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def first(self, count: int | None) -> LabelledImages:
        """Return the first ``count`` images, all for None."""
        return LabelledImages(self.pixels[:count], self.labels[:count])

    def unlabelled(self) -> Images:
        """Return the images alone."""
        return Images(self.pixels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and labels at ``indices``."""
        return self.pixels[indices], self.labels[indices]
