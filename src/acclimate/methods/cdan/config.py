"""Settings of CDAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import LearningRateDecay, MethodConfig


@dataclass(frozen=True, kw_only=True)
class CDANConfig(MethodConfig):
    """Settings of CDAN; the defaults are the paper's, with Adam.

    Parameters
    ----------
    hidden
        Width of the domain classifier.
    most
        Largest product of features and classes that is multiplied out; above it, random projections of both are.
    entropy
        Weigh images by how sure the classifier is (CDAN+E).
    reversal
        What lambda grows to.
    lr_decay
        linear lets the learning rate fall to 0 over the second half.
    """

    epochs: int = 50
    batch_size: int = 36
    lr: float = 1e-3
    hidden: int = 1024
    most: int = 4096
    entropy: bool = True
    reversal: float = 1.0
    lr_decay: LearningRateDecay = "linear"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {"steps": 3000, "batch_size": 64, "hidden": 256, "reversal": 0.3},
        "photos": {"steps": 1000, "batch_size": 96, "classifier": "bottleneck"},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._features_adapt()
        self._at_least(1, "hidden", "most")
        self._at_least(0, "reversal")
