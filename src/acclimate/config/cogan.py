"""Settings of CoGAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config.base import MethodConfig


@dataclass(frozen=True, kw_only=True)
class CoGANConfig(MethodConfig):
    """Settings of CoGAN; the defaults are those of the authors' code for MNIST and USPS.

    Parameters
    ----------
    beta1
        Adam's first decay rate.
    weight_decay
        L2 penalty on the weights.
    latent
        Length of the noise.
    width
        Channels of the generators' last shared layer.
    class_weight
        Weight of the cross entropy on source images.
    feature_weight
        Weight of the squared distance of a drawn pair's features.
    same_start
        Start the two domains' first layers of the discriminators from the same weights.
    """

    steps: int = 10_000
    batch_size: int = 64
    lr: float = 2e-4
    beta1: float = 0.5
    weight_decay: float = 5e-4
    latent: int = 100
    width: int = 128
    class_weight: float = 10.0
    feature_weight: float = 0.01
    same_start: bool = False

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {"steps": 4000, "width": 32},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("latent", "width"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("weight_decay", "class_weight", "feature_weight"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        self._check("beta1", 0 <= self.beta1 < 1, "in [0, 1)")
