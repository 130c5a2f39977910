"""Accuracy on the target's test images: the only place that reads target labels, after all training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor, nn

from acclimate.data.images import to_float
from acclimate.data.sets import LabelledImages
from acclimate.training.engine import Engine, in_parts
from acclimate.trust.estimators import tempered

EVALUATION_BATCH = 500


class Classifier:
    """One or more trainings of a classifier; their mean probability decides.

    Parameters
    ----------
    networks
        The trained networks.
    classes
        Class names, in the order of the logits.
    engine
        Where to compute.
    encode
        Turns images into the features that the networks see; None where they see images.

    Attributes
    ----------
    temperature
        What the log of the mean probabilities is divided by; above 1 it makes them less sure.
    """

    temperature: float = 1.0

    def __init__(
        self,
        networks: Sequence[nn.Module],
        classes: Sequence[str],
        engine: Engine,
        encode: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.networks, self.classes, self.engine, self.encode = networks, tuple(classes), engine, encode

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Return class probabilities, float32 ``[N, classes]``, for uint8 images ``[N, C, H, W]``."""
        return tempered(torch.stack(self.each_probabilities(pixels)).mean(0), self.temperature)

    def each_probabilities(self, pixels: Tensor) -> list[Tensor]:
        """Return each network's class probabilities, float32 ``[N, classes]``."""
        return [logits.softmax(1) for logits in self.each_logits(pixels)]

    def each_logits(self, pixels: Tensor) -> list[Tensor]:
        """Return each network's logits, float32 ``[N, classes]``."""
        seen = self.seen(pixels)
        return [predict_logits(network, seen, self.engine) for network in self.networks]

    def seen(self, pixels: Tensor) -> Tensor:
        """Return what the networks see of uint8 images ``[N, C, H, W]``: them, or features, float32 ``[N, D]``."""
        return self.encode(pixels) if self.encode else pixels

    def uncached(self) -> Classifier:
        """Return the same for images that will not come again, whose features are not worth keeping."""
        found = copy.copy(self)
        found.encode = getattr(self.encode, "anew", self.encode)
        return found

    def right(self, test: LabelledImages) -> list[Tensor]:
        """Return whether each network's answers are right, bool ``[N]`` each."""
        return [one.argmax(1) == test.labels for one in self.each_logits(test.pixels)]

    def accuracies(self, test: LabelledImages) -> list[float]:
        """Return each network's share of right answers."""
        return [share(one) for one in self.right(test)]


class BothDirections(Classifier):
    """Two classifiers of a target image: one sees it as it is, the other redrawn in the source's style (section 7).

    Its probabilities are ``weight`` times the first's plus the rest times the second's, each the mean over its
    trainings.

    Parameters
    ----------
    forth
        The adapted classifier.
    back
        A classifier of source images.
    redraw
        Redraws target images, uint8 ``[N, C, H, W]``, in the source's style.
    weight
        In [0, 1], chosen without labels.
    """

    def __init__(
        self, forth: Classifier, back: Classifier, redraw: Callable[[Tensor], Tensor], weight: float = 1.0
    ) -> None:
        super().__init__(forth.networks, forth.classes, forth.engine)
        self.forth, self.back, self.redraw, self.weight = forth, back, redraw, weight

    def each_probabilities(self, pixels: Tensor) -> list[Tensor]:
        """Return the combined probabilities, float32 ``[N, classes]``, alone."""
        forth, back = self.both_probabilities(pixels)
        return [torch.lerp(back, forth, self.weight)]

    def both_probabilities(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities of the image as it is, and of the redrawn one, float32 ``[N, classes]`` each."""
        return self.forth.probabilities(pixels), self.back.probabilities(self.redraw(pixels))

    def right(self, test: LabelledImages) -> list[Tensor]:
        """Return whether the combination's answers are right, bool ``[N]``, alone."""
        return [self.probabilities(test.pixels).argmax(1) == test.labels]


@torch.no_grad()
def predict_logits(classifier: nn.Module, pixels: Tensor, engine: Engine) -> Tensor:
    """Return logits float32 ``[N, classes]`` on the CPU for uint8 images ``[N, C, H, W]``.

    They are computed in float32 unless the caller is under autocast.
    """
    classifier.eval()

    def logits(part: Tensor) -> Tensor:
        found: Tensor = classifier(to_float(part.to(engine.device)))
        return found.float().cpu()

    return in_parts(logits, pixels, engine.at_once(EVALUATION_BATCH, pixels))


def share(right: Tensor) -> float:
    """Return the share of right answers, bool ``[N]``."""
    return right.float().mean().item()


def interval(accuracy: float, count: int) -> list[float]:
    """Return Wilson's interval for the accuracy on all images like these, which holds it 95 times of 100."""
    from scipy.stats import binomtest

    found = binomtest(round(accuracy * count), count).proportion_ci(method="wilson")
    return [round(float(found.low), 6), round(float(found.high), 6)]


def summary(accuracies: Sequence[float], spread: str = "classifier seeds") -> dict[str, Any]:
    """Return mean, population standard deviation (the paper's), the runs, and what they are."""
    rounded = [round(value, 6) for value in accuracies]
    return {"mean": round(fmean(rounded), 6), "std": round(pstdev(rounded), 6), "runs": rounded, "spread": spread}
