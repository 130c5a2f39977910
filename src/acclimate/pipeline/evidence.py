"""What a run shows without target labels of how right its classifiers are: the evidence that a forecast weighs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import combinations, product
from statistics import fmean

import torch
from torch import Tensor

from acclimate.data.augmentation import POLICIES
from acclimate.data.images import to_float, to_uint8
from acclimate.data.sets import Images, LabelledImages
from acclimate.pipeline.translated import validation_images
from acclimate.reporting.counts import count_pairs
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.familiar import target_images
from acclimate.runs.kept import DomainName
from acclimate.runs.kinds import Kind
from acclimate.runs.last_features import last_features
from acclimate.runs.source_view import as_seen_from_source
from acclimate.training.engine import seed_for
from acclimate.trust import estimators, findings
from acclimate.trust.choice import density_ratios
from acclimate.trust.forecast import EVIDENCE
from acclimate.trust.scores import agreement, effective_classes

SAMPLE = 2_000
"""Images of each domain that evidence is gathered from, at most."""

VIEWS = 3
"""Times that target images are changed, and asked for again."""

OF_A_COLLAPSE = ("effective_classes", "prior_distance")
"""What a forecast looks at in any case."""

PART = 256
"""Images that are changed at once."""


class Evidence:
    """Gathers a run's evidence; what several kinds of classifiers need is computed once.

    Parameters
    ----------
    adaptation
        A run with its classifiers trained.
    target
        Unlabelled images that the evidence is about; None for held-out ones of the target.
    """

    def __init__(self, adaptation: Adaptation, target: Images | None = None) -> None:
        self.adaptation = adaptation
        self.target = target.pixels if target else target_images(adaptation, SAMPLE, SAMPLE)[1]
        self.source = adaptation.data.source_train.first(SAMPLE)
        classes, labels = len(adaptation.task.classes), adaptation.data.source_train.labels
        self.prior = torch.bincount(labels, minlength=classes).double() / len(labels)
        augmented = "source-only-augmented" in adaptation.trained_kinds()
        self.reference: Kind = "source-only-augmented" if augmented else "source-only"
        self._seen: dict[Kind, list[Tensor]] = {}

    def seen(self, kind: Kind) -> list[Tensor]:
        """Return the target images' probabilities by each training of one kind of classifier, float ``[N, K]``."""
        if kind not in self._seen:
            self._seen[kind] = self.adaptation.classifier(kind).each_probabilities(self.target)
        return self._seen[kind]

    def together(self, kind: Kind) -> Tensor:
        """Return the mean of these."""
        return torch.stack(self.seen(kind)).mean(0)

    @cached_property
    def _features(self) -> tuple[Tensor, Tensor]:
        """Features of both domains' images by a network that does not know what the target was given."""
        return self._unbiased("source", self.source.pixels), self._unbiased("target", self.target)

    def _unbiased(self, of: DomainName, pixels: Tensor) -> Tensor:
        encode = self.adaptation.encoder("adapted", of)
        return encode(pixels) if encode else last_features(self.adaptation.classifier(self.reference), pixels)

    def density_ratios(self, pixels: Tensor) -> Tensor:
        """Return how much likelier some source images are in the target: :func:`~.trust.choice.density_ratios`."""
        return density_ratios(self._unbiased("source", pixels), self._features[1])

    def of(self, kind: Kind, *, everything: bool = False) -> dict[str, float]:
        """Return the evidence on one kind of classifier, by name.

        Each piece is explained in :mod:`~.trust.estimators`. What a forecast weighs; or all that there is.
        """
        joint, labels, without = self.together(kind), self.source.labels, self.seen(self.reference)
        given, shares = joint.argmax(1), estimators.class_shares(joint)
        pieces: dict[str, Callable[[], float]] = {
            "confidence": lambda: estimators.confidence(joint),
            "nuclear_norm": lambda: estimators.nuclear_norm(joint),
            "transport": lambda: estimators.transport_accuracy(joint, self.prior),
            "effective_classes": lambda: effective_classes(shares) / effective_classes(self.prior),
            "prior_distance": lambda: estimators.total_variation(shares, self.prior),
            "neighbours": lambda: estimators.neighbour_agreement(self._features[1], given),
            "reverse": lambda: estimators.probe_accuracy(self._features[1], given, self._features[0], labels),
            "aligned": lambda: estimators.probe_accuracy(self._features[0], labels, self._features[1], given),
            "stability": lambda: fmean(agreement(joint, self._seen_again(kind, view)) for view in range(VIEWS)),
            "unadapted": lambda: fmean(agreement(*pair) for pair in product(self.seen(kind), without)),
        }
        found: dict[str, float] = {"adapted": kind == "adapted"}
        names = pieces if everything else (*EVIDENCE["adapted" if found["adapted"] else "unadapted"], *OF_A_COLLAPSE)
        found |= {name: pieces[name]() for name in names}
        if everything:
            found |= self._by_validation(kind)
        return {name: round(value, 6) for name, value in found.items()}

    def findings(self, kind: Kind) -> list[findings.Finding]:
        """Return what looks wrong, or other than in the source, in what a kind of classifier says."""
        adaptation, classes = self.adaptation, self.adaptation.task.classes
        joint = self.together(kind)
        found = findings.collapse(joint, self.prior, classes)
        if not found:  # whose shares would only be those of the collapse
            found += findings.shift(joint, self.prior, classes)
        if kind == "adapted" and adaptation.method_class.translates:
            redrawn = self._redrawn()
            seen = adaptation.classifier(kind).probabilities(redrawn.pixels).argmax(1)
            found += findings.flips(count_pairs(redrawn.labels, seen, len(classes)), classes)
        return found

    def _redrawn(self) -> LabelledImages:
        """Return redrawn source images with labels, none of the training's."""
        if not self.adaptation.method_decides:
            return validation_images(self.adaptation, "adapted").first(SAMPLE)
        val, seed = self.adaptation.data.source_val.first(SAMPLE), self.adaptation.config.seed
        pixels = self.adaptation.translator().all(val.pixels, seed_for(seed, "evidence", "redrawn"))
        return LabelledImages(pixels, val.labels)

    def _by_validation(self, kind: Kind) -> dict[str, float]:
        """Return what compares a classifier on the target with itself on images with labels; agreement of trainings."""
        val = validation_images(self.adaptation, kind).first(SAMPLE)
        on_val = as_seen_from_source(self.adaptation, kind, val.pixels).each_probabilities(val.pixels)
        pairs = list(zip(on_val, self.seen(kind), strict=False))  # both directions together are one
        by: dict[str, Callable[[Tensor, Tensor], float]] = {
            "val_accuracy": lambda one, _: estimators.accuracy(one, val.labels),
            "difference": lambda one, two: estimators.difference_of_confidences(one, val.labels, two),
            "threshold": lambda one, two: estimators.average_thresholded_confidence(one, val.labels, two),
            "disagreement": lambda one, two: estimators.disagreement_bound(one, val.labels, two),
            "transport_threshold": lambda one, two: estimators.thresholded_transport_accuracy(
                one, val.labels, two, self.prior
            ),
        }
        found = {name: fmean(estimate(*pair) for pair in pairs) for name, estimate in by.items()}
        if len(pairs) > 1:
            found["trainings"] = fmean(agreement(*pair) for pair in combinations(self.seen(kind), 2))
        return found

    def _seen_again(self, kind: Kind, number: int) -> Tensor:
        """Return the probabilities of the target images changed a little, in every run alike."""
        view = POLICIES["photos" if self.adaptation.encoders else "light"].of_target().strong
        with self.adaptation.engine.seeded(seed_for(self.adaptation.config.seed, "evidence", number)):
            parts = [to_uint8(view(to_float(part))) for part in self.target.split(PART)]
        return self.adaptation.classifier(kind).uncached().probabilities(torch.cat(parts))
