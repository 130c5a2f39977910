"""What a method is: networks and phases of training; and the registry."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acclimate.config import ClassifierName, Config, LearningRateDecay, MethodConfig
from acclimate.data.images import to_float
from acclimate.data.sets import Images, LabelledImages
from acclimate.errors import RunError
from acclimate.networks import FEATURE_CLASSIFIERS, ImageClassifier, build_classifier
from acclimate.training.batches import Batches
from acclimate.training.engine import Engine, seed_for
from acclimate.training.feed import Feed
from acclimate.training.loop import Phase, Stateful
from acclimate.training.updates import linear_decay


@dataclass(frozen=True)
class Task:
    """What images look like and how many classes there are.

    Attributes
    ----------
    channels, image_size
        Shape of the images.
    classes
        Class names, in the order of the labels.
    feature_size
        Length of the features that stand in place of images ``[N, C, H, W]``, then ``[N, feature_size]``; 0 for images.
    """

    channels: int
    image_size: int
    classes: tuple[str, ...]
    feature_size: int = 0

    def classifier(self, name: ClassifierName) -> ImageClassifier:
        """Return a classifier for the task, by its name in :data:`acclimate.networks.CLASSIFIERS`."""
        if self.feature_size:
            return FEATURE_CLASSIFIERS[name](self.feature_size, len(self.classes))
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
    paired
        Whether ``source_train[i]`` and ``target_train[i]`` show the same object, for every i.
    """

    source_train: LabelledImages
    source_val: LabelledImages
    target_train: Images
    paired: bool = False


class DomainBatches:
    """Batches of both domains, drawn independently or as pairs; a :class:`Feed` brings them to the device as uint8.

    Parameters
    ----------
    source, target
        The training images.
    config
        Images a batch, length of the training, seed.
    engine
        Where the images are needed, and the processes that share each batch.
    paired
        Draw pairs: the same indices in both domains.
    target_share
        Target images a batch, as a multiple of the source's.

    Attributes
    ----------
    steps_per_epoch
        Steps of a pass over the larger set.
    steps
        Steps of the whole training.

    Raises
    ------
    AcclimateError
        A domain has fewer images than a batch, or the processes cannot share a batch equally.
    """

    def __init__(
        self,
        source: LabelledImages,
        target: Images,
        config: MethodConfig,
        engine: Engine,
        *,
        paired: bool = False,
        target_share: int = 1,
    ) -> None:
        engine.processes.check_batch(config.batch_size)
        self._of_source, self._of_target = (
            Batches(len(images), size, seed_for(config.seed, name), drop_last=True, what=name)
            for images, size, name in (
                (source, config.batch_size, "the source"),
                (target, config.batch_size * target_share, "the target"),
            )
        )
        if paired:
            self._of_target = self._of_source
        labelled = (source.pixels, self._of_source), (source.labels, self._of_source)
        self._feed = Feed(engine, *labelled, (target.pixels, self._of_target))
        self.steps_per_epoch = max(self._of_source.steps_per_epoch, self._of_target.steps_per_epoch)
        self.steps = config.steps or config.epochs * self.steps_per_epoch

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a step's source images, their labels, and target images; images float ``[N, C, H, W]`` in [-1, 1].

        Of several processes, each gets its own share of the batch.
        """
        pixels, labels, target = self._feed[step]
        return to_float(pixels), labels, to_float(target)


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
        Whether it does either, or leaves it all to a classifier stage that does; the two bars do neither.
    chooses
        Whether it is a choice among the runs of other methods.
    has_snapshots
        Whether it has networks of its own that adapt, and thus snapshots of them.
    augments
        Whether it learns from augmented images itself, as ``config.augment`` says; a classifier stage always does.
    logs_discriminators
        Whether its last phase, and no other, logs the accuracies of its discriminators, as ``D_..._accuracy``.
    extendable
        Whether more steps make its last phase longer, so that a run can go on beyond its end.
    takes_features
        Whether it works on a backbone's features as on images, because it asks nothing of an image but its classifier.
    kept
        Attributes of the networks that translate or classify, which are what a snapshot holds; () for the whole method.
    optimizers
        By name; each is a part of the training's state.
    """

    name: ClassVar[str]
    translates: ClassVar[bool] = False
    translates_back: ClassVar[bool] = False
    classifies: ClassVar[bool] = False
    adapts: ClassVar[bool] = False
    chooses: ClassVar[bool] = False
    has_snapshots: ClassVar[bool] = False
    augments: ClassVar[bool] = False
    logs_discriminators: ClassVar[bool] = False
    extendable: ClassVar[bool] = True
    takes_features: ClassVar[bool] = False
    kept: ClassVar[tuple[str, ...]] = ()
    optimizers: dict[str, torch.optim.Optimizer]

    def __init_subclass__(cls) -> None:
        cls.has_snapshots = cls.translates or cls.classifies
        cls.adapts = cls.adapts or cls.has_snapshots

    def __init__(self, config: Config, task: Task, engine: Engine) -> None:
        super().__init__()
        self.task, self.engine = task, engine

    def phases(self, data: AdaptationData) -> list[Phase]:
        """Return what is to be trained, in order."""
        return []

    def weights(self) -> dict[str, Any]:
        """Return what a snapshot holds: all that translates or classifies."""
        return {name: network.state_dict() for name, network in self._kept_networks().items()}

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Take back what :meth:`weights` returned.

        Raises
        ------
        RunError
            They are of another version's networks.
        """
        for name, network in self._kept_networks().items():
            try:
                network.load_state_dict(weights[name])
            except RuntimeError:
                kind = f"{self.name}'s {name} is built otherwise now"
                raise RunError(f"the run's weights are of another version of acclimate: {kind}") from None

    def _kept_networks(self) -> dict[str, nn.Module]:
        """Return what :meth:`weights` holds, by name."""
        return {name: self.get_submodule(name) for name in self.kept} or {"method": self}

    def translate(self, images: Tensor) -> Tensor:
        """Redraw source images, float ``[N, C, H, W]`` in [-1, 1], in the target's style."""
        raise TypeError(f"{self.name} does not translate images")

    def translate_back(self, images: Tensor) -> Tensor:
        """Redraw target images, float ``[N, C, H, W]`` in [-1, 1], in the source's style."""
        raise TypeError(f"{self.name} does not translate images back")

    @property
    def redraws_any_size(self) -> bool:
        """Whether :meth:`translate` takes images of any height and width."""
        return False

    def forward(self, images: Tensor) -> Tensor:
        """Classify target images, float ``[N, C, H, W]`` in [-1, 1]; return logits ``[N, classes]``."""
        raise TypeError(f"{self.name} does not classify images")

    def _phase(
        self,
        name: str,
        batches: DomainBatches,
        step: Callable[[int], Mapping[str, Tensor]],
        *,
        steps: int = 0,
        snapshots: int = 0,
        state: Mapping[str, Stateful] | None = None,
    ) -> Phase:
        """Return a phase of ``steps``, all of ``batches`` for 0, that may change every network and optimizer.

        ``state`` is what it changes besides these.
        """
        steps = steps or batches.steps
        parts: dict[str, Stateful] = {"networks": self, **self.optimizers, **(state or {})}
        every = math.ceil(steps / snapshots) if snapshots else 0
        return Phase(name, steps, step, parts, batches.steps_per_epoch, None, self.weights, every)

    def _update(self, optimizer: str, loss: Tensor, clip: float = math.inf) -> None:
        """Take one step down the gradient of ``loss``, of norm ``clip`` at most, with one of the optimizers."""
        self._set_gradients(optimizer, loss)
        self._descend(optimizer, clip)

    def _set_gradients(self, optimizer: str, loss: Tensor) -> None:
        """Set the gradients of what one of the optimizers moves to those of ``loss``."""
        self.optimizers[optimizer].zero_grad(set_to_none=True)
        loss.backward()

    def _descend(self, optimizer: str, clip: float = math.inf) -> None:
        """Take one step down the gradients, of norm ``clip`` at most, with one of the optimizers."""
        parameters = [one for group in self.optimizers[optimizer].param_groups for one in group["params"]]
        self.engine.processes.average_gradients(parameters)
        if clip < math.inf:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        self.optimizers[optimizer].step()

    def _classifier_step(
        self, optimizer: str, classifier: nn.Module, images: Tensor, labels: Tensor
    ) -> Mapping[str, Tensor]:
        """Update a classifier on one labelled batch; return loss and accuracy."""
        classifier.train()
        with self.engine.autocast():
            logits = classifier(images).float()
        loss = F.cross_entropy(logits, labels)
        self._update(optimizer, loss)
        return {"loss": loss, "accuracy": (logits.argmax(1) == labels).float().mean()}

    def _redraw(self, generator: nn.Module, *inputs: Tensor) -> Tensor:
        """Run a trained generator, without gradients; return float32."""
        generator.eval()
        with torch.no_grad(), self.engine.autocast():
            images: Tensor = generator(*inputs)
        return images.float()

    def _set_lr(self, lr: float, *optimizers: str) -> None:
        """Set the learning rate of some optimizers, of all by default."""
        for name in optimizers or self.optimizers:
            for group in self.optimizers[name].param_groups:
                group["lr"] = lr

    def _decay_lr(self, kind: LearningRateDecay, lr: float, step: int, steps: int, *optimizers: str) -> None:
        """Let the learning rate of some optimizers, of all by default, fall from ``lr`` as ``kind`` says."""
        if kind == "linear":
            self._set_lr(lr * linear_decay(step, steps), *optimizers)


def adam(*networks: nn.Module, lr: float, beta1: float = 0.9, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Return Adam over all parameters of ``networks``, in one fused operation a step."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return torch.optim.Adam(parameters, lr, (beta1, 0.999), weight_decay=weight_decay, fused=True)
