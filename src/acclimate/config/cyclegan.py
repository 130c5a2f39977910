"""Settings of CycleGAN adaptation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from acclimate.config.base import MethodConfig

DropoutMode = Literal["alive", "fixed", "off"]


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig(MethodConfig):
    """Settings of CycleGAN adaptation; the defaults are the paper's.

    Parameters
    ----------
    adapt
        offline writes the translated images once; on-the-fly translates each batch anew while the classifier trains.
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
    cycle_weight
        Weight of the cycle-consistency terms (lambda 1).
    identity_weight
        Weight of the identity terms (lambda 2); 0 saves their computation.
    discriminator_weight
        Factor of the discriminators' objective.
    discriminator_ceiling
        Accuracy on a batch above which a discriminator rests for the step: keeps it in the band that the paper found
        healthy, 0.6 to 0.8; 1 never rests.
    pool
        Generated images that the discriminators are shown again later, a domain; 0 for none.
    ema
        Decay of the generators' running average, which then does the translating; 0 for none.
    dropout
        Probability in the generators' innermost up block.
    dropout_mode
        Dropout while translating: alive as in training, fixed to one seeded mask, or off.
    translation_noise
        Standard deviation of Gaussian noise on images about to be translated for the classifier, in units of [-1, 1]:
        the generator reads it as texture, so that translated images vary as the target's do; 0 for none.
    """

    adapt: Literal["offline", "on-the-fly"] = "offline"
    epochs: int = 50
    images: int = 0
    batch_size: int = 32
    lr: float = 2e-4
    beta1: float = 0.5
    lr_decay: Literal["none", "linear"] = "none"
    width: int = 32
    discriminator_width: int = 64
    cycle_weight: float = 8.0
    identity_weight: float = 0.8
    discriminator_weight: float = 0.5
    discriminator_ceiling: float = 1.0
    pool: int = 0
    ema: float = 0.0
    dropout: float = 0.5
    dropout_mode: DropoutMode = "alive"
    translation_noise: float = 0.0
    snapshots: int = 50

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "notebook": {"images": 4096, "snapshots": 100},
        "fast": {
            "steps": 4500,
            "width": 16,
            "lr": 4e-4,
            "lr_decay": "linear",
            "ema": 0.995,
            "snapshots": 20,
            "repeats": 3,
            "classifier_images": 20_000,
            "classifier_epochs": 6,
            "classifier_lr": 2e-3,
        },
        "demo": {
            "adapt": "on-the-fly",
            "image_size": 24,
            "steps": 3600,
            "batch_size": 8,
            "lr": 5e-4,
            "lr_decay": "linear",
            "width": 16,
            "discriminator_width": 32,
            "discriminator_ceiling": 0.75,
            "ema": 0.995,
            "translation_noise": 0.1,
            "snapshots": 5,
            "repeats": 2,
            "classifier_batch_size": 64,
            "classifier_lr": 2e-3,
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "discriminator_width"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("images", "pool", "translation_noise", "cycle_weight", "identity_weight"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        self._check("discriminator_weight", self.discriminator_weight > 0, "above 0")
        self._check("discriminator_ceiling", 0.5 < self.discriminator_ceiling <= 1, "above 0.5 and at most 1")
        for name in ("ema", "dropout", "beta1"):
            self._check(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
