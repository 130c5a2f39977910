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
    discriminator_floor
        Accuracy of the discriminator on a batch up to which the target encoder rests; 0 never rests.
    """

    source_steps: int = 10_000
    source_lr: float = 1e-3
    weight_decay: float = 2.5e-5
    steps: int = 10_000
    batch_size: int = 128
    lr: float = 2e-4
    beta1: float = 0.5
    discriminator_floor: float = 0.0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {"source_steps": 1500, "steps": 1000},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "source_steps")
        self._above_zero("source_lr")
        self._at_least(0, "weight_decay")
        self._below_one("beta1", "discriminator_floor")
