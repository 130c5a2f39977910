"""Settings that methods which translate images share."""

from __future__ import annotations

from dataclasses import dataclass

from acclimate.config import DropoutMode, LearningRateDecay, MethodConfig


@dataclass(frozen=True, kw_only=True)
class UNetConfig(MethodConfig):
    """Settings of methods that train U-Nets against PatchGANs.

    Parameters
    ----------
    images
        Training images a domain that the translator sees, the first so many; 0 for all.
    beta1
        Adam's first decay rate.
    lr_decay
        linear lets the learning rate fall to 0 over the second half.
    width
        Channels of the generators' first level.
    discriminator_width
        Channels of the discriminators' first layer.
    discriminator_weight
        Factor of the discriminators' objective.
    ema
        Decay of the generators' running average, which then does the translating; 0 for none.
    dropout
        Probability in the generators' innermost up block.
    dropout_mode
        Dropout while translating: alive as in training, fixed to one seeded mask, or off.
    """

    epochs: int = 50
    images: int = 0
    batch_size: int = 32
    lr: float = 2e-4
    beta1: float = 0.5
    lr_decay: LearningRateDecay = "none"
    width: int = 32
    discriminator_width: int = 64
    discriminator_weight: float = 0.5
    ema: float = 0.0
    dropout: float = 0.5
    dropout_mode: DropoutMode = "alive"
    snapshots: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "width", "discriminator_width")
        self._at_least(0, "images")
        self._above_zero("discriminator_weight")
        self._below_one("ema", "dropout", "beta1")
