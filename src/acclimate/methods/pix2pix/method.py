"""pix2pix (Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", arXiv:1611.07004)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from acclimate.errors import AcclimateError
from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.pix2pix.config import Pix2PixConfig
from acclimate.networks import PatchGAN, UNet, init_normal
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase, Stateful
from acclimate.training.losses import bce, discriminator_accuracy, reconstruction
from acclimate.training.updates import WeightAverage, frozen


class Pix2Pix(Method):
    """A generator G: X -> Y trained on pairs, against a discriminator D that sees input and output (section 3.1).

    G minimises  -E[log D(x, G(x))] + lambda E[|y - G(x)|];
    D minimises  1/2 (-E[log D(x, y)] - E[log(1 - D(x, G(x)))]).

    Source images x and target images y are ``[N, C, H, W]`` in [-1, 1], and y shows the object that x shows. The source
    redrawn by G then trains the classifier.

    Pairs are information that unsupervised adaptation does not have: this is an upper bound for translation, no
    competitor. It refuses domains that are not paired.

    Departures from paper and reference code: the U-Net, with its dropout in one block, and the PatchGAN are CycleGAN's
    here, with instance norm and 23x23 patches, as images are small; a step takes more than one image.

    When it fails: it needs pairs, which real tasks do not have; here it is the upper bound of what redrawing can give.
    """

    name = "pix2pix"
    translates = logs_discriminators = True

    def __init__(self, config: Pix2PixConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.G = UNet(task.channels, config.width, task.image_size, config.dropout, config.dropout_mode)
        self.D = PatchGAN(2 * task.channels, config.discriminator_width, task.image_size)
        init_normal(self)
        self.to(engine.device)
        self.average = WeightAverage(self.G, decay=config.ema) if config.ema else None
        self.optimizers = {
            "generator": adam(self.G, lr=config.lr, beta1=config.beta1),
            "discriminator": adam(self.D, lr=config.lr, beta1=config.beta1),
        }

    def phases(self, data: AdaptationData) -> list[Phase]:
        """Return the one phase.

        Raises
        ------
        AcclimateError
            The domains are not paired.
        """
        if not data.paired:
            raise AcclimateError(
                "pix2pix learns from pairs: source and target must show the same objects in the same order,"
                " as mnist and mnist-m do, and not --disjoint ones"
            )
        config, count = self.config, self.config.images or None
        source, target = data.source_train.first(count), data.target_train.first(count)
        batches = DomainBatches(source, target, config, self.engine, paired=True)

        def step(number: int) -> Mapping[str, Tensor]:
            self._decay_lr(config.lr_decay, config.lr, number, batches.steps)
            x, _, y = batches[number]
            return self.step(x, y)

        state: dict[str, Stateful] = {} if self.average is None else {"average": self.average}
        return [self._phase("translator", batches, step, snapshots=config.snapshots, state=state)]

    def step(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """Update the discriminator, then the generator, on one batch of pairs; return the losses and the accuracy."""
        config = self.config
        self.train()
        with self.engine.autocast():
            fake = self.G(x).float()
            on_real, on_fake = self.D.logits(torch.cat([x, y], 1)), self.D.logits(torch.cat([x, fake.detach()], 1))
        D = bce(on_real, 1) + bce(on_fake, 0)
        self._update("discriminator", config.discriminator_weight * D)

        with self.engine.autocast(), frozen(self.D):
            adversarial = bce(self.D.logits(torch.cat([x, fake], 1)), 1)
        L1 = reconstruction(fake, y)
        self._update("generator", adversarial + config.reconstruction_weight * L1)
        if self.average is not None:
            self.average.update()
        accuracy = discriminator_accuracy(on_real.sigmoid(), on_fake.sigmoid())
        return {"G_adversarial": adversarial, "L1": L1, "D": D, "D_accuracy": accuracy}

    @property
    def generator(self) -> nn.Module:
        """G as it translates: averaged where there is an average."""
        return self.G if self.average is None else self.average.networks[0]

    def _kept_networks(self) -> dict[str, nn.Module]:
        return {"G": self.generator}

    def translate(self, images: Tensor) -> Tensor:
        return self._redraw(self.generator, images)
