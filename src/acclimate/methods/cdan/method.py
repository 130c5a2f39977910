"""CDAN (Long, Cao, Wang and Jordan, "Conditional Adversarial Domain Adaptation", NeurIPS 2018)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.cdan.config import CDANConfig
from acclimate.methods.dann.method import reversal_strength, reverse_gradient
from acclimate.networks import Chain, init_glorot
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase
from acclimate.training.losses import discriminator_accuracy


class CDAN(Method):
    """DANN whose domain classifier sees features and predicted classes together, multiplied out.

    Features f, classes g = softmax(y(f)) and domain classifier d, in one step (arXiv:1705.10667, section 3):

        E = E[CE(y(f(x)), label)] + E[w BCE(d(R(h(x))), 1)] + E[w BCE(d(R(h(t))), 0)],   h = f g^T, flattened,

    where R turns the gradient round, times lambda, which grows from 0; w = 1 + exp(-H(g)), normalised over each domain,
    with ``entropy``. Where h would be large, it is an inner product of random projections of f and g instead. d is two
    layers with ReLU and a logit. Source images x and target images t are ``[N, C, H, W]`` in [-1, 1].

    Departures from the paper: f and y are the two parts of the run's classifier; Adam, whose rate falls, in place of
    SGD.

    When it fails: as DANN does, if less often: what a wrong classifier says conditions the discriminator.
    """

    name = "cdan"
    classifies = takes_features = True
    kept = ("classifier",)
    of_features: Tensor
    of_classes: Tensor

    def __init__(self, config: CDANConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.classifier = task.classifier(config.classifier)
        size, classes = self.classifier.feature_size, len(task.classes)
        multiplied = size * classes
        if multiplied > config.most:
            multiplied = config.most
            self.register_buffer("of_features", torch.randn(size, multiplied))
            self.register_buffer("of_classes", torch.randn(classes, multiplied))
        self.projects = size * classes > config.most
        self.domain_classifier = Chain(
            nn.Linear(multiplied, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, 1),
        )
        self.classifier.draw_weights()
        init_glorot(self.domain_classifier)
        engine.place(self)
        self.optimizers = {"optimizer": adam(self, lr=config.lr)}

    def phases(self, data: AdaptationData) -> list[Phase]:
        config = self.config
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine)

        def step(number: int) -> Mapping[str, Tensor]:
            self._decay_lr(config.lr_decay, config.lr, number, batches.steps)
            return self.step(*batches[number], config.reversal * reversal_strength(number / batches.steps))

        return [self._phase("adversarial", batches, step, snapshots=config.snapshots)]

    def step(self, x: Tensor, labels: Tensor, t: Tensor, strength: float) -> Mapping[str, Tensor]:
        """Update everything on one batch of each domain, with lambda = ``strength``; return losses and accuracies."""
        self.train()
        with self.engine.autocast():
            features = self.classifier.features(torch.cat([x, t])).float()
            logits = self.classifier.head(features).float()
            classes = logits.softmax(1).detach()
            domain = self.domain_classifier(reverse_gradient(self.multiplied(features, classes), strength)).float()
        label_loss = F.cross_entropy(logits[: len(x)], labels)
        on_x, on_t = domain[:, 0].split([len(x), len(t)])
        weights = self._weights(classes)
        domain_loss = (weights[: len(x)] * F.softplus(-on_x)).sum() / weights[: len(x)].sum()
        domain_loss = domain_loss + (weights[len(x) :] * F.softplus(on_t)).sum() / weights[len(x) :].sum()
        self._update("optimizer", label_loss + domain_loss)
        return {
            "label": label_loss,
            "domain": domain_loss,
            "accuracy": (logits[: len(x)].argmax(1) == labels).float().mean(),
            "domain_accuracy": discriminator_accuracy(on_x.sigmoid(), on_t.sigmoid()),
        }

    def multiplied(self, features: Tensor, classes: Tensor) -> Tensor:
        """Return h, ``[N, D K]``, or projections of it, from features ``[N, D]`` and probabilities ``[N, K]``."""
        if self.projects:
            return (features @ self.of_features) * (classes @ self.of_classes) / math.sqrt(self.of_features.shape[1])
        return (classes[:, :, None] * features[:, None, :]).flatten(1)

    def _weights(self, classes: Tensor) -> Tensor:
        if not self.config.entropy:
            return torch.ones(len(classes), device=classes.device)
        entropy: Tensor = torch.special.entr(classes).sum(1)
        return 1 + (-entropy).exp()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        return logits
