"""Domain-adversarial training (Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 2016)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.dann.config import DANNConfig
from acclimate.networks import Chain, init_glorot
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase
from acclimate.training.losses import bce, discriminator_accuracy


class DANN(Method):
    """Features that tell the classes apart and the domains not (section 4.2, figure 1).

    With features f, label classifier y and domain classifier d, all in one step of gradient descent:

        E = E[L_y(y(f(x)), label)] + E[L_d(d(R(f(x))), source)] + E[L_d(d(R(f(t))), target)],

    where R is the identity forwards and turns the gradient round backwards, times lambda: d learns to tell the domains
    apart, at full weight, and f to confuse it. lambda grows from 0 to 1 and the learning rate falls over the training
    (section 5.2.2).

    Source images x and target images t are ``[N, C, H, W]`` in [-1, 1]. f and y are the two parts of the classifier; d
    is FC100, ReLU, one logit on the flattened features.

    Departures from the paper: the classifier is the one that all methods here share (``--classifier dann`` is the
    paper's for MNIST); images are scaled instead of mean-subtracted; batch norm in y sees the source alone, also where
    that in f sees both domains. The paper does not say how long it trains; 100 epochs are those of the recipe that the
    preset strong follows.

    When it fails: it aligns the domains as wholes, whatever the classes. Where these come in other shares, or a good
    backbone already reads the target, it makes things worse: from PACS's paintings to its photos 89 % instead of 96.
    """

    name = "dann"
    classifies = takes_features = True
    kept = ("classifier",)

    def __init__(self, config: DANNConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.classifier = task.classifier(config.classifier)
        self.domain_classifier = Chain(
            nn.Linear(self.classifier.feature_size, 100),
            nn.BatchNorm1d(100) if config.domain_batch_norm else nn.Identity(),
            nn.ReLU(inplace=True),
            nn.Linear(100, 1),
        )
        self.classifier.draw_weights()
        init_glorot(self.domain_classifier)
        engine.place(self)
        if config.optimizer == "sgd":
            self.optimizers = {"optimizer": torch.optim.SGD(self.parameters(), config.lr, momentum=0.9, fused=True)}
        else:
            self.optimizers = {"optimizer": adam(self, lr=config.lr)}

    def phases(self, data: AdaptationData) -> list[Phase]:
        config = self.config
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine)

        def step(number: int) -> Mapping[str, Tensor]:
            progress = number / batches.steps
            if config.optimizer == "sgd":
                self._set_lr(annealed_lr(config.lr, progress))
            self._decay_lr(config.lr_decay, config.lr, number, batches.steps)
            return self.step(*batches[number], config.reversal * reversal_strength(progress))

        return [self._phase("adversarial", batches, step, snapshots=config.snapshots)]

    def step(self, x: Tensor, labels: Tensor, t: Tensor, strength: float) -> Mapping[str, Tensor]:
        """Update everything on one batch of each domain, with lambda = ``strength``; return losses and accuracies."""
        calls = [torch.cat([x, t])] if self.config.batch_norm == "together" else [x, t]
        with self.engine.autocast():
            features = [self.classifier.features(images) for images in calls]
            logits = self.classifier.head(features[0][: len(x)]).float()
            domain = [self.domain_classifier(reverse_gradient(some, strength)).float() for some in features]
        domain_x, domain_t = torch.cat(domain).split([len(x), len(t)])
        label_loss = F.cross_entropy(logits, labels)
        domain_loss = bce(domain_x, 1) + bce(domain_t, 0)
        self._update("optimizer", label_loss + domain_loss)
        return {
            "label": label_loss,
            "domain": domain_loss,
            "accuracy": (logits.argmax(1) == labels).float().mean(),
            "domain_accuracy": discriminator_accuracy(domain_x.sigmoid(), domain_t.sigmoid()),
        }

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        return logits


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """Return ``x`` as it is; its gradient comes back times ``-strength`` (section 4.2)."""
    reversed_: Tensor = _ReverseGradient.apply(x, strength)  # type: ignore[no-untyped-call]
    return reversed_


def reversal_strength(progress: float) -> float:
    """Return lambda = 2 / (1 + exp(-10 p)) - 1 at ``progress`` p, from 0 to 1 (section 5.2.2)."""
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


def annealed_lr(lr: float, progress: float) -> float:
    """Return the learning rate ``lr`` / (1 + 10 p)^0.75 at ``progress`` p, from 0 to 1 (section 5.2.2)."""
    return lr / math.pow(1.0 + 10.0 * progress, 0.75)
