"""Which method and preset a run takes where a person names none: photos are another case than digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from acclimate.errors import DataError
from acclimate.methods import find_config

METHOD, PRESET = "cyclegan", "fast"
"""What a run takes unless something speaks for another."""

LOOKED_AT = 24
"""Images of a folder whose size is looked at, spread over all."""

PHOTO_SIDE = 48
"""Pixels of the shorter side from which images are photos."""


@dataclass(frozen=True)
class Choice:
    """A method, a preset of it, and in words why they were chosen; nothing where a person chose."""

    method: str
    preset: str
    reason: str = ""


def choose(source: Any, method: str | None = None, preset: str | None = None) -> Choice:
    """Choose what is not given by what the source is.

    A folder of photos takes the preset ``photos``, by self-training on features of a pretrained backbone; ``best`` is
    self-training wherever no method is given; everything else is CycleGAN, ``fast``.

    Parameters
    ----------
    source
        A domain or a folder.
    method, preset
        What a person named.
    """
    if preset is not None:
        return Choice(method or ("self-training" if preset in ("photos", "best") else METHOD), preset)
    side = typical_side(source) if source is not None else 0
    if side >= PHOTO_SIDE and (method is None or "photos" in find_config(method).presets):
        shown = f"preset photos, as {source} has images of about {side} pixels"
        return Choice(method or "self-training", "photos", f"{shown}: features of a pretrained backbone are adapted")
    return Choice(method or METHOD, PRESET)


def image_size(file: Path) -> tuple[int, int] | None:
    """Return width and height of an image file by its header; None for what cannot be read, which reading will say."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def typical_side(source: Any) -> int:
    """Return the median of the shorter sides of a user's own images, in pixels; 0 for domains and what has none."""
    from acclimate.data.domains import open_own
    from acclimate.data.domains.in_memory import first_sizes

    try:
        if not isinstance(source, str | Path):
            sizes = first_sizes(source, LOOKED_AT)
        else:
            own = open_own(source)
            items = own.items if own else []
            looked_at = items[:: max(1, len(items) // LOOKED_AT)]
            sizes = [size for item in looked_at if own and (size := image_size(own.folder / item.name))]
    except DataError:  # opening it in earnest will say so
        return 0
    return int(median(map(min, sizes))) if sizes else 0
