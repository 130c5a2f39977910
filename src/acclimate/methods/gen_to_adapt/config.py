"""Settings of GenToAdapt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import MethodConfig


@dataclass(frozen=True, kw_only=True)
class GenToAdaptConfig(MethodConfig):
    """Settings of GenToAdapt; the defaults are those of the authors' code for digits.

    Parameters
    ----------
    beta1
        Adam's first decay rate.
    lr_decay
        The learning rate of all networks but the generator is divided by 1 + this times the step.
    noise
        Length of the generator's noise.
    width
        Channels of the generator's last hidden layer and the discriminator's first.
    adversarial_weight
        Weight of the discriminator's verdicts in the objective of the features (alpha).
    target_weight
        Weight of that on target images relative to that on source images (beta / alpha).
    """

    epochs: int = 100
    batch_size: int = 100
    lr: float = 5e-4
    beta1: float = 0.8
    lr_decay: float = 1e-4
    noise: int = 512
    width: int = 64
    adversarial_weight: float = 0.1
    target_weight: float = 0.3

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {"steps": 2000, "batch_size": 64, "width": 32},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "noise", "width")
        self._at_least(0, "lr_decay", "adversarial_weight", "target_weight")
        self._below_one("beta1")
