"""PixelDA (Bousmalis et al., "Unsupervised Pixel-Level Domain Adaptation with GANs", arXiv:1612.05424)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.pixelda.config import PixelDAConfig
from acclimate.networks import NoisyDiscriminator, ResidualGenerator, init_glorot, init_normal
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase
from acclimate.training.losses import bce, discriminator_accuracy
from acclimate.training.updates import frozen


class PixelDA(Method):
    """A generator G that redraws source images given noise, against a discriminator D and with a classifier T.

    With x_f = G(x_s, z), z uniform in [-1, 1] (section 3.1, equations 1 to 3; weights from the reference code),

    D, T minimise  alpha (-E[log D(x_t)] - E[log(1 - D(x_f))]) + E[CE(T(x_s), y_s)] + E[CE(T(x_f), y_s)];
    G minimises    -a E[log D(x_f)] + beta E[CE(T(x_f), y_s)],

    in turn. Source images x_s with labels y_s and target images x_t are ``[N, C, H, W]`` in [-1, 1]. T has a first
    convolution for source images and another for redrawn and target ones; the rest is shared. T is the result.

    Departures: T is the run's classifier network, where the paper uses ``dann``, and starts from Glorot weights. The
    gradients of an update are clipped together, where the reference code clips each variable's. The paper's content
    similarity loss is not for digits and left out. The preset fast has a warm-up and holds the classifier, which the
    paper does not.

    When it fails: its pictures keep the content of the source: a target that shows more, such as SVHN's neighbouring
    digits, stays out of reach. It wants hundreds of thousands of steps for textured targets.
    """

    name = "pixelda"
    translates = classifies = logs_discriminators = True
    kept = ("G", "T")

    def __init__(self, config: PixelDAConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.G = ResidualGenerator(task.channels, config.width, config.blocks, task.image_size, config.noise_size)
        self.D = NoisyDiscriminator(
            task.channels,
            config.discriminator_width,
            task.image_size,
            config.discriminator_noise,
            config.discriminator_dropout,
        )
        self.T = task.classifier(config.classifier)
        init_normal(self.G)
        init_normal(self.D)
        init_glorot(self.T)
        first = self.T.features[:3]  # convolution, pool, ReLU
        self.T_source = copy.deepcopy(first) if config.private_layer else first
        engine.place(self)
        settings = {"lr": config.lr, "beta1": config.beta1, "weight_decay": config.weight_decay}
        self.optimizers = {
            "discriminator": adam(self.D, self.T, *([self.T_source] if config.private_layer else []), **settings),
            "generator": adam(self.G, **settings),
        }

    def phases(self, data: AdaptationData) -> list[Phase]:
        config = self.config
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine)

        def step(number: int) -> Mapping[str, Tensor]:
            self._set_lr(config.lr * config.lr_decay_rate ** (number // config.lr_decay_steps))
            return self.step(*batches[number], held=number < config.hold * batches.steps)

        phases = [self._phase("pixelda", batches, step, snapshots=config.snapshots)]
        if config.warmup_steps:

            def copy_step(number: int) -> Mapping[str, Tensor]:
                x, labels, _ = batches[number]
                return self.warm_up(x, labels)

            phases.insert(0, self._phase("warm-up", batches, copy_step, steps=config.warmup_steps))
        return phases

    def warm_up(self, x: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Update the generator towards a copy of its input, then the classifier on both; return the losses."""
        self.train()
        with self.engine.autocast():
            fake = self.G(x, self._noise(x)).float()
        losses = {"G_copy": F.l1_loss(fake, x)}
        self._update("generator", losses["G_copy"])
        losses |= self._task_losses(x, fake.detach(), labels)
        self._update("discriminator", losses["T_source"] + losses["T_fake"])
        return losses

    def step(self, x: Tensor, labels: Tensor, y: Tensor, held: bool = False) -> Mapping[str, Tensor]:
        """Update discriminator and classifier, then the generator; return the losses.

        A classifier that is ``held`` learns from source images alone.
        """
        config = self.config
        self.train()
        with self.engine.autocast():
            fake = self.G(x, self._noise(x)).float()
            on_real, on_fake = self.D(y), self.D(fake.detach())
        losses = {"D": bce(on_real, 1) + bce(on_fake, 0)} | self._task_losses(x, fake.detach(), labels)
        total = config.discriminator_weight * losses["D"] + losses["T_source"]
        if not held:
            total = total + losses["T_fake"]
        self._update("discriminator", total, config.gradient_clip)

        with self.engine.autocast(), frozen(self.D, self.T):
            judged, classified = self.D(fake), self.T(fake).float()
            losses |= {"G_adversarial": bce(judged, 1), "G_task": F.cross_entropy(classified, labels)}
            total = config.adversarial_weight * losses["G_adversarial"] + config.task_weight * losses["G_task"]
        self._update("generator", total, config.gradient_clip)
        return losses | {"D_accuracy": discriminator_accuracy(on_real.sigmoid(), on_fake.sigmoid())}

    def _task_losses(self, x: Tensor, fake: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with self.engine.autocast():
            on_source, on_fake = self.classify_source(x).float(), self.T(fake).float()
        return {"T_source": F.cross_entropy(on_source, labels), "T_fake": F.cross_entropy(on_fake, labels)}

    def classify_source(self, images: Tensor) -> Tensor:
        """Classify source images as they are; return logits ``[N, classes]``."""
        logits: Tensor = self.T.head(self.T.features[3:](self.T_source(images)))
        return logits

    def _noise(self, images: Tensor) -> Tensor:
        return torch.rand(len(images), self.config.noise_size, device=images.device) * 2 - 1

    def translate(self, images: Tensor) -> Tensor:
        return self._redraw(self.G, images, self._noise(images))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.T(images)
        return logits
