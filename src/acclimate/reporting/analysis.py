"""What figures and report show of a finished run: computed once, kept with the run.

Nothing here trains or chooses. Target labels are read as the evaluation reads them, after all training.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from acclimate.data.domains.base import digest
from acclimate.errors import RunError
from acclimate.reporting.curves import Curves
from acclimate.reporting.parts import Parts, film_steps
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.kinds import KINDS
from acclimate.training.state import load_tree, save_tree

VERSION = 3
"""Grows when what is computed changes: analyses of older versions are computed anew."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What can be seen of a finished run. Images are uint8 ``[N, C, H, W]``; a part that makes no sense is None.

    Attributes
    ----------
    method, kind
        The method, and the kind of classifier that it is about, as in :data:`acclimate.results.KINDS`.
    source_name, target_name, classes
        The domains and their classes.
    source, source_labels
        Source validation images, at most 500, and their labels.
    target, target_labels
        Target test images, at most 500, and their labels; training images and -1 where there are none.
    target_predicted, target_confidence
        What the run's classifier sees in them, and the probability that it gives that.
    translated, translated_predicted, translated_confidence
        The source images in the target's style, and what the classifier sees in these.
    nearest
        The target training images nearest to the first translated ones: by ``pixels`` and by ``features``.
    cycles
        Source images ``x``, ``G(x)``, ``F(G(x))``, target images ``y``, ``F(y)``, ``G(F(y))``.
    repeats
        The first source images translated several times, ``[images, times, C, H, W]``.
    film, film_steps
        The first source images translated by snapshots, ``[snapshots, images, C, H, W]``, and the snapshots' steps.
    flips, judge
        How often the ``judge`` sees class j in a translated image of class i, int64 ``[classes, classes]``.
    pixel_map
        t-SNE of pixels in [0, 1], ``[N, 2]``: source, translated, target.
    before_map, after_map
        The same of the last convolutional features: source and target in the source-only classifier; source, translated
        where the method translates, and target in the method's.
    shares
        Class shares, float64 ``[classes]``: in the ``source``'s labels, in what the classifier gives target training
        images (``given``), and in the labels of the target's test images (``true``) where it has any.
    confusion
        By kind of classifier how often it takes a target test image of class i for class j, int64
        ``[classes, classes]``, summed over its trainings.
    mistakes
        The test images that the classifier is most sure about and wrong: ``images``, ``labels``, ``predicted``,
        ``confidence``.
    curves
        What was logged.
    settings
        Sample sizes, seeds and t-SNE's parameters, for people.
    missing
        Why a part is None, by the part's name.
    """

    method: str
    kind: str
    source_name: str
    target_name: str
    classes: tuple[str, ...]
    source: Tensor
    source_labels: Tensor
    target: Tensor
    target_labels: Tensor
    target_predicted: Tensor
    target_confidence: Tensor
    curves: Curves
    settings: dict[str, Any]
    translated: Tensor | None = None
    translated_predicted: Tensor | None = None
    translated_confidence: Tensor | None = None
    nearest: dict[str, Tensor] | None = None
    cycles: dict[str, Tensor] | None = None
    repeats: Tensor | None = None
    film: Tensor | None = None
    film_steps: tuple[int, ...] = ()
    flips: Tensor | None = None
    judge: str = ""
    pixel_map: Tensor | None = None
    before_map: Tensor | None = None
    after_map: Tensor | None = None
    shares: dict[str, Tensor] | None = None
    confusion: dict[str, Tensor] | None = None
    mistakes: dict[str, Tensor] | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def has_labels(self) -> bool:
        """Whether the target's labels are known."""
        return self.confusion is not None

    @property
    def method_curves(self) -> Curves:
        """The curves of the method's own phases."""
        return {phase: curves for phase, curves in self.curves.items() if phase.rpartition("-")[0] not in KINDS}

    @property
    def classifier_curves(self) -> Curves:
        """The curves of the first training of each kind of classifier."""
        return {phase: self.curves[phase] for kind in KINDS if (phase := f"{kind}-0") in self.curves}


def analyse(adaptation: Adaptation) -> Analysis:
    """Return a finished run's analysis, from its folder of figures where it lies there and still holds.

    Raises
    ------
    RunError
        The run has not finished.
    """
    _ = adaptation.run.result
    path, key = adaptation.run.path / "figures" / "analysis.safetensors", _key(adaptation)
    if path.exists():
        try:
            stored = load_tree(path)
        except RunError:  # damaged: made anew
            stored = {"key": None}
        if stored["key"] == key:
            return Analysis(**stored["analysis"])
    analysis = Analysis(**Parts(adaptation).compute())
    save_tree(path, {"key": key, "analysis": vars(analysis)})
    return analysis


def _key(adaptation: Adaptation) -> str:
    """Identify everything that an analysis depends on: data, settings, weights, logs."""
    run, snapshots = adaptation.run, adaptation.run.snapshots()
    files = [run.path / "metrics.jsonl", *sorted((run.path / "models").glob("*.safetensors"))]
    files += [snapshots[step] for step in film_steps(adaptation)]
    records = adaptation.records.values()
    data = [record.md5 for record in records] or [
        str(domain.manifest()["md5"]) for domain in (adaptation.source, adaptation.target)
    ]
    there = (_checksum(file) for file in files if file.exists())  # a run whose classifiers were all shared logs nothing
    return digest(VERSION, sorted(run.config["config"].items()), *data, *there)


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
