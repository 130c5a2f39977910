"""Settings of PixelDA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import MethodConfig, StageConfig

SHORT: Mapping[str, Any] = {
    "steps": 4000,
    "lr_decay_steps": 160,
    "width": 32,
    "blocks": 4,
    "discriminator_width": 32,
    "task_weight": 0.05,
    "private_layer": False,
    "warmup_steps": 300,
    "hold": 0.5,
    "snapshots": 10,
}
"""PixelDA in minutes on two CPU cores."""


@dataclass(frozen=True, kw_only=True)
class PixelDAConfig(StageConfig, MethodConfig):
    """Settings of PixelDA; the defaults are the paper's for mnist to mnist-m.

    Parameters
    ----------
    beta1
        Adam's first decay rate.
    lr_decay_rate
        Factor of the learning rate after every so many steps.
    lr_decay_steps
        How many.
    weight_decay
        Adam's L2 penalty.
    gradient_clip
        Norm above which a gradient is scaled down to it.
    width
        Channels of the generator's layers.
    blocks
        Residual blocks of the generator.
    noise_size
        Length of the generator's noise vectors.
    discriminator_width
        Channels of the discriminator's first layer.
    discriminator_noise
        Standard deviation of the noise after each of the discriminator's layers.
    discriminator_dropout
        Probability of dropout there.
    discriminator_weight
        Weight of the discriminator's loss beside the task's (alpha).
    adversarial_weight
        Weight of the adversarial loss in the generator's objective.
    task_weight
        Weight of the task's loss in the generator's objective (beta).
    private_layer
        A first convolution of the classifier for source images alone. Without it, the source holds the classifier more
        tightly to what a redrawn digit must look like.
    warmup_steps
        Steps before all others in which the generator learns to copy its input, and the classifier the classes.
    hold
        Share of the training, at its start, in which the classifier learns from source images alone. The generator must
        then draw what reads as the source's classes; otherwise it may swap them, as the classifier learns to read
        whatever it draws.
    """

    steps: int = 500_000
    batch_size: int = 32
    lr: float = 1e-3
    beta1: float = 0.5
    lr_decay_rate: float = 0.95
    lr_decay_steps: int = 20_000
    weight_decay: float = 1e-5
    gradient_clip: float = 5.0
    width: int = 64
    blocks: int = 6
    noise_size: int = 10
    discriminator_width: int = 64
    discriminator_noise: float = 0.2
    discriminator_dropout: float = 0.1
    discriminator_weight: float = 0.1356
    adversarial_weight: float = 0.01132
    task_weight: float = 0.0101
    private_layer: bool = True
    warmup_steps: int = 0
    hold: float = 0.0
    snapshots: int = 50

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": SHORT,
        "best": SHORT,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "width", "blocks", "noise_size", "discriminator_width", "lr_decay_steps")
        self._at_least(0, "weight_decay", "discriminator_noise", "adversarial_weight", "task_weight", "warmup_steps")
        self._above_zero("gradient_clip", "discriminator_weight")
        self._below_one("beta1", "discriminator_dropout")
        self._share("hold")
        self._positive_share("lr_decay_rate")
