"""Settings of MCC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import LearningRateDecay, MethodConfig


@dataclass(frozen=True, kw_only=True)
class MCCConfig(MethodConfig):
    """Settings of MCC; the defaults are the paper's, with Adam.

    Parameters
    ----------
    temperature
        What logits are divided by before the confusion is measured.
    confusion_weight
        Weight of the confusion.
    lr_decay
        linear lets the learning rate fall to 0 over the second half.
    """

    epochs: int = 40
    batch_size: int = 36
    lr: float = 1e-3
    temperature: float = 2.5
    confusion_weight: float = 1.0
    lr_decay: LearningRateDecay = "linear"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {"steps": 3000, "batch_size": 64},
        "photos": {"steps": 1000, "batch_size": 96, "classifier": "bottleneck"},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._above_zero("temperature")
        self._at_least(0, "confusion_weight")
