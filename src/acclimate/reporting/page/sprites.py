"""Thousands of small images in one file: a sheet of cells that a page shows one at a time."""

from __future__ import annotations

import base64
import io

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

COLUMNS = 48
LARGEST, LARGEST_PHOTO, LARGEST_LOSSLESS = 64, 160, 32
"""Pixels of a cell at most, of one of few that are looked at closely, and up to which it is kept to the bit; they bound
the file's size."""

QUALITY = 80


class Sheet:
    """A sheet of equal square images.

    Parameters
    ----------
    image_size
        Height and width of the images that will be added.
    largest
        They are shrunk to this many pixels where they are larger.
    """

    def __init__(self, image_size: int, largest: int = LARGEST) -> None:
        self.cell = min(image_size, largest)
        self.count = 0
        self._images: list[Tensor] = []

    def add(self, images: Tensor) -> range:
        """Add uint8 images ``[N, C, H, W]``; return the numbers of their cells."""
        if images.shape[-1] != self.cell:
            shrunk = F.interpolate(images.float(), (self.cell, self.cell), mode="bilinear", antialias=True)
            images = shrunk.round_().clamp_(0, 255).to(torch.uint8)
        self._images.append(images.expand(-1, 3, -1, -1))
        self.count += len(images)
        return range(self.count - len(images), self.count)

    @property
    def rows(self) -> int:
        """Rows of cells, each of 48."""
        return -(-self.count // COLUMNS)

    def data_uri(self) -> str:
        """Return the sheet as a WebP ``data:`` address."""
        cells = torch.zeros(self.rows * COLUMNS, 3, self.cell, self.cell, dtype=torch.uint8)
        cells[: self.count] = torch.cat(self._images)
        grid = cells.view(self.rows, COLUMNS, 3, self.cell, self.cell).permute(0, 3, 1, 4, 2)
        buffer = io.BytesIO()
        picture = Image.fromarray(grid.reshape(self.rows * self.cell, COLUMNS * self.cell, 3).numpy())
        picture.save(buffer, format="WEBP", lossless=self.cell <= LARGEST_LOSSLESS, quality=QUALITY)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
