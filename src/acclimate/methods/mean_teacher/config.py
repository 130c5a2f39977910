"""Settings of self-ensembling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import AugmentName, ClassifierName, MethodConfig


@dataclass(frozen=True, kw_only=True)
class MeanTeacherConfig(MethodConfig):
    """Settings of self-ensembling; the defaults are the paper's for digits.

    Parameters
    ----------
    consistency_weight
        Weight of what student and teacher differ by.
    threshold
        Confidence of the teacher from which it counts.
    balance_weight
        Weight of the classes' balance, within that of the consistency; 0 where the target's class shares differ.
    ema
        Decay of the teacher.
    """

    epochs: int = 300
    batch_size: int = 256
    lr: float = 1e-3
    classifier: ClassifierName = "conv7"
    augment: AugmentName = "symbols"
    consistency_weight: float = 3.0
    threshold: float = 0.968
    balance_weight: float = 0.005
    ema: float = 0.99

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {"steps": 2500, "batch_size": 64},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(0, "consistency_weight", "balance_weight")
        self._share("threshold")
        self._below_one("ema")
