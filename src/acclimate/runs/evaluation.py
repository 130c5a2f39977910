"""Accuracy on the target's test images: the only place that reads target labels, after all training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from acclimate.classification import predict_logits
from acclimate.domains.base import LabelledImages
from acclimate.training import Engine


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
