"""Pictures of a run and of domains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor

from acclimate.domains.base import SPLITS, Domain

if TYPE_CHECKING:
    from acclimate.adaptation import Adaptation


def image_rows(rows: Mapping[str, Tensor], path: Path, *, inches: float = 0.55, dpi: int = 120) -> Path:
    """Write a picture of rows of images with a word before each row.

    Parameters
    ----------
    rows
        uint8 ``[N, C, H, W]`` by the row's name, N the same in every row.
    path
        A ``.png`` or ``.pdf``.
    """
    columns = max(len(images) for images in rows.values())
    margin = 1.3
    figure = Figure(figsize=(margin + columns * inches, len(rows) * inches), dpi=dpi)
    figure.patch.set_facecolor("white")
    left = margin / figure.get_figwidth()
    for number, (name, images) in enumerate(rows.items()):
        axes = figure.add_axes((left, 1 - (number + 1) / len(rows), 1 - left, 1 / len(rows)))
        axes.set_axis_off()
        strip = torch.cat(list(images), dim=2).permute(1, 2, 0).cpu().numpy()
        axes.imshow(
            strip if strip.shape[-1] == 3 else strip[..., 0], cmap="gray", aspect="auto", interpolation="nearest"
        )
        figure.text(left - 0.008, 1 - (number + 0.5) / len(rows), name, ha="right", va="center", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def domain_samples(domain: Domain, path: Path, count: int = 16) -> Path:
    """Write a picture of the first images of each split."""
    rows = {split: domain.images(split).pixels[:count] for split in SPLITS}
    return image_rows({split: images for split, images in rows.items() if len(images)}, path)


def run_samples(adaptation: Adaptation, path: Path, count: int = 16) -> Path:
    """Write a picture of source images, the same redrawn in the target's style, and target images."""
    source = adaptation.data.source_val.pixels[:count]
    translated = adaptation.translator().all(source, seed=0)
    return image_rows(
        {"source": source, "translated": translated, "target": adaptation.data.target_train.pixels[:count]}, path
    )
