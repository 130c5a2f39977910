"""Coupled generative adversarial networks (Liu and Tuzel, arXiv:1606.07536), adapting a classifier (section 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.data.augmentation import POLICIES
from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.cogan.config import CoGANConfig
from acclimate.methods.cogan.networks import CoupledDiscriminator, CoupledGenerator
from acclimate.networks import init_glorot
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase
from acclimate.training.losses import bce, discriminator_accuracy
from acclimate.training.updates import frozen


class CoGAN(Method):
    """Two GANs that share layers, one a domain, and a class head on the shared features.

    From the same noise z, G_x and G_t draw a pair (x', t'). D_x and D_t share features f and the two heads: "real" and
    the classes C. With the expectation over images of both domains,

        D minimises  E[-log D(real)] + E[-log(1 - D(drawn))]
                     + class_weight E[L_y(C(f(x)), label)] + feature_weight E[|f(x') - f(t')|^2],
        G minimises  E[-log D(drawn)].

    Source images x and target images t are ``[N, C, H, W]`` in [-1, 1]. A target image is classified through D_t: its
    own first layer, the shared features, the class head that saw source labels only.

    The networks see and draw images in [0, 1], and start from sqrt(2) times Glorot's weights and biases of 0.1, as the
    authors' do: in [-1, 1] and from Glorot's, GANs with all layers but one in common draw clutter on MNIST and USPS.

    Departures from the authors' code: 32 pixels and 3 channels work as do its 28 and 1; "real" is one logit instead of
    two; only the discriminators' noise is drawn anew for the generators. The preset fast has a warm-up, and learns the
    classes from augmented images: USPS's digits fill the frame where MNIST's have a margin, and what the class head
    reads wrong the pairs confirm.

    When it fails: what the two generators draw from one noise must show one thing. Where the domains have no such pairs
    of simple images, such as MNIST and MNIST-M, the shared layers draw neither well.
    """

    name = "cogan"
    classifies = logs_discriminators = True
    kept = ("D",)

    def __init__(self, config: CoGANConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.G = CoupledGenerator(task.channels, task.image_size, config.latent, config.width, config.private_layers)
        self.D = CoupledDiscriminator(task.channels, len(task.classes), task.image_size)
        init_glorot(self, gain=math.sqrt(2), bias=0.1)
        engine.place(self)
        settings = {"lr": config.lr, "beta1": config.beta1, "weight_decay": config.weight_decay}
        self.optimizers = {"generators": adam(self.G, **settings), "discriminators": adam(self.D, **settings)}

    def phases(self, data: AdaptationData) -> list[Phase]:
        config = self.config
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine)

        def label_step(number: int) -> Mapping[str, Tensor]:
            x, labels, _ = batches[number]
            return self.warm_up(x, labels)

        def step(number: int) -> Mapping[str, Tensor]:
            self._decay_lr(config.lr_decay, config.lr, number, batches.steps)
            return self.step(*batches[number])

        adversarial = self._phase("adversarial", batches, step, snapshots=config.snapshots)
        if not config.warmup_steps:
            return [adversarial]
        return [self._phase("warm-up", batches, label_step, steps=config.warmup_steps), adversarial]

    def warm_up(self, x: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Update the class head and what it stands on, the same for both domains; return loss and accuracy."""
        with self.engine.autocast():
            logits = self._classes(x)
        loss = F.cross_entropy(logits, labels)
        self._update("discriminators", loss)
        self.D.target_layer.load_state_dict(self.D.source_layer.state_dict())
        return {"label": loss, "accuracy": (logits.argmax(1) == labels).float().mean()}

    def step(self, x: Tensor, labels: Tensor, t: Tensor) -> Mapping[str, Tensor]:
        """Update the discriminators, then the generators, on one batch of each domain; return losses and accuracies."""
        with torch.no_grad():
            drawn_x, drawn_t = self._draw(len(x))
        with self.engine.autocast():
            f_x, f_t = self.D.features_of_source(unit(x)), self.D.features_of_target(unit(t))
            f_drawn_x, f_drawn_t = self.D.features_of_source(drawn_x), self.D.features_of_target(drawn_t)
            real, fake = self.D.real(torch.cat([f_x, f_t])), self.D.real(torch.cat([f_drawn_x, f_drawn_t]))
            logits = self._classes(x)
        losses = {
            "D": bce(real, 1) + bce(fake, 0),
            "label": F.cross_entropy(logits, labels),
            "feature": (f_drawn_x - f_drawn_t).float().square().sum(1).mean(),
        }
        weights = {"D": 1.0, "label": self.config.class_weight, "feature": self.config.feature_weight}
        self._update("discriminators", sum((weights[name] * loss for name, loss in losses.items()), real.new_zeros(())))
        drawn_x, drawn_t = self._draw(len(x))
        with self.engine.autocast(), frozen(self.D):
            f_drawn_x, f_drawn_t = self.D.features_of_source(drawn_x), self.D.features_of_target(drawn_t)
            losses["G"] = bce(self.D.real(torch.cat([f_drawn_x, f_drawn_t])), 1)
        self._update("generators", losses["G"])
        return losses | {
            "accuracy": (logits.argmax(1) == labels).float().mean(),
            "D_accuracy": discriminator_accuracy(real.sigmoid(), fake.sigmoid()),
        }

    def _draw(self, count: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(count, self.config.latent, device=self.engine.device)
        with self.engine.autocast():
            source, target = self.G(noise)
        return source.float(), target.float()

    def _classes(self, x: Tensor) -> Tensor:
        """Return the logits of source images, of their strong views if there is a policy."""
        views = POLICIES[self.config.class_augment].strong(x)
        logits: Tensor = self.D.label(self.D.features_of_source(unit(views))).float()
        return logits

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.D.label(self.D.features_of_target(unit(images)))
        return logits


def unit(images: Tensor) -> Tensor:
    """Map images from [-1, 1] to the [0, 1] that the networks see."""
    return (images + 1) / 2
