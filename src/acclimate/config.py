"""Settings: one frozen dataclass a method, its presets beside it. Nothing here imports torch, so help comes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

from acclimate.errors import AcclimateError, did_you_mean

Fit = Literal["stretch", "crop", "pad"]
Precision = Literal["auto", "float32", "bfloat16"]
DropoutMode = Literal["alive", "fixed", "off"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings that every method shares; the defaults are the paper's.

    Parameters
    ----------
    seed
        Drives every random choice.
    image_size
        Working height and width in pixels.
    channels
        1 (gray) or 3 (RGB).
    fit
        How images of other shapes become square.
    disjoint
        Give source and target non-overlapping halves of the training content where they share it (mnist, mnist-m).
    strict
        Refuse folders with unreadable images instead of skipping those.
    precision
        What convolutions are computed in; auto takes bfloat16 where the hardware has it.
    checkpoint_every
        Steps between the full states that a crashed run resumes from; only the last two are kept.
    classifier_images
        Images that the classifiers are trained on, the first so many; 0 for all.
    classifier_epochs
        Epochs of a classifier at most.
    classifier_batch_size
        Images a step of a classifier.
    classifier_lr
        Adam's learning rate for a classifier.
    classifier_patience
        Epochs without a better validation loss before a classifier stops.
    classifier_plateau
        Epochs without a better validation loss before its learning rate falls to a tenth.
    repeats
        Trainings of each classifier; their spread is the "+-".
    target_only
        Train the upper bar too, on target labels (for comparison only; skipped where there are none).
    """

    seed: int = 0
    image_size: int = 32
    channels: int = 3
    fit: Fit = "stretch"
    disjoint: bool = False
    strict: bool = False
    precision: Precision = "auto"
    checkpoint_every: int = 500
    classifier_images: int = 0
    classifier_epochs: int = 30
    classifier_batch_size: int = 256
    classifier_lr: float = 5e-3
    classifier_patience: int = 5
    classifier_plateau: int = 3
    repeats: int = 5
    target_only: bool = True

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "fast": {}}

    def __post_init__(self) -> None:
        for name in (
            "checkpoint_every",
            "classifier_epochs",
            "classifier_batch_size",
            "classifier_patience",
            "classifier_plateau",
            "repeats",
        ):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        self._check("seed", self.seed >= 0, "0 or more")
        self._check("classifier_lr", self.classifier_lr > 0, "above 0")
        self._check("classifier_images", self.classifier_images >= 0, "0 or more")

    def _check(self, name: str, fine: bool, expected: str) -> None:
        if not fine:
            raise AcclimateError(f"--{name.replace('_', '-')} must be {expected}, not {getattr(self, name)}")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """Return a preset's settings, with changes.

        Raises
        ------
        AcclimateError
            The method has no such preset, or a setting is unknown or out of range.
        """
        if name not in cls.presets:
            raise AcclimateError(
                f"no preset {name!r}.{did_you_mean(name, cls.presets)} Presets: {', '.join(cls.presets)}"
            )
        known = {field.name for field in fields(cls)}
        for key in changes:
            if key not in known:
                raise AcclimateError(f"no setting {key!r}.{did_you_mean(key, known)}")
        return cls(**{**cls.presets[name], **changes})


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig(Config):
    """Settings of CycleGAN adaptation; the defaults are the paper's.

    Parameters
    ----------
    adapt
        offline writes the translated images once; on-the-fly translates each batch anew while the classifier trains.
    epochs
        Epochs of the translator; one is a pass over the larger of the two training sets.
    steps
        Steps of the translator instead of epochs; 0 for epochs.
    images
        Training images a domain that the translator sees, the first so many; 0 for all.
    batch_size
        Images a domain in a step of the translator.
    lr
        Adam's learning rate for generators and discriminators.
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
    snapshots
        Snapshots of the generators over the training, evenly spaced.
    """

    adapt: Literal["offline", "on-the-fly"] = "offline"
    epochs: int = 50
    steps: int = 0
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
        for name in ("epochs", "batch_size", "width", "discriminator_width", "snapshots"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("steps", "images", "pool", "translation_noise", "cycle_weight", "identity_weight"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("lr", "discriminator_weight"):
            self._check(name, getattr(self, name) > 0, "above 0")
        self._check("discriminator_ceiling", 0.5 < self.discriminator_ceiling <= 1, "above 0.5 and at most 1")
        for name in ("ema", "dropout", "beta1"):
            self._check(name, 0 <= getattr(self, name) < 1, "in [0, 1)")


CONFIGS: dict[str, type[Config]] = {"cyclegan": CycleGANConfig, "source-only": Config, "target-only": Config}
"""The settings of every method, by the method's name."""
