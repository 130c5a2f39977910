"""Pictures of a few images of a domain or of a run, by Pillow alone: Matplotlib takes half a second to import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, manual_seed
from torch.random import fork_rng

from acclimate.config import AugmentName
from acclimate.data.augmentation import POLICIES
from acclimate.data.domains import Domain
from acclimate.data.domains.base import SPLITS
from acclimate.data.images import to_float, to_uint8
from acclimate.errors import DataError
from acclimate.runs.adaptation import Adaptation

CELL, LARGEST, GAP, FONT_SIZE = 66, 128, 4, 18
"""Pixels: what an image is enlarged to, about, by a whole number of times; what a larger one is shrunk to; between
images; of the words."""

FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".pdf")


def domain_samples(domain: Domain, path: Path, count: int = 16) -> Path:
    """Write a picture of the first images of each split."""
    rows = [(split, domain.images(split).pixels[:count]) for split in SPLITS]
    return draw_rows([(split, images) for split, images in rows if len(images)], path)


def augmented_samples(domain: Domain, policy: AugmentName, path: Path, count: int = 16) -> Path:
    """Write a picture of a domain's first training images and of their views under an augmentation policy.

    Weak is what a teacher labels, strong what a source image goes through, target what a target image does; each drawn
    several times, from a fixed seed.
    """
    pixels = domain.images("train").pixels[:count]
    images, chosen = to_float(pixels), POLICIES[policy]
    views = [("weak", chosen.weak)] * 2 + [("strong", chosen.strong)] * 5 + [("target", chosen.of_target().strong)] * 3
    with fork_rng(devices=[]):
        manual_seed(0)
        drawn = [(name, to_uint8(view(images))) for name, view in views]
    return draw_rows([("image", pixels), *drawn], path)


def run_samples(adaptation: Adaptation, path: Path, count: int = 16) -> Path:
    """Write a picture of source images, the same redrawn in the target's style, and target images."""
    source = adaptation.data.source_val.pixels[:count]
    translated = adaptation.translator().all(source, seed=0)
    target = adaptation.data.target_train.pixels[:count]
    return draw_rows([("source", source), ("translated", translated), ("target", target)], path)


def draw_rows(rows: Sequence[tuple[str, Tensor]], path: Path) -> Path:
    """Write a picture of rows of images, uint8 ``[N, C, H, W]`` of one size, each with a word before it.

    Raises
    ------
    DataError
        The path's suffix is not in :data:`FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path}: name the picture {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    font = ImageFont.load_default(FONT_SIZE)
    size = rows[0][1].shape[-1]
    cell = min(LARGEST, size * max(1, round(CELL / size)))
    filtered = Image.Resampling.NEAREST if cell >= size else Image.Resampling.BOX
    left = round(max(font.getlength(name) for name, _ in rows)) + 3 * GAP
    longest = max(len(images) for _, images in rows)
    pitch = cell + GAP
    picture = Image.new("RGB", (left + pitch * longest, GAP + pitch * len(rows)), "white")
    draw = ImageDraw.Draw(picture)
    for row, (name, images) in enumerate(rows):
        top = GAP + pitch * row
        draw.text((left - 2 * GAP, top + cell / 2), name, "black", font, anchor="rm")
        for column, image in enumerate(images.permute(0, 2, 3, 1).cpu().numpy()):
            shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
            picture.paste(shown.resize((cell, cell), filtered), (left + pitch * column, top))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path
