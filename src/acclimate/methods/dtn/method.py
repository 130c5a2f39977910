"""Domain transfer network (Taigman et al., "Unsupervised Cross-Domain Image Generation", arXiv:1611.02200)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acclimate.data.augmentation import POLICIES
from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.dtn.config import DTNConfig
from acclimate.methods.dtn.networks import DTNDiscriminator, DTNEncoder, DTNGenerator
from acclimate.networks import init_glorot
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase
from acclimate.training.losses import total_variation
from acclimate.training.updates import frozen

FROM_SOURCE, FROM_TARGET, REAL = range(3)
"""The discriminator's classes: drawn from a source image, drawn from a target image, a target image."""


class DTN(Method):
    """A generator G = g(f(.)) that keeps what a classifier's features f see and draws it as the target is drawn.

    Phase encoder:     f, with a linear layer on top, learns the classes of source images; then it no longer changes.
    Phase translator:  with D_1, D_2, D_3 the probabilities of :data:`FROM_SOURCE`, :data:`FROM_TARGET`, :data:`REAL`,
        D minimises    -E[log D_1(G(x))] - E[log D_2(G(y))] - E[log D_3(y)];
        g minimises    -E[log D_3(G(x))] - E[log D_3(G(y))] + alpha E[(f(G(x)) - f(x))^2] + beta E[(G(y) - y)^2]
                       + gamma TV(G(x), G(y)).  (section 4)

    Source images x and target images y are ``[N, C, H, W]`` in [-1, 1], f's vectors ``[N, 128]``. The source redrawn by
    G then trains the classifier.

    Departures: f is trained on the source of the run, where the paper has half a million digits of SVHN, which the
    preset fast makes up for by augmentation; D and g take one step each, where
    the public code this follows takes several and has a binary D; squares and variations are means over pixels.

    When it fails: what f reads wrong in the target, g draws under the wrong label; with an f of 79 % on USPS the
    adapted classifier was no better.
    """

    name = "dtn"
    translates = True
    kept = ("f", "g")

    def __init__(self, config: DTNConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.f = DTNEncoder(task.channels, config.width, task.image_size, config.feature_size)
        self.head = nn.Linear(config.feature_size, len(task.classes))
        self.g = DTNGenerator(task.channels, 2 * config.width, task.image_size, config.feature_size)
        self.D = DTNDiscriminator(task.channels, 2 * config.width, task.image_size)
        init_glorot(self)
        engine.place(self)
        settings = {"lr": config.lr, "beta1": config.beta1}
        self.optimizers = {
            "encoder": adam(self.f, self.head, **settings),
            "generator": adam(self.g, **settings),
            "discriminator": adam(self.D, **settings),
        }

    def phases(self, data: AdaptationData) -> list[Phase]:
        config = self.config
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine)

        def encoder(number: int) -> Mapping[str, Tensor]:
            x, labels, _ = batches[number]
            views = POLICIES[config.encoder_augment].strong(x)
            return self._classifier_step("encoder", nn.Sequential(self.f, self.head), views, labels)

        def translator(number: int) -> Mapping[str, Tensor]:
            self._decay_lr(config.lr_decay, config.lr, number, batches.steps, "generator", "discriminator")
            x, _, y = batches[number]
            return self.step(x, y)

        return [
            self._phase("encoder", batches, encoder, steps=config.encoder_steps),
            self._phase("translator", batches, translator, snapshots=config.snapshots),
        ]

    def step(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Update the discriminator, then the generator, on one batch of each domain; return the losses."""
        config = self.config
        self.g.train()
        self.f.eval()
        with self.engine.autocast():
            with torch.no_grad():
                features = self.f(torch.cat([x, y]))
            drawn = self.g(features).float()
            on_drawn, on_real = self.D(drawn.detach()).float().split([len(x), len(y)]), self.D(y).float()
        losses = {"D": _class_loss(on_drawn[0], FROM_SOURCE) + _class_loss(on_drawn[1], FROM_TARGET)}
        losses["D"] = losses["D"] + _class_loss(on_real, REAL)
        self._update("discriminator", losses["D"])

        with self.engine.autocast(), frozen(self.D, self.f):
            judged = self.D(drawn).float().split([len(x), len(y)])
            from_x, from_y = drawn.split([len(x), len(y)])
            losses |= {
                "G_adversarial": _class_loss(judged[0], REAL) + _class_loss(judged[1], REAL),
                "constancy": F.mse_loss(self.f(from_x).float(), features[: len(x)].float()),
                "identity": F.mse_loss(from_y, y),
            }
            total = losses["G_adversarial"] + config.constancy_weight * losses["constancy"]
            total = total + config.identity_weight * losses["identity"]
            if config.smoothing_weight:
                losses["smoothing"] = total_variation(drawn)
                total = total + config.smoothing_weight * losses["smoothing"]
        self._update("generator", total)
        return losses

    def translate(self, images: Tensor) -> Tensor:
        return self._redraw(nn.Sequential(self.f, self.g), images)


def _class_loss(logits: Tensor, label: int) -> Tensor:
    """Return the cross entropy of logits ``[N, 3]`` against one class for all."""
    return F.cross_entropy(logits, torch.full((len(logits),), label, device=logits.device))
