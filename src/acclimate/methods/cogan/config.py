"""Settings of CoGAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import AugmentName, LearningRateDecay, MethodConfig

SHORT: Mapping[str, Any] = {
    "steps": 3000,
    "lr": 5e-4,
    "lr_decay": "linear",
    "width": 32,
    "class_augment": "light",
    "warmup_steps": 600,
}
"""What two cores do in half an hour."""


@dataclass(frozen=True, kw_only=True)
class CoGANConfig(MethodConfig):
    """Settings of CoGAN; the defaults are those of the authors' code for MNIST and USPS.

    Parameters
    ----------
    beta1
        Adam's first decay rate.
    lr_decay
        linear lets the learning rate fall to 0 over the second half.
    weight_decay
        L2 penalty on the weights.
    latent
        Length of the noise.
    width
        Channels of the generators' last shared layer.
    private_layers
        Layers of the generators, from the last of five, that each domain has of its own.
    class_weight
        Weight of the cross entropy on source images.
    class_augment
        Policy of the strong views from which the classes are learnt; none for the images that "real" is told from.
    feature_weight
        Weight of the squared distance of a drawn pair's features.
    warmup_steps
        Steps before all others in which the discriminators learn the source's classes alone, with the same first layer.
    """

    steps: int = 10_000
    batch_size: int = 64
    lr: float = 2e-4
    beta1: float = 0.5
    lr_decay: LearningRateDecay = "none"
    weight_decay: float = 5e-4
    latent: int = 100
    width: int = 128
    private_layers: int = 1
    class_weight: float = 10.0
    class_augment: AugmentName = "none"
    feature_weight: float = 0.01
    warmup_steps: int = 0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": SHORT,
        "full": {**SHORT, "steps": 10_000},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "latent", "width")
        self._check("private_layers", 1 <= self.private_layers <= 5, "from 1 to 5")
        self._at_least(0, "weight_decay", "class_weight", "feature_weight", "warmup_steps")
        self._below_one("beta1")
