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

    A folder of photos takes the preset ``photos``, by self-training on features of a pretrained backbone, also as its
    ``best``; ``best`` is self-training wherever no method is given; everything else is CycleGAN, ``fast``.

    Parameters
    ----------
    source
        A domain or a folder.
    method, preset
        What a person named.
    """
    best = preset == "best" and method is None
    if preset is not None and not best:
        return Choice(method or ("self-training" if preset == "photos" else METHOD), preset)
    side = typical_side(source) if source is not None else 0
    if best and side < PHOTO_SIDE:
        return Choice("self-training", "best")
    if side >= PHOTO_SIDE and (method is None or "photos" in find_config(method).presets):
        shown = f"preset photos, as {source} has images of about {side} pixels"
        return Choice(method or "self-training", "photos", f"{shown}: features of a pretrained backbone are adapted")
    return Choice(method or METHOD, PRESET)


def typical_side(source: Any) -> int:
    """Return the median of the shorter sides of a user's own images, in pixels; 0 for domains and what has none."""
    from acclimate.data.domains import open_own
    from acclimate.data.domains.in_memory import first_sizes
    from acclimate.data.images import headers

    try:
        if not isinstance(source, str | Path):
            sizes = first_sizes(source, LOOKED_AT)
        else:
            own = open_own(source)
            items = own.items if own else []
            looked_at = items[:: max(1, len(items) // LOOKED_AT)]
            sizes = [image.size for image in headers(own.folder / item.name for item in looked_at)] if own else []
    except DataError:  # opening it in earnest will say so
        return 0
    return int(median(map(min, sizes))) if sizes else 0
