"""Figures made of images: samples, neighbours, cycles, repetitions, the training as a film strip."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from acclimate.reporting.analysis import Analysis
from acclimate.reporting.counts import one_of_each
from acclimate.reporting.figures.style import image_rows, styled

COLUMNS = 12
FRAME_MILLISECONDS, LAST_FRAME_MILLISECONDS = 500, 2_000


def draw_domains(analysis: Analysis) -> Figure:
    """Draw two rows of images of each domain (figure 1)."""
    rows = []
    for name, images in ((analysis.source_name, analysis.source), (analysis.target_name, analysis.target)):
        rows += [(name, images[:COLUMNS]), ("", images[COLUMNS : 2 * COLUMNS])]
    return image_rows([(name, images) for name, images in rows if len(images)], gap_after=2)


def draw_nearest(analysis: Analysis) -> Figure:
    """Draw source images, their translations, and the real target images nearest to these (figure 10)."""
    assert analysis.translated is not None
    assert analysis.nearest is not None
    chosen = one_of_each(analysis.source_labels[: len(analysis.nearest["pixels"])], COLUMNS)
    return image_rows(
        [
            (analysis.source_name, analysis.source[chosen]),
            ("translated", analysis.translated[chosen]),
            ("nearest, pixels", analysis.nearest["pixels"][chosen]),
            ("nearest, features", analysis.nearest["features"][chosen]),
        ],
        gap_after=2,
    )


def draw_cycles(analysis: Analysis) -> Figure:
    """Draw the cycles of both domains."""
    assert analysis.cycles is not None
    names = dict.fromkeys(analysis.cycles, "") | {"x": analysis.source_name, "y": analysis.target_name}
    rows = [(f"{names[key]}  {key}".strip(), images) for key, images in analysis.cycles.items()]
    return image_rows(rows, gap_after=3)


def draw_repeats(analysis: Analysis) -> Figure:
    """Draw the same images translated several times, and where the translations differ."""
    assert analysis.repeats is not None
    count, times = analysis.repeats.shape[:2]
    spread = analysis.repeats.float().std(1).mean(1, keepdim=True)
    spread = (spread * (255.0 / spread.amax())).to(torch.uint8).expand(-1, analysis.source.shape[1], -1, -1)
    names, images = _batch(analysis, count)
    strips = torch.cat([images[:, None], analysis.repeats, spread[:, None]], 1)
    columns = ["source", *(str(number + 1) for number in range(times)), "spread"]
    return image_rows(list(zip(names, strips, strict=True)), columns)


def draw_film(analysis: Analysis) -> Figure:
    """Draw a fixed batch as the snapshots translate it, one column a snapshot."""
    assert analysis.film is not None
    names, images = _batch(analysis, analysis.film.shape[1])
    strips = torch.cat([images[None], analysis.film]).transpose(0, 1)
    columns = ["source", *(f"{step:,}" for step in analysis.film_steps)]
    return image_rows(list(zip(names, strips, strict=True)), columns)


def write_animation(analysis: Analysis, path: Path) -> Path:
    """Write the film as an animated WebP: source above, translation below, the step beside it."""
    assert analysis.film is not None
    _, images = _batch(analysis, analysis.film.shape[1])
    with styled():
        frames = [
            _rendered(image_rows([("source", images), (f"step {step:>7,}", frame)]))
            for step, frame in zip(analysis.film_steps, analysis.film, strict=True)
        ]
    durations = [FRAME_MILLISECONDS] * (len(frames) - 1) + [LAST_FRAME_MILLISECONDS]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, lossless=True)
    return path


def _batch(analysis: Analysis, count: int) -> tuple[list[str], Tensor]:
    """Return the class names and images of the source images that repetitions and film follow."""
    chosen = one_of_each(analysis.source_labels, count)
    return [analysis.classes[label] for label in analysis.source_labels[chosen]], analysis.source[chosen]


def _rendered(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return Image.open(buffer).convert("RGB")
