"""What a method is: a config, networks, phases of training; and the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self, TypeVar

from torch import Tensor, nn

from acclimate.domains.base import Images, LabelledImages
from acclimate.errors import AcclimateError, did_you_mean
from acclimate.images import Fit
from acclimate.training import Engine, Phase, Precision

PresetName = Literal["fast", "notebook", "paper", "demo"]


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
        for name in ("classifier_epochs", "classifier_batch_size", "classifier_patience", "classifier_plateau", "repeats"):
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
            raise AcclimateError(f"no preset {name!r}.{did_you_mean(name, cls.presets)} Presets: {', '.join(cls.presets)}")
        known = {field.name for field in fields(cls)}
        for key in changes:
            if key not in known:
                raise AcclimateError(f"no setting {key!r}.{did_you_mean(key, known)}")
        return cls(**{**cls.presets[name], **changes})


@dataclass(frozen=True)
class Task:
    """What images look like and how many classes there are.

    Attributes
    ----------
    channels, image_size
        Shape of the images.
    classes
        Class names, in the order of the labels.
    """

    channels: int
    image_size: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class AdaptationData:
    """All that a method is handed. The target has no labels, not even hidden ones.

    Attributes
    ----------
    source_train, source_val
        Labelled source images.
    target_train
        Target images alone.
    """

    source_train: LabelledImages
    source_val: LabelledImages
    target_train: Images


class Method(nn.Module):
    """A way to adapt. Subclasses are registered by name and read next to their papers.

    Attributes
    ----------
    name
        What a person types.
    config_class
        The method's settings.
    translates
        Whether :meth:`translate` redraws source images in the target's style; the classifier is then trained on these.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Config]] = Config
    translates: ClassVar[bool] = False

    def __init__(self, config: Config, task: Task, engine: Engine) -> None:
        super().__init__()
        self.task, self.engine = task, engine

    def phases(self, data: AdaptationData) -> list[Phase]:
        """Return what is to be trained, in order."""
        return []

    def translate(self, images: Tensor) -> Tensor:
        """Redraw source images, float ``[N, C, H, W]`` in [-1, 1], in the target's style."""
        raise TypeError(f"{self.name} does not translate images")


M = TypeVar("M", bound=Method)

METHODS: dict[str, type[Method]] = {}


def register(name: str) -> Callable[[type[M]], type[M]]:
    """Make a method known under ``name``."""

    def add(method: type[M]) -> type[M]:
        method.name = name
        METHODS[name] = method
        return method

    return add


def find_method(name: str) -> type[Method]:
    """Return the method of that name.

    Raises
    ------
    AcclimateError
        There is none; the message has the nearest name.
    """
    if name not in METHODS:
        raise AcclimateError(f"no method {name!r}.{did_you_mean(name, METHODS)} Methods: {', '.join(sorted(METHODS))}")
    return METHODS[name]
