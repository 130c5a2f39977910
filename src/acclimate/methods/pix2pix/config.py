"""Settings of pix2pix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import LearningRateDecay, TranslationConfig
from acclimate.methods.unet_config import UNetConfig


@dataclass(frozen=True, kw_only=True)
class Pix2PixConfig(UNetConfig, TranslationConfig):
    """Settings of pix2pix; the defaults are the reference code's, but for the batch, which is CycleGAN's here.

    Parameters
    ----------
    reconstruction_weight
        Weight of the L1 distance to the paired image (lambda).
    """

    epochs: int = 200
    lr_decay: LearningRateDecay = "linear"
    width: int = 64
    reconstruction_weight: float = 100.0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {
            "steps": 4000,
            "width": 16,
            "lr": 4e-4,
            "ema": 0.995,
            "snapshots": 10,
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(0, "reconstruction_weight")
