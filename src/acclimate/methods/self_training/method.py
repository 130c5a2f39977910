"""Self-training alone."""

from __future__ import annotations

from acclimate.methods.base import Method


class SelfTraining(Method):
    """The classifier stage on the source as it is, learning on from the unlabelled target; nothing is redrawn.

    What it minimises is said in :class:`acclimate.pipeline.self_training.SelfTraining`.
    """

    name = "self-training"
    adapts = takes_features = True
