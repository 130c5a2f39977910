"""Settings of self-training without a translator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import SELF_TRAINED, STAGE_ON_PHOTOS, AugmentName, ClassifierName, ClassifierStage, StageConfig


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
        "fast": {**SELF_TRAINED, "classifier_images": 0, "stage_steps": 2400},
        "best": {},
        "photos": STAGE_ON_PHOTOS,
        "demo": {"stage_steps": 700, "ramp_start": 100, "ramp_end": 200},
    }
