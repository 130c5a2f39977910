"""Settings of ADDA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import MethodConfig


@dataclass(frozen=True, kw_only=True)
class ADDAConfig(MethodConfig):
    """Settings of ADDA; the defaults are those of the authors' code for digits.

    Epochs, steps and the learning rate are the adversarial phase's.

    Parameters
    ----------
    source_steps
        Steps of the source phase.
    source_lr
        Adam's learning rate in the source phase.
    weight_decay
        L2 penalty on the weights in the source phase.
    beta1
        Adam's first decay rate in the adversarial phase.
    """

    source_steps: int = 10_000
    source_lr: float = 1e-3
    weight_decay: float = 2.5e-5
    steps: int = 10_000
    batch_size: int = 128
    lr: float = 2e-4
    beta1: float = 0.5

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {"source_steps": 1500, "steps": 1000},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("source_steps", self.source_steps >= 1, "at least 1")
        self._check("source_lr", self.source_lr > 0, "above 0")
        self._check("weight_decay", self.weight_decay >= 0, "0 or more")
        self._check("beta1", 0 <= self.beta1 < 1, "in [0, 1)")
