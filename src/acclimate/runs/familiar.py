"""What a run's target looks like to its classifier, kept with the run: to tell images that are like it from others."""

from __future__ import annotations

import torch

from acclimate.runs.adaptation import Adaptation
from acclimate.runs.last_features import last_features
from acclimate.training.state import load_tree, save_tree
from acclimate.trust.familiarity import Familiarity

KNOWN, HELD_OUT = 1_000, 500
"""Target images that are compared with, at most: from its training, and held out from it."""

FEW = 50
"""Held-out images below which some training images, which are then not among the known, are taken instead."""


def familiarity(adaptation: Adaptation) -> Familiarity:
    """Return what the target looks like to a run's classifier, from the run where it is there, else made and kept."""
    path = adaptation.run.path / "familiar.safetensors"
    if not path.exists():
        train, held_out = adaptation.data.target_train.pixels, adaptation.target.images("val").pixels[:HELD_OUT]
        known = train[:KNOWN]
        if len(held_out) < FEW:
            apart = min(HELD_OUT, len(known) // 3)
            held_out, known = torch.cat([held_out, known[:apart]]), known[apart:]
        classifier = adaptation.classifier()
        found = Familiarity.of(*(last_features(classifier, images) for images in (known, held_out)))
        save_tree(path, vars(found))
    return Familiarity(**load_tree(path))
