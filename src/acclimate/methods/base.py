"""What a method is: networks and phases of training; and the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from acclimate.config import ClassifierName, Config
from acclimate.domains.base import Images, LabelledImages
from acclimate.errors import AcclimateError, did_you_mean
from acclimate.networks import ImageClassifier, build_classifier
from acclimate.training import Engine, Phase


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

    def classifier(self, name: ClassifierName) -> ImageClassifier:
        """Return a classifier for the task, by its name in :data:`acclimate.networks.CLASSIFIERS`."""
        return build_classifier(name, self.channels, len(self.classes), self.image_size)


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
    translates
        Whether :meth:`translate` redraws source images in the target's style. Unless the method classifies too, the
        classifier is then trained on these.
    translates_back
        Whether :meth:`translate_back` redraws target images in the source's style.
    classifies
        Whether the method is itself a classifier of target images, by :meth:`forward`.
    adapts
        Whether it does either; the two bars do neither.
    """

    name: ClassVar[str]
    translates: ClassVar[bool] = False
    translates_back: ClassVar[bool] = False
    classifies: ClassVar[bool] = False
    adapts: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        cls.adapts = cls.translates or cls.classifies

    def __init__(self, config: Config, task: Task, engine: Engine) -> None:
        super().__init__()
        self.task, self.engine = task, engine

    def phases(self, data: AdaptationData) -> list[Phase]:
        """Return what is to be trained, in order."""
        return []

    def weights(self) -> dict[str, Any]:
        """Return what a snapshot holds: all that translates or classifies."""
        return {"method": self.state_dict()}

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Take back what :meth:`weights` returned."""
        self.load_state_dict(weights["method"])

    def translate(self, images: Tensor) -> Tensor:
        """Redraw source images, float ``[N, C, H, W]`` in [-1, 1], in the target's style."""
        raise TypeError(f"{self.name} does not translate images")

    def translate_back(self, images: Tensor) -> Tensor:
        """Redraw target images, float ``[N, C, H, W]`` in [-1, 1], in the source's style."""
        raise TypeError(f"{self.name} does not translate images back")

    def forward(self, images: Tensor) -> Tensor:
        """Classify target images, float ``[N, C, H, W]`` in [-1, 1]; return logits ``[N, classes]``."""
        raise TypeError(f"{self.name} does not classify images")


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
