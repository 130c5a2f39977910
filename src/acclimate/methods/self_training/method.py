"""Self-training alone."""

from __future__ import annotations

from acclimate.methods.base import Method


class SelfTraining(Method):
    """The classifier stage on the source as it is, learning on from the unlabelled target; nothing is redrawn.

    What it minimises is said in :class:`acclimate.pipeline.self_training.SelfTraining`.

    When it fails: where the augmented source classifier is near chance on the target, its labels are too; the training
    then steps back and says so. It gives every class to somebody: a target that lacks classes gets them all the same.
    """

    name = "self-training"
    adapts = takes_features = True
