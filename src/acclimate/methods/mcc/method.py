"""Minimum class confusion (Jin, Wang, Long and Wang, "Minimum Class Confusion for Versatile Domain Adaptation")."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.mcc.config import MCCConfig
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase


class MCC(Method):
    """A classifier f that learns the source's labels and does not confuse classes on the target.

        L = E[CE(f(x), y)] + mu MCC(f(t))   (arXiv:1912.03699, section 3),

    with :func:`class_confusion`. Source images x with labels y and target images t are ``[N, C, H, W]`` in [-1, 1].

    Departures from the paper: the network is the run's classifier; Adam, whose rate falls, in place of SGD.

    When it fails: where classes are confused from the start, less confusion may mean fewer classes.
    """

    name = "mcc"
    classifies = takes_features = True
    kept = ("classifier",)

    def __init__(self, config: MCCConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.classifier = task.classifier(config.classifier)
        self.classifier.draw_weights()
        engine.place(self)
        self.optimizers = {"classifier": adam(self.classifier, lr=config.lr)}

    def phases(self, data: AdaptationData) -> list[Phase]:
        config = self.config
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine)

        def step(number: int) -> Mapping[str, Tensor]:
            self._decay_lr(config.lr_decay, config.lr, number, batches.steps)
            return self.step(*batches[number])

        return [self._phase("mcc", batches, step, snapshots=config.snapshots)]

    def step(self, x: Tensor, labels: Tensor, t: Tensor) -> Mapping[str, Tensor]:
        """Update the classifier on one batch of each domain; return losses and accuracy."""
        self.classifier.train()
        with self.engine.autocast():
            on_x, on_t = self.classifier(torch.cat([x, t])).float().split([len(x), len(t)])
        losses = {"label": F.cross_entropy(on_x, labels), "confusion": class_confusion(on_t, self.config.temperature)}
        self._update("classifier", losses["label"] + self.config.confusion_weight * losses["confusion"])
        return {**losses, "accuracy": (on_x.argmax(1) == labels).float().mean()}

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        return logits


def class_confusion(logits: Tensor, temperature: float = 2.5) -> Tensor:
    """Return how much classes are confused, in [0, 1] (equations 3 to 7).

    With probabilities P at a temperature and weights W that grow with each image's certainty, the confusion of classes
    j and k is P_j^T W P_k, each row normalised to 1; what is returned is the mean over classes of what is off the
    diagonal. ``logits``: float ``[N, K]``.
    """
    probabilities = (logits / temperature).softmax(1)
    certainty = 1 + (-torch.special.entr(probabilities).sum(1)).exp()
    weights = (len(logits) * certainty / certainty.sum()).detach()
    confusion = (probabilities * weights[:, None]).T @ probabilities
    confusion = confusion / confusion.sum(1, keepdim=True)
    result: Tensor = (confusion.sum() - confusion.trace()) / logits.shape[1]
    return result
