"""Settings of self-training without a translator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import SELF_TRAINED, AugmentName, ClassifierName, ClassifierStage, StageConfig


@dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig(StageConfig):
    """Settings of self-training without a translator."""

    classifier_stage: ClassifierStage = "self-training"
    classifier: ClassifierName = "conv7"
    augment: AugmentName = "symbols"
    classifier_batch_size: int = 64
    classifier_lr: float = 2e-3
    stage_steps: int = 4000
    repeats: int = 1

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {**SELF_TRAINED, "classifier_images": 0, "stage_steps": 1500},
        "best": {},
        "photos": {
            "stage_steps": 1000,
            "target_batch_size": 192,
            "ramp_start": 150,
            "ramp_end": 450,
            "teacher_decay": 0.99,
            "threshold": 0.8,
            "align": False,
            "infomax_weight": 0.5,
            "stage_weight_decay": 1e-3,
        },
        "demo": {"stage_steps": 700, "ramp_start": 100, "ramp_end": 200},
    }
