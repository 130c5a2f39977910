"""What a run's target looks like to its classifier, kept with the run: to tell images that are like it from others."""

from __future__ import annotations

import torch
from torch import Tensor

from acclimate.errors import AcclimateError
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.last_features import last_features
from acclimate.training.state import load_tree, save_tree
from acclimate.trust.familiarity import Familiarity

KNOWN, HELD_OUT = 1_000, 500
"""Target images that are compared with, at most: from its training, and held out from it."""

FEW = 50
"""Held-out images below which some training images, which are then not among the known, are taken, too."""


def target_images(adaptation: Adaptation, known: int, held_out: int) -> tuple[Tensor, Tensor]:
    """Return unlabelled target images, uint8 ``[N, C, H, W]``: of its training, and others, which no training has seen.

    At most ``known`` and ``held_out``; where there are too few of the others, some of the training are among them.
    """
    train, others = adaptation.data.target_train.pixels[:known], adaptation.target.images("val").pixels[:held_out]
    if len(others) < FEW:
        apart = min(held_out, len(train) // 3)
        others, train = torch.cat([others, train[:apart]]), train[apart:]
    return train, others


def familiarity(adaptation: Adaptation) -> Familiarity:
    """Return what the target looks like to a run's classifier, from the run where it is there, else made and kept."""
    path = adaptation.run.path / "familiar.safetensors"
    if not path.exists():
        classifier, both = adaptation.classifier(), target_images(adaptation, KNOWN, HELD_OUT)
        found = Familiarity.of(*(last_features(classifier, images) for images in both))
        save_tree(path, vars(found))
    return Familiarity(**load_tree(path))


def familiarity_if_known(adaptation: Adaptation) -> Familiarity | None:
    """Return what the target looks like, if the run is about one and has it, or its images are still there."""
    if adaptation.own_kind != "adapted":
        return None
    try:
        return familiarity(adaptation)
    except AcclimateError:
        return None
