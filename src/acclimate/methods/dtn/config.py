"""Settings of the domain transfer network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import AugmentName, LearningRateDecay, TranslationConfig


@dataclass(frozen=True, kw_only=True)
class DTNConfig(TranslationConfig):
    """Settings of the domain transfer network; the defaults are the paper's for digits, else the reference code's.

    Epochs and steps are the second phase's.

    Parameters
    ----------
    encoder_steps
        Steps of the first phase, in which f is trained on the source's labels.
    encoder_augment
        Policy of the strong views that f learns from: what it reads wrong in the target is drawn wrong.
    beta1
        Adam's first decay rate.
    lr_decay
        linear lets the second phase's learning rate fall to 0 over its second half.
    width
        Channels of f's first layer; g and the discriminator have twice as many.
    feature_size
        Length of f's vectors.
    constancy_weight
        Weight of f-constancy (alpha).
    identity_weight
        Weight of the distance between a target image and what is drawn from it (beta).
    smoothing_weight
        Weight of the total variation of drawn images (gamma); the paper smooths faces, not digits.
    """

    encoder_steps: int = 20_000
    encoder_augment: AugmentName = "none"
    steps: int = 20_000
    batch_size: int = 100
    lr: float = 3e-4
    beta1: float = 0.9
    lr_decay: LearningRateDecay = "none"
    width: int = 64
    feature_size: int = 128
    constancy_weight: float = 15.0
    identity_weight: float = 15.0
    smoothing_weight: float = 0.0
    snapshots: int = 50

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {
            "encoder_steps": 1000,
            "encoder_augment": "symbols",
            "steps": 4000,
            "lr": 1e-3,
            "beta1": 0.5,
            "lr_decay": "linear",
            "batch_size": 64,
            "width": 32,
            "snapshots": 10,
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "encoder_steps", "width", "feature_size")
        self._at_least(0, "constancy_weight", "identity_weight", "smoothing_weight")
        self._below_one("beta1")
