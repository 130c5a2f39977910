"""Accuracy on the target's test images: the only place that reads target labels, after all training."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor, nn

from acclimate.data.images import to_float
from acclimate.data.sets import LabelledImages
from acclimate.training.engine import Engine

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
    """

    def __init__(self, networks: Sequence[nn.Module], classes: Sequence[str], engine: Engine) -> None:
        self.networks, self.classes, self.engine = networks, tuple(classes), engine

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Return class probabilities, float32 ``[N, classes]``, for uint8 images ``[N, C, H, W]``."""
        return torch.stack(self.each_probabilities(pixels)).mean(0)

    def each_probabilities(self, pixels: Tensor) -> list[Tensor]:
        """Return each network's class probabilities, float32 ``[N, classes]``."""
        return [predict_logits(network, pixels, self.engine).softmax(1) for network in self.networks]

    def accuracies(self, test: LabelledImages) -> list[float]:
        """Return each network's share of right answers."""
        logits = (predict_logits(network, test.pixels, self.engine) for network in self.networks)
        return [(one.argmax(1) == test.labels).float().mean().item() for one in logits]


@torch.no_grad()
def predict_logits(classifier: nn.Module, pixels: Tensor, engine: Engine) -> Tensor:
    """Return logits float32 ``[N, classes]`` on the CPU for uint8 images ``[N, C, H, W]``.

    They are computed in float32 unless the caller is under autocast.
    """
    classifier.eval()
    chunks = [classifier(to_float(chunk.to(engine.device))).float().cpu() for chunk in pixels.split(EVALUATION_BATCH)]
    return torch.cat(chunks)


def summary(accuracies: Sequence[float], spread: str = "classifier seeds") -> dict[str, Any]:
    """Return mean, population standard deviation (the paper's), the runs, and what they are."""
    rounded = [round(value, 6) for value in accuracies]
    return {"mean": round(fmean(rounded), 6), "std": round(pstdev(rounded), 6), "runs": rounded, "spread": spread}
