"""A classifier as it sees images of the source, where it keeps the domains apart."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from acclimate.data.images import to_float
from acclimate.networks import measure_statistics
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.evaluation import EVALUATION_BATCH, BothDirections, Classifier
from acclimate.runs.kinds import Kind


def as_seen_from_source(adaptation: Adaptation, kind: Kind, pixels: Tensor) -> Classifier:
    """Return a kind of classifier for images of the source, or for the same redrawn.

    A run's classifier is one of target images: it sees them under the target's statistics of batch norm, through an
    encoder that has these. What it has learnt of the source it has learnt under the source's, if the two were kept
    apart; these are measured anew, as they are not kept.

    Parameters
    ----------
    adaptation
        The run.
    kind
        Which classifier.
    pixels
        Some such images, uint8 ``[N, C, H, W]``, to measure the statistics on.
    """
    if kind == "adapted" and adaptation.method_class.chooses:
        return as_seen_from_source(*adaptation.chosen(), pixels)
    classifier = adaptation.classifier(kind)
    if isinstance(classifier, BothDirections):
        classifier = classifier.forth
    encode = classifier.encode and adaptation.encoder(kind, "source")
    networks = classifier.networks
    if kind == "adapted" and adaptation.keeps_statistics_apart:
        seen = encode(pixels) if encode else pixels
        networks = [_under_statistics(network, seen, classifier) for network in networks]
    return Classifier(networks, classifier.classes, classifier.engine, encode)


def _under_statistics(network: nn.Module, seen: Tensor, classifier: Classifier) -> nn.Module:
    network, device = copy.deepcopy(network).eval(), classifier.engine.device
    if len(seen) > 1:  # one image has no deviation
        parts = seen.chunk(-(-len(seen) // EVALUATION_BATCH))
        measure_statistics(network, parts, lambda part: network(to_float(part.to(device))))
    return network
