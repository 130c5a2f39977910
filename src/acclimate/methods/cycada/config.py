"""Settings of CyCADA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import AugmentName, StageConfig
from acclimate.methods.cyclegan.config import CycleConfig

SHORT: Mapping[str, Any] = {
    "steps": 4000,
    "batch_size": 32,
    "width": 16,
    "discriminator_width": 32,
    "discriminator_ceiling": 0.9,
    "lr": 4e-4,
    "lr_decay": "linear",
    "ema": 0.995,
    "pool": 0,
    "cycle_weight": 8.0,
    "cycle_share": 0.5,
    "identity_weight": 0.8,
    "identity_share": 0.25,
    "training_noise": 0.3,
    "source_augment": "symbols",
    "sure": 0.9,
    "classifier_steps": 1000,
    "task_lr": 1e-3,
    "feature_steps": 500,
    "feature_batch_size": 64,
    "feature_lr": 1e-4,
    "feature_floor": 0.0,
    "snapshots": 10,
}
"""CyCADA in minutes: CycleGAN's ``short`` with a judge that is heard where it is sure."""


@dataclass(frozen=True, kw_only=True)
class CyCADAConfig(StageConfig, CycleConfig):
    """Settings of CyCADA; the defaults are those of the authors' code for digits.

    Epochs, steps, batch size and learning rate are the translator's.

    Parameters
    ----------
    semantic_weight
        Weight of the semantic consistency.
    source_augment
        Policy of the strong views that the source classifier learns from: what it cannot read in the target, the
        generators would avoid to draw.
    sure
        Probability from which its word on an image counts in the semantic consistency.
    classifier_steps
        Steps of the source classifier, and of the classifier on redrawn source images.
    feature_steps
        Steps of the feature-level phase.
    feature_batch_size
        Images a domain in a step of these three.
    task_lr
        Adam's learning rate for the two classifiers.
    feature_lr
        Adam's learning rate in the feature-level phase.
    feature_beta1
        Adam's first decay rate there.
    feature_floor
        Accuracy of the discriminator on a batch there up to which the target's copy rests; 0 never rests. What it would
        learn from a discriminator that guesses is to wander off.
    """

    epochs: int = 75
    batch_size: int = 100
    cycle_weight: float = 1.0
    identity_weight: float = 0.0
    pool: int = 50
    semantic_weight: float = 1.0
    source_augment: AugmentName = "none"
    sure: float = 0.0
    classifier_steps: int = 39_000
    feature_steps: int = 10_000
    feature_batch_size: int = 128
    task_lr: float = 1e-4
    feature_lr: float = 1e-5
    feature_beta1: float = 0.9
    feature_floor: float = 0.6

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": SHORT,
        "full": {
            **SHORT,
            "steps": 2000,
            "classifier": "conv7",
            "feature_steps": 2000,
            "feature_lr": 1e-5,
            "feature_floor": 0.6,
        },
    }

    formerly: ClassVar[Mapping[str, Any]] = {"feature_floor": 0.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "classifier_steps", "feature_steps", "feature_batch_size")
        self._above_zero("task_lr", "feature_lr")
        self._at_least(0, "semantic_weight")
        self._share("sure")
        self._below_one("feature_beta1", "feature_floor")
