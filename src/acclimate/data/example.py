"""Two folders to try everything on, made of the two photos that come with scikit-learn: no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

from acclimate.errors import DataError
from acclimate.training.state import writing

PARTS = {
    "flower": ("flower.jpg", (130, 60, 440, 400)),
    "lake": ("china.jpg", (380, 150, 640, 330)),
    "leaves": ("flower.jpg", (400, 0, 640, 427)),
    "roof": ("china.jpg", (120, 100, 440, 210)),
    "sky": ("china.jpg", (0, 0, 640, 120)),
    "trees": ("china.jpg", (0, 300, 640, 427)),
}
"""By class, of which photo, and where in it: left, top, right, bottom."""

SIDE = 128
COUNT = 100
SMALLEST, LARGEST = 90, 120
"""Sides of the cut parts, before they are brought to :data:`SIDE`."""


def write_example(folder: Path) -> tuple[Path, Path]:
    """Write two folders of 600 images each, a folder a class: pencil drawings, and night photos of the same things.

    Both show parts of scikit-learn's ``flower.jpg`` and ``china.jpg`` (CC BY 2.0), always the same.

    Returns
    -------
    tuple
        The labelled source ``drawings``, and the target ``photos``, whose folders say the truth to measure with.

    Raises
    ------
    DataError
        The folder has something in it.
    """
    from sklearn.datasets import load_sample_image

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty: name another folder")
    random = np.random.RandomState(0)
    made = folder / "drawings", folder / "photos"
    with writing(folder):
        for domain, draw in zip(made, (pencil, snapshot), strict=True):
            for name, (photo, (left, top, right, bottom)) in PARTS.items():
                whole = Image.fromarray(load_sample_image(photo)).crop((left, top, right, bottom))
                (domain / name).mkdir(parents=True)
                for number in range(COUNT):
                    draw(_part(whole, random), random).save(domain / name / f"{number:03d}.jpg", quality=90)
    return made


def _part(whole: Image.Image, random: np.random.RandomState) -> Image.Image:
    side = random.randint(SMALLEST, min(LARGEST, *whole.size) + 1)
    left, top = random.randint(0, whole.width - side + 1), random.randint(0, whole.height - side + 1)
    part = whole.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return ImageOps.mirror(part) if random.randint(2) else part


def pencil(image: Image.Image, random: np.random.RandomState) -> Image.Image:
    """Return an image drawn in pencil: where it differs from its surroundings, on white."""
    gray = ImageOps.autocontrast(image.convert("L"))
    around = gray.filter(ImageFilter.GaussianBlur(float(random.uniform(2, 5))))
    lines = ImageChops.subtract(around, gray, scale=float(random.uniform(0.15, 0.4)))
    return ImageOps.invert(lines).convert("RGB")


def snapshot(image: Image.Image, random: np.random.RandomState) -> Image.Image:
    """Return an image as a telephone takes it by night: dark, bluish, blurred, grainy."""
    blurred = image.filter(ImageFilter.GaussianBlur(float(random.uniform(0.5, 1.5))))
    light = float(random.uniform(0.25, 0.5)) * np.array([0.8, 0.9, 1.3])
    grain = random.normal(0, random.uniform(4, 10), (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(blurred) * light + grain).clip(0, 255).astype(np.uint8))
