"""Whether new images look like what a run was adapted to, and how right its classifier will be on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acclimate.data.sets import Images
from acclimate.pipeline.evidence import Evidence
from acclimate.reporting.samples import draw_rows
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.familiar import familiarity
from acclimate.runs.inference import read_files
from acclimate.runs.last_features import last_features
from acclimate.trust.familiarity import ALIEN
from acclimate.trust.forecast import forecast_accuracy

SHOWN = 12
"""Images of a row of the picture."""

DIFFERENT = 0.01
"""The p below which new images are called different from the target."""

NAMED = 3
"""Files that are named."""

COMPARED = 500
"""New images that are compared, at most."""


@dataclass(frozen=True)
class Check:
    """What a check found.

    Attributes
    ----------
    files
        The new images.
    unlikeness
        Share of pairs of a new image and a held-out one of the target in which the new one is the stranger, in [0, 1].
    p
        How likely it is that images of the target differ as much from others of it, in [0, 1].
    forecast
        The accuracy to expect on them.
    strangest
        The images' numbers, the strangest first.
    picture
        Where the picture lies.
    """

    files: list[Path]
    unlikeness: float
    p: float
    forecast: dict[str, Any]
    strangest: list[int]
    picture: Path

    @property
    def verdict(self) -> str:
        """What it means, in a sentence."""
        if self.unlikeness >= ALIEN:
            return "These images look like nothing that the classifier was adapted to: do not rely on it here."
        if self.p < DIFFERENT:
            return (
                "These images differ from what the classifier was adapted to, or have the classes in other shares:"
                " adapt to them, or look at some by hand."
            )
        return "These images look like what the classifier was adapted to."

    def lines(self) -> list[tuple[str, str]]:
        """Return what was found, a name and a value a line."""
        low, mean, high = (100 * self.forecast[name] for name in ("low", "mean", "high"))
        expected = f"{mean:.0f} % ({low:.0f} to {high:.0f} in nine of ten cases), if all classes are among them"
        return [
            ("stranger than the target's own images", f"{100 * self.unlikeness:.0f} % of the time (50 where alike)"),
            ("as different as this by chance", f"p = {self.p:.3f}"),
            ("accuracy to expect", "unknown" if self.unlikeness >= ALIEN else expected),
            ("the strangest", ", ".join(str(self.files[one]) for one in self.strangest[:NAMED])),
            ("picture", str(self.picture)),
        ]


def check(adaptation: Adaptation, paths: list[Path], picture: Path) -> Check:
    """Compare image files, or folders of them, with the target that a run was adapted to, and draw the strangest.

    Raises
    ------
    DataError
        No image is readable.
    """
    files, pixels = read_files(adaptation, paths)
    known, classifier = familiarity(adaptation), adaptation.classifier()
    compared = pixels[:COMPARED]
    features = last_features(classifier, compared)
    strange = known.distances(known.directions(features)).argsort(descending=True, stable=True)
    forecast = forecast_accuracy(Evidence(adaptation, Images(pixels)).of(adaptation.own_kind))
    target: Tensor = adaptation.data.target_train.pixels[:SHOWN]
    middle = strange[torch.linspace(0, len(strange) - 1, min(SHOWN, len(strange))).long()]
    rows = [
        ("target", target),
        ("strangest", compared[strange[:SHOWN]]),
        ("from strange to familiar", compared[middle]),
    ]
    draw_rows(rows, picture)
    return Check(files, known.unlikeness(features), known.test(features), forecast, strange.tolist(), picture)
