"""What a run shows without target labels of how right its classifiers are: the evidence that a forecast weighs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from statistics import fmean

import torch
from torch import Tensor

from acclimate.data.augmentation import POLICIES
from acclimate.data.images import to_float, to_uint8
from acclimate.data.sets import Images, LabelledImages
from acclimate.pipeline.translated import validation_images
from acclimate.reporting.counts import count_pairs
from acclimate.runs.adaptation import Adaptation, DomainName
from acclimate.runs.evaluation import Classifier
from acclimate.runs.kinds import Kind
from acclimate.runs.last_features import last_features
from acclimate.runs.source_view import as_seen_from_source
from acclimate.training.engine import seed_for
from acclimate.trust import estimators, findings
from acclimate.trust.scores import agreement, effective_classes

SAMPLE = 2_000
"""Images of each domain that evidence is gathered from, at most."""

VIEWS = 3
"""Times that target images are changed, and asked for again."""

PART = 256
"""Images that are changed at once."""

FEW = 50
"""Held-out target images below which training images are taken, too."""


def held_out(adaptation: Adaptation) -> Images:
    """Return unlabelled target images that no training has seen; where they are too few, training images as well."""
    val = adaptation.target.images("val")
    if len(val) >= FEW:
        return val.first(SAMPLE)
    train = adaptation.data.target_train.first(SAMPLE)
    return Images(torch.cat([val.pixels, train.pixels])) if len(val) else train


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
        self.target = held_out(adaptation) if target is None else target
        self.source = adaptation.data.source_train.first(SAMPLE)
        classes, labels = len(adaptation.task.classes), adaptation.data.source_train.labels
        self.prior = torch.bincount(labels, minlength=classes).double() / len(labels)
        self.reference: Kind = "source-only"
        if "source-only-augmented" in adaptation.trained_kinds():
            self.reference = "source-only-augmented"
        self.unadapted = adaptation.classifier(self.reference)
        self.without = self.unadapted.each_probabilities(self.target.pixels)
        self.features = self._unbiased("source", self.source.pixels), self._unbiased("target", self.target.pixels)

    def _unbiased(self, of: DomainName, pixels: Tensor) -> Tensor:
        """Return features of a domain's images by a network that does not know what the target was given."""
        encode = self.adaptation.encoder("adapted", of)
        return encode(pixels) if encode else last_features(self.unadapted, pixels)

    def of(self, kind: Kind) -> dict[str, float]:
        """Return the evidence on one kind of classifier, by name; each is explained in :mod:`~.trust.estimators`."""
        adaptation, target = self.adaptation, self.target.pixels
        classifier = adaptation.classifier(kind)
        val = validation_images(adaptation, kind).first(SAMPLE)
        from_source = as_seen_from_source(adaptation, kind, val.pixels)
        on_val, on_target = from_source.each_probabilities(val.pixels), classifier.each_probabilities(target)
        joint = torch.stack(on_target).mean(0)
        given, (x, t) = joint.argmax(1), self.features
        shares = estimators.class_shares(joint)
        found: dict[str, float] = {
            "adapted": kind == "adapted",
            "val_accuracy": fmean(estimators.accuracy(one, val.labels) for one in on_val),
            "confidence": estimators.confidence(joint),
            "nuclear_norm": estimators.nuclear_norm(joint),
            "transport": estimators.transport_accuracy(joint, self.prior),
            "effective_classes": effective_classes(shares) / effective_classes(self.prior),
            "prior_distance": estimators.total_variation(shares, self.prior),
            "neighbours": estimators.neighbour_agreement(t, given),
            "reverse": estimators.probe_accuracy(t, given, x, self.source.labels),
            "aligned": estimators.probe_accuracy(x, self.source.labels, t, given),
            "stability": fmean(agreement(joint, self._seen_again(classifier, view)) for view in range(VIEWS)),
            "unadapted": fmean(agreement(*pair) for pair in product(on_target, self.without)),
            **self._on_val(val, on_val, on_target),
        }
        if len(on_target) > 1:  # told, not weighed: most runs have one training
            found["trainings"] = fmean(agreement(*pair) for pair in combinations(on_target, 2))
        return {name: round(value, 6) for name, value in found.items()}

    def findings(self, kind: Kind) -> list[findings.Finding]:
        """Return what looks wrong, or other than in the source, in what a kind of classifier says."""
        adaptation, classes = self.adaptation, self.adaptation.task.classes
        classifier = adaptation.classifier(kind)
        joint = classifier.probabilities(self.target.pixels)
        found = findings.collapse(joint, self.prior, classes)
        if not found:  # whose shares would only be those of the collapse
            found += findings.shift(joint, self.prior, classes)
        if kind == "adapted" and adaptation.method_class.translates and not adaptation.method_decides:
            redrawn = validation_images(adaptation, kind).first(SAMPLE)
            seen = classifier.probabilities(redrawn.pixels).argmax(1)
            found += findings.flips(count_pairs(redrawn.labels, seen, len(classes)), classes)
        return found

    def _on_val(self, val: LabelledImages, on_val: Sequence[Tensor], on_target: Sequence[Tensor]) -> dict[str, float]:
        """Return what compares a classifier on the target with itself on images with labels."""
        pairs = list(zip(on_val, on_target[: len(on_val)], strict=False))
        return {
            "difference": fmean(estimators.difference_of_confidences(one, val.labels, two) for one, two in pairs),
            "threshold": fmean(estimators.average_thresholded_confidence(one, val.labels, two) for one, two in pairs),
            "disagreement": fmean(estimators.disagreement_bound(one, val.labels, two) for one, two in pairs),
            "transport_threshold": fmean(
                estimators.thresholded_transport_accuracy(one, val.labels, two, self.prior) for one, two in pairs
            ),
        }

    def _seen_again(self, classifier: Classifier, number: int) -> Tensor:
        """Return the probabilities of the target images changed a little, in every run alike."""
        view = POLICIES["photos" if self.adaptation.encoders else "light"].of_target().strong
        with self.adaptation.engine.seeded(seed_for(self.adaptation.config.seed, "evidence", number)):
            parts = [to_uint8(view(to_float(part))) for part in self.target.pixels.split(PART)]
        return classifier.probabilities(torch.cat(parts))
