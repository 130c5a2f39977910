"""The figures of a run: the paper's, and some that it lacks. Each is drawn from the run's analysis alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from acclimate.reporting.analysis import Analysis, analyse
from acclimate.reporting.curves import self_training_panels
from acclimate.reporting.figures.classification import draw_confusion, draw_flips
from acclimate.reporting.figures.images import (
    draw_cycles,
    draw_domains,
    draw_film,
    draw_nearest,
    draw_repeats,
    write_animation,
)
from acclimate.reporting.figures.maps import draw_features, draw_pixels, draw_source_features
from acclimate.reporting.figures.style import save, styled
from acclimate.reporting.figures.training import draw_self_training, draw_training
from acclimate.runs.adaptation import Adaptation
from acclimate.training.state import write_json

__all__ = ["FIGURES", "write_figures"]


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes
    ----------
    title
        What it shows.
    draw
        Draws it.
    needs
        The parts of the analysis that it cannot do without.
    where
        Whether it is about a run at all.
    """

    title: str
    draw: Callable[[Analysis], Figure]
    needs: tuple[str, ...] = ()
    where: Callable[[Analysis], bool] = lambda _: True


FIGURES = {
    "domains": Kind("Samples of each domain (the paper's figure 1)", draw_domains),
    "source-features": Kind(
        "t-SNE of the source-only classifier's last convolutional features, by domain and class (figure 2)",
        draw_source_features,
        ("before_map",),
    ),
    "training": Kind("Losses and accuracies over the training (figure 9)", draw_training, ("training",)),
    "self-training": Kind(
        "How the classifier learnt on from the target, and the classes that it gives there",
        draw_self_training,
        where=lambda analysis: bool(self_training_panels(analysis.classifier_curves)),
    ),
    "nearest": Kind("Translated images and the real ones nearest to them (figure 10)", draw_nearest, ("nearest",)),
    "pixels": Kind("t-SNE of the pixels before and after translation (figure 11)", draw_pixels, ("pixel_map",)),
    "features": Kind(
        "t-SNE of the features before and after adaptation (figure 12)", draw_features, ("before_map", "after_map")
    ),
    "confusion": Kind("Confusion matrices before and after adaptation (figure 13)", draw_confusion, ("confusion",)),
    "cycles": Kind("From each domain to the other and back", draw_cycles, ("cycles",)),
    "repeats": Kind(
        "The same images translated several times; spread: the standard deviation of the translations, white is most",
        draw_repeats,
        ("repeats",),
    ),
    "film": Kind("One batch, as the translator's snapshots redraw it over the training", draw_film, ("film",)),
    "flips": Kind("The class that translated images seem to have, by their source's label", draw_flips, ("flips",)),
}
"""Every figure by the name of its files."""


def write_figures(adaptation: Adaptation, out: Path, formats: Sequence[str] = ("png", "pdf")) -> dict[str, Any]:
    """Write every figure that makes sense for a run, and ``figures.json`` on how they were made.

    Parameters
    ----------
    adaptation
        A finished run.
    out
        The folder.
    formats
        ``png``, ``pdf`` or both.

    Returns
    -------
    dict
        What ``figures.json`` says: ``figures`` with titles and files, ``left_out`` with the reasons, ``settings``.

    Raises
    ------
    RunError
        The run has not finished.
    """
    analysis = analyse(adaptation)
    figures, left_out = {}, {}
    for name, kind in FIGURES.items():
        if not kind.where(analysis):
            continue
        lacking = [part for part in kind.needs if part in analysis.missing]
        if lacking:
            left_out[name] = analysis.missing[lacking[0]]
            continue
        with styled():
            figure = kind.draw(analysis)
            files = [save(figure, out / f"{name}.{suffix}") for suffix in formats]
        if name == "film":
            files.append(write_animation(analysis, out / f"{name}.webp"))
        figures[name] = {"title": kind.title, "files": [file.name for file in files]}
    record = {"figures": figures, "left_out": left_out, "settings": analysis.settings}
    write_json(out / "figures.json", record)
    return record
