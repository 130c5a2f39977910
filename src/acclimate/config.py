"""Settings that every method shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

from acclimate.errors import AcclimateError, did_you_mean

Fit = Literal["stretch", "crop", "pad"]
Interpolation = Literal["bilinear", "bicubic"]
Tune = Literal["head", "all"]
BackboneStatistics = Literal["pretrained", "both"]
CompileChoice = Literal["auto", "on", "off"]
Precision = Literal["auto", "float32", "bfloat16"]
SelectionRule = Literal[
    "last",
    "kid",
    "fid",
    "source-cycle",
    "target-cycle",
    "entropy",
    "information",
    "density",
    "class-balance",
    "discriminator-band",
    "consensus",
]
LearningRateDecay = Literal["none", "linear"]
DropoutMode = Literal["alive", "fixed", "off"]
ClassifierName = Literal["gta", "dann", "dann-bn", "lenet", "conv7", "conv7-wide", "wrn-28-2", "linear", "bottleneck"]
AugmentName = Literal["none", "light", "symbols", "photos"]

ClassifierStage = Literal["supervised", "self-training"]

FAST: Mapping[str, Any] = {"repeats": 3, "classifier_images": 20_000, "classifier_epochs": 6, "classifier_lr": 2e-3}
"""The classifier stage of every method's ``fast``: the same, so that methods compare."""

ON_FEATURES: tuple[ClassifierName, ...] = ("linear", "bottleneck")
"""Classifiers of a backbone's features."""

PHOTOS: Mapping[str, Any] = {
    "backbone": "efficientnet-lite0",
    "image_size": 0,
    "classifier": "linear",
    "augment": "none",
    "classifier_batch_size": 96,
    "classifier_lr": 1e-3,
    "repeats": 1,
}
"""What the presets ``photos`` have in common."""

STAGE_ON_PHOTOS: Mapping[str, Any] = {
    "stage_steps": 1000,
    "target_batch_size": 192,
    "ramp_start": 150,
    "ramp_end": 450,
    "teacher_decay": 0.99,
    "threshold": 0.8,
    "align": False,
    "infomax_weight": 0.5,
    "stage_weight_decay": 1e-3,
}
"""Self-training on a backbone's features."""

SELF_TRAINED: Mapping[str, Any] = {
    "classifier": "conv7",
    "classifier_stage": "self-training",
    "augment": "symbols",
    "classifier_batch_size": 64,
    "classifier_lr": 2e-3,
    "repeats": 1,
}
"""The classifier stage of presets that learn on from the target, but for its length."""

BEST: Mapping[str, Any] = {
    **SELF_TRAINED,
    "classifier_batch_size": 128,
    "target_batch_size": 128,
    "stage_steps": 5000,
    "classifier_epochs": 6,
}
"""The classifier stage of every ``best``."""

PAPER_BARS: Mapping[str, Any] = {
    "classifier": "gta",
    "classifier_stage": "supervised",
    "augment": "none",
    "classifier_batch_size": 256,
}
"""The paper's recipe, by which the paper's bars are trained in a run whose own classifier stage is another; but for its
length and its rate, which ``classifier_epochs`` and ``classifier_lr`` set."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings that every method shares; the defaults are the paper's.

    Parameters
    ----------
    seed
        Drives every random choice.
    image_size
        Working height and width in pixels; 0 takes the backbone's.
    channels
        1 (gray) or 3 (RGB).
    fit
        How images of other shapes become square.
    interpolation
        How images of other sizes are resized; a run with a backbone takes the backbone's.
    backbone
        A pretrained network whose features are classified in place of images: efficientnet-lite0, timm:NAME, or
        my_module:factory; empty for none.
    weights
        A file of weights for a backbone of timm, in place of its hub's.
    backbone_statistics
        See each image under the statistics of batch norm that the backbone was trained with, pretrained, or both under
        these and under its domain's own.
    tune
        Train the head alone, on features that are computed once, or all, the backbone at a tenth of the head's rate.
    disjoint
        Give source and target non-overlapping halves of the training content where they share it (mnist, mnist-m).
    strict
        Refuse folders with unreadable images instead of skipping those.
    classes
        Rules that rename and merge the classes of one's own images, or a file of them: pickup, truck -> vehicle; one a
        line, or with semicolons between.
    precision
        What convolutions are computed in; auto takes bfloat16 where the hardware has it.
    checkpoint_every
        Steps between the full states that a crashed run resumes from; only the last two are kept.
    select
        The label-free rule that chooses the snapshot that adapts: last, or a score (acclimate select shows them) over
        the snapshots of the second half.
    augment
        How images are changed at random while classifiers are trained: none, as in the paper; light; symbols (digits,
        letters, signs: colours and the like, never mirrored) or photos (with MixUp in self-training).
    classifier
        The classifier's network: gta (the paper's, after GenToAdapt), dann, dann-bn (with batch norm), lenet; conv7 and
        conv7-wide, which learn best with self-training; or wrn-28-2, for a GPU. On a backbone: linear, or bottleneck.
    classifier_images
        Images that the classifiers are trained on, the first so many; 0 for all, as the augmented bars are.
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
    share_bars
        Take source-only and target-only classifiers from an earlier run with the same data and settings; the result
        counts their seconds nevertheless.
    """

    seed: int = 0
    image_size: int = 32
    channels: int = 3
    fit: Fit = "stretch"
    interpolation: Interpolation = "bilinear"
    backbone: str = ""
    weights: str = ""
    backbone_statistics: BackboneStatistics = "both"
    tune: Tune = "head"
    disjoint: bool = False
    strict: bool = False
    classes: str = ""
    precision: Precision = "auto"
    checkpoint_every: int = 500
    select: SelectionRule = "last"
    augment: AugmentName = "none"
    classifier: ClassifierName = "gta"
    classifier_images: int = 0
    classifier_epochs: int = 30
    classifier_batch_size: int = 256
    classifier_lr: float = 5e-3
    classifier_patience: int = 5
    classifier_plateau: int = 3
    repeats: int = 5
    target_only: bool = True
    share_bars: bool = True

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "fast": {}, "photos": {}}

    formerly: ClassVar[Mapping[str, Any]] = {}
    """What settings were in runs that do not name them, as they are older, where that is not the default."""

    def __post_init__(self) -> None:
        of_classifier = [f"classifier_{name}" for name in ("epochs", "batch_size", "patience", "plateau")]
        self._at_least(1, "checkpoint_every", "repeats", *of_classifier)
        self._at_least(0, "seed", "classifier_images")
        self._above_zero("classifier_lr")
        self._check("channels", not self.backbone or self.channels == 3, "3 with a backbone")
        self._check("image_size", self.image_size > 0 or bool(self.backbone), "8 to 1024 without a backbone")
        self._check("weights", bool(self.backbone) or not self.weights, "left out without a backbone")
        on_features = self.classifier in ON_FEATURES
        expected = f"one of {', '.join(ON_FEATURES)} with a backbone, and only then"
        self._check("classifier", on_features == bool(self.backbone), expected)

    # What settings may be: each raises AcclimateError, naming the setting as the command line does.

    def _at_least(self, least: int, *names: str) -> None:
        for name in names:
            self._check(name, getattr(self, name) >= least, f"at least {least}" if least else "0 or more")

    def _above_zero(self, *names: str) -> None:
        for name in names:
            self._check(name, getattr(self, name) > 0, "above 0")

    def _below_one(self, *names: str) -> None:
        for name in names:
            self._check(name, 0 <= getattr(self, name) < 1, "in [0, 1)")

    def _share(self, *names: str) -> None:
        for name in names:
            self._check(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")

    def _positive_share(self, *names: str) -> None:
        for name in names:
            self._check(name, 0 < getattr(self, name) <= 1, "above 0 and at most 1")

    def _check(self, name: str, fine: bool, expected: str) -> None:
        if not fine:
            raise AcclimateError(f"--{name.replace('_', '-')} must be {expected}, not {getattr(self, name)}")

    def _features_adapt(self) -> None:
        self._check("classifier", self.classifier != "linear", "bottleneck: linear has no features that could adapt")

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
        shared = {"fast": FAST, "full": FAST, "best": BEST, "photos": PHOTOS}.get(name, {})
        return cls(**{**shared, **cls.presets[name], **changes})

    def changes_from(self, preset: Self) -> dict[str, Any]:
        """Return the settings that differ from a preset's, the seed aside: it makes no other method."""
        names = (field.name for field in fields(self) if field.name != "seed")
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(preset, name)}


@dataclass(frozen=True, kw_only=True)
class MethodConfig(Config):
    """Settings that methods with networks of their own share.

    Parameters
    ----------
    epochs
        Epochs of the method; one is a pass over the larger of the two training sets.
    steps
        Steps of the method instead of epochs; 0 for epochs.
    batch_size
        Images a domain in a step of the method.
    lr
        Learning rate of the method's networks.
    snapshots
        Snapshots of the method's weights over its last phase, evenly spaced.
    compile
        Compile the networks, which takes a minute at the start; auto does where the steps are enough to earn that back.
    """

    epochs: int = 50
    steps: int = 0
    batch_size: int = 64
    lr: float = 2e-4
    snapshots: int = 10
    compile: CompileChoice = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "epochs", "batch_size", "snapshots")
        self._at_least(0, "steps")
        self._above_zero("lr")


@dataclass(frozen=True, kw_only=True)
class StageConfig(Config):
    """Settings of the classifier stage of methods that redraw images, or that have no other stage.

    Parameters
    ----------
    classifier_stage
        supervised trains on labelled images alone, as the paper does; self-training learns on from the unlabelled
        target, by the labels that the classifier's running average gives it.
    stage_steps
        Steps of a classifier with self-training.
    stage_weight_decay
        AdamW's weight decay with self-training.
    augment_end
        Share of the augmentation's strength that is left at the end, to which it falls by a cosine, with self-training.
    augment_until
        Share of the training over which it falls.
    target_batch_size
        Target images a step with self-training.
    redrawn_share
        Share of the source batch that is redrawn in the target's style, with self-training.
    teacher_decay
        Decay of the running average that labels the target.
    threshold
        Confidence from which the teacher's label is learnt.
    relative_threshold
        Take the threshold times the mean confidence on source images, as AdaMatch does.
    align
        Align the classes that the teacher gives with the source's class shares.
    domain_statistics
        Keep the statistics of batch norm apart for the two domains.
    pseudo_weight
        Weight of the teacher's labels beside the source's.
    tune_steps
        Steps in which the whole backbone is trained, with ``tune`` all.
    tune_batch_size
        Images a domain in each of them.
    infomax_weight
        Weight of what the student's classes of target images tell: each sure, all classes used (arXiv:2002.08546).
    ramp_start
        Step from which the teacher's labels count; a third of all steps at most.
    ramp_end
        Step from which they count in full; three quarters of all steps at most.
    both_directions
        Classify a target image as it is and redrawn in the source's style, by two classifiers, and weigh their words
        without labels; for methods that redraw both ways.
    """

    classifier_stage: ClassifierStage = "supervised"
    stage_steps: int = 10_000
    stage_weight_decay: float = 5e-4
    augment_end: float = 0.35
    augment_until: float = 0.6
    target_batch_size: int = 64
    redrawn_share: float = 0.5
    teacher_decay: float = 0.998
    threshold: float = 0.9
    relative_threshold: bool = False
    align: bool = True
    domain_statistics: bool = True
    pseudo_weight: float = 1.0
    infomax_weight: float = 0.0
    tune_steps: int = 300
    tune_batch_size: int = 24
    ramp_start: int = 400
    ramp_end: int = 900
    both_directions: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "stage_steps", "target_batch_size", "tune_steps", "tune_batch_size")
        tunes = bool(self.backbone) and self.classifier_stage == "self-training"
        self._check("tune", self.tune == "head" or tunes, "head, unless it is self-training on a backbone")
        self._at_least(0, "stage_weight_decay", "pseudo_weight", "infomax_weight", "ramp_start", "ramp_end")
        self._share("redrawn_share", "threshold", "augment_end")
        self._positive_share("augment_until")
        self._below_one("teacher_decay")


@dataclass(frozen=True, kw_only=True)
class TranslationConfig(StageConfig, MethodConfig):
    """Settings of the stage in which the classifier is trained on translated images.

    Parameters
    ----------
    adapt
        offline translates the images once; on-the-fly translates each batch anew while the classifier trains.
    translation_noise
        Standard deviation of texture-like noise on images about to be translated for the classifier, at each of its
        scales, in units of [-1, 1]: the generator elaborates it, so that translated images vary as the target's do; 0
        for none.
    """

    adapt: Literal["offline", "on-the-fly"] = "offline"
    translation_noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(0, "translation_noise")
