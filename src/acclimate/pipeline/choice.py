"""Which method and preset a run takes where a person names none: photos are another case than digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

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


def choose(source: str | Path | None, method: str | None = None, preset: str | None = None) -> Choice:
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


def typical_side(source: str | Path) -> int:
    """Return the median of the shorter sides of a folder's images, in pixels; 0 for what is no folder of images."""
    from PIL import Image

    from acclimate.data.domains import DOMAINS
    from acclimate.data.images import image_files

    folder = Path(source).expanduser()
    if str(source) in DOMAINS or not folder.is_dir():
        return 0
    files = image_files(folder)
    sides = []
    for file in files[:: max(1, len(files) // LOOKED_AT)]:
        try:
            with Image.open(file) as image:
                sides.append(min(image.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # reading it in earnest will say so
    return int(median(sides)) if sides else 0
