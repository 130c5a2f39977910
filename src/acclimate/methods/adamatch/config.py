"""Settings of AdaMatch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import AugmentName, ClassifierName, MethodConfig


@dataclass(frozen=True, kw_only=True)
class AdaMatchConfig(MethodConfig):
    """Settings of AdaMatch; the defaults are the paper's, made for a GPU.

    Parameters
    ----------
    target_share
        Target images a step, as a multiple of the source's.
    weight_decay
        L2 penalty on the weights of convolutions and of the last layer.
    ema
        Decay of the running average of the weights, which is the result.
    threshold
        Confidence, as a share of the mean confidence on weak source views, from which a pseudo-label counts.
    memory
        Batches that the running means of predictions stretch over, about.
    """

    steps: int = 131_072
    lr: float = 0.03
    classifier: ClassifierName = "wrn-28-2"
    augment: AugmentName = "symbols"
    target_share: int = 3
    weight_decay: float = 1e-3
    ema: float = 0.999
    threshold: float = 0.9
    memory: int = 128

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {"steps": 2500, "classifier": "conv7", "target_share": 1, "weight_decay": 5e-4, "ema": 0.998},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "target_share", "memory")
        self._at_least(0, "weight_decay")
        self._below_one("ema")
        self._share("threshold")
