"""Adversarial discriminative domain adaptation (Tzeng et al., arXiv:1702.05464)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from acclimate.methods.adda.config import ADDAConfig
from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.networks import Chain, init_glorot
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase
from acclimate.training.losses import bce, discriminator_accuracy
from acclimate.training.updates import frozen


class ADDA(Method):
    """A target encoder M_t that a discriminator D cannot tell from the source encoder M_s (equation 9).

    Phase source:       M_s minimises  E[L_y(M_s(x), label)].
    Phase adversarial:  M_t starts as a copy of M_s, which no longer changes;
                        D minimises    E[-log D(M_s(x))] + E[-log(1 - D(M_t(t)))],
                        M_t minimises  E[-log D(M_t(t))], the labels inverted.

    Source images x and target images t are ``[N, C, H, W]`` in [-1, 1]. What the encoders return are the logits, as in
    the authors' code, so that the classifier of the equations is part of them; M_t classifies the target. D is FC500,
    ReLU, FC500, ReLU, one logit.

    Departures from the paper: the network is the classifier that all methods here share (``--classifier lenet`` is the
    paper's); D takes its step before M_t, and M_t sees the new D, where the authors' code takes both at once.

    When it fails: nothing ties a target image to its class, so that classes may change places while the discriminator
    is content.
    """

    name = "adda"
    classifies = True
    kept = ("target_encoder",)

    def __init__(self, config: ADDAConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.source_encoder = task.classifier(config.classifier)
        self.discriminator = Chain(
            nn.Linear(len(task.classes), 500),
            nn.ReLU(inplace=True),
            nn.Linear(500, 500),
            nn.ReLU(inplace=True),
            nn.Linear(500, 1),
        )
        init_glorot(self)
        self.target_encoder = copy.deepcopy(self.source_encoder)
        engine.place(self)
        self.optimizers = {
            "source": adam(self.source_encoder, lr=config.source_lr, weight_decay=config.weight_decay),
            "target": adam(self.target_encoder, lr=config.lr, beta1=config.beta1),
            "discriminator": adam(self.discriminator, lr=config.lr, beta1=config.beta1),
        }

    def phases(self, data: AdaptationData) -> list[Phase]:
        config = self.config
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine)

        def source(number: int) -> Mapping[str, Tensor]:
            x, labels, _ = batches[number]
            return self.source_step(x, labels)

        def adversarial(number: int) -> Mapping[str, Tensor]:
            if number == 0:
                self.target_encoder.load_state_dict(self.source_encoder.state_dict())
            x, _, t = batches[number]
            return self.adversarial_step(x, t)

        return [
            self._phase("source", batches, source, steps=config.source_steps),
            self._phase("adversarial", batches, adversarial, snapshots=config.snapshots),
        ]

    def source_step(self, x: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Update the source encoder on one labelled batch; return loss and accuracy."""
        return self._classifier_step("source", self.source_encoder, x, labels)

    def adversarial_step(self, x: Tensor, t: Tensor) -> Mapping[str, Tensor]:
        """Update the discriminator, then the target encoder, on one batch of each domain; return losses, accuracy."""
        self.source_encoder.eval()
        with self.engine.autocast():
            with torch.no_grad():
                encoded_x = self.source_encoder(x).float()
            encoded_t = self.target_encoder(t).float()
            on_x, on_t = self.discriminator(encoded_x), self.discriminator(encoded_t.detach())
        loss = bce(on_x, 1) + bce(on_t, 0)
        self._update("discriminator", loss)
        with self.engine.autocast(), frozen(self.discriminator):
            mapping = bce(self.discriminator(encoded_t), 1)
        accuracy, floor = discriminator_accuracy(on_x.sigmoid(), on_t.sigmoid()), self.config.discriminator_floor
        if not floor or self.engine.processes.average(accuracy) > floor:
            self._update("target", mapping)
        return {"discriminator": loss, "mapping": mapping, "domain_accuracy": accuracy}

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.target_encoder(images)
        return logits
