"""Settings of SBADA-GAN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import AugmentName, LearningRateDecay, MethodConfig, StageConfig

SHORT: Mapping[str, Any] = {
    "steps": 4000,
    "lr": 1e-3,
    "lr_decay": "linear",
    "width": 32,
    "discriminator_width": 32,
    "discriminator_noise": 0.2,
    "discriminator_dropout": 0.1,
    "pool": 0,
    "adversarial_weight": 10.0,
    "consistency_weight": 10.0,
    "self_label_start": 0.5,
    "warmup_steps": 300,
    "hold": 0.5,
    "snapshots": 10,
}
"""SBADA-GAN in minutes: narrower, and held to the classes until it draws them."""


@dataclass(frozen=True, kw_only=True)
class SBADAGANConfig(StageConfig, MethodConfig):
    """Settings of SBADA-GAN; the defaults are the paper's for digits.

    Parameters
    ----------
    beta1
        Adam's first decay rate.
    lr_decay
        linear lets the learning rate fall to 0 over the second half.
    weight_decay
        Adam's L2 penalty.
    width
        Channels of the generators' layers.
    blocks
        Residual blocks of a generator.
    noise_size
        Length of the generators' noise vectors.
    discriminator_width
        Channels of the discriminators' first layer.
    discriminator_noise
        Standard deviation of noise after each of the discriminators' layers but the last.
    discriminator_dropout
        Probability of dropout there.
    pool
        Generated images that the discriminators are shown again later, a domain; 0 for none.
    adversarial_weight
        Weight of both adversarial losses (alpha, gamma).
    target_weight
        Weight of the target classifier's loss on redrawn source images (beta).
    source_weight
        Weight of the source classifier's loss on source images (mu).
    self_label_weight
        Weight of the source classifier's loss on redrawn target images, by its own labels (eta).
    self_label_start
        Share of the training after which the self-labels count.
    consistency_weight
        Weight of the class consistency (nu).
    warmup_steps
        Steps before all others in which the generators learn to copy their input, and the classifiers the classes.
    hold
        Share of the training, at its start, in which the classifiers learn from source images alone. The generators
        must then draw what reads as the classes; otherwise they may swap them, as the classifiers learn to read
        whatever they draw.
    class_augment
        Policy of the strong views of source images from which the classifiers learn; none for redrawn images.
    combination
        Share of the source classifier in the prediction; the rest is the target classifier's.
    """

    steps: int = 100_000
    batch_size: int = 32
    lr: float = 1e-4
    beta1: float = 0.5
    lr_decay: LearningRateDecay = "none"
    weight_decay: float = 1e-5
    width: int = 64
    blocks: int = 4
    noise_size: int = 5
    discriminator_width: int = 64
    discriminator_noise: float = 0.0
    discriminator_dropout: float = 0.0
    pool: int = 1600
    adversarial_weight: float = 1.0
    target_weight: float = 10.0
    source_weight: float = 10.0
    self_label_weight: float = 1.0
    self_label_start: float = 0.75
    consistency_weight: float = 1.0
    warmup_steps: int = 0
    hold: float = 0.0
    class_augment: AugmentName = "none"
    combination: float = 0.5
    snapshots: int = 50

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": SHORT,
        "full": {**SHORT, "class_augment": "light"},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "width", "blocks", "noise_size", "discriminator_width")
        weights = [f"{name}_weight" for name in ("adversarial", "target", "source", "self_label", "consistency")]
        self._at_least(0, "pool", "weight_decay", "discriminator_noise", "warmup_steps", *weights)
        self._share("self_label_start", "hold", "combination")
        self._below_one("beta1", "discriminator_dropout")
