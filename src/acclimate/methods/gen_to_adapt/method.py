"""Generate to Adapt (Sankaranarayanan et al., arXiv:1704.01705)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.gen_to_adapt.config import GenToAdaptConfig
from acclimate.methods.gen_to_adapt.networks import ClassDiscriminator, FeatureGenerator
from acclimate.networks import init_glorot, init_normal
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase
from acclimate.training.losses import bce, discriminator_accuracy
from acclimate.training.updates import frozen


class GenToAdapt(Method):
    """Features from which a generator can draw source-like images, of source and target images alike (section 3).

    F maps images to features, C features to classes. G draws an image from features, noise and a label, which is the
    class of a source image and a class of its own, K + 1, for every target image: x' = G(F(x), label) and
    t' = G(F(t), K + 1). D has two heads: D_data, real source image or drawn, and D_cls, the class. In this order

        D minimises  E[-log D_data(x)] + E[-log(1 - D_data(x'))] + E[-log(1 - D_data(t'))] + E[L_y(D_cls(x), label)],
        G minimises  E[-log D_data(x')] + E[L_y(D_cls(x'), label)],
        C minimises  E[L_y(C(F(x)), label)],
        F minimises  E[L_y(C(F(x)), label)] + alpha E[L_y(D_cls(x'), label)] + beta E[-log D_data(t')].

    Source images x and target images t are ``[N, C, H, W]`` in [-1, 1]. F and C are the two parts of the classifier,
    which is the authors' for digits at its default, gta; C(F(t)) classifies the target.

    Departures from the authors' code: F's step draws x' and t' anew from the new G and asks the new C, where they go
    back through what the old ones drew; F sees images in [-1, 1] as G and D do, not standardised ones; F and C start
    from Glorot-uniform weights, batch norm from 1.

    When it fails: the generator must draw source images from target features; on textured targets, such as MNIST-M, it
    is outdone by methods that redraw the source.
    """

    name = "gen-to-adapt"
    classifies = logs_discriminators = True
    kept = ("F", "C")

    def __init__(self, config: GenToAdaptConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config, self.classes = config, len(task.classes)
        classifier = task.classifier(config.classifier)
        self.F, self.C = classifier.features, classifier.head
        inputs = classifier.feature_size + self.classes + 1
        self.G = FeatureGenerator(inputs, task.channels, task.image_size, config.noise, config.width)
        self.D = ClassDiscriminator(task.channels, self.classes, config.width)
        init_glorot(classifier)
        init_normal(self.G)
        init_normal(self.D)
        engine.place(self)
        self.optimizers = {
            name: adam(self.get_submodule(name), lr=config.lr, beta1=config.beta1) for name in ("D", "G", "C", "F")
        }

    def phases(self, data: AdaptationData) -> list[Phase]:
        config = self.config
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine)

        def step(number: int) -> Mapping[str, Tensor]:
            self._set_lr(config.lr / (1.0 + config.lr_decay * number), "D", "C", "F")
            return self.step(*batches[number])

        return [self._phase("adversarial", batches, step, snapshots=config.snapshots)]

    def step(self, x: Tensor, labels: Tensor, t: Tensor) -> Mapping[str, Tensor]:
        """Update D, G, C and F in this order on one batch of each domain; return their losses and accuracies."""
        config, autocast = self.config, self.engine.autocast
        class_x = one_hot(labels, self.classes + 1).float()
        class_t = one_hot(torch.full_like(labels, self.classes), self.classes + 1).float()
        with autocast():
            f_x, f_t = self.F(x).float(), self.F(t).float()
            drawn_x, drawn_t = self.G(f_x.detach(), class_x), self.G(f_t.detach(), class_t)

        with autocast():
            (real, real_class), (fake_x, _), (fake_t, _) = (
                self.D(images) for images in (x, drawn_x.detach(), drawn_t.detach())
            )
        loss_d = bce(real, 1) + bce(fake_x, 0) + bce(fake_t, 0) + cross_entropy(real_class.float(), labels)
        self._update("D", loss_d)

        with autocast(), frozen(self.D):
            fooled, drawn_class = self.D(drawn_x)
        loss_g = bce(fooled, 1) + cross_entropy(drawn_class.float(), labels)
        self._update("G", loss_g)

        with autocast():
            logits = self.C(f_x.detach()).float()
        loss_c = cross_entropy(logits, labels)
        self._update("C", loss_c)

        with autocast(), frozen(self.D, self.G, self.C):
            on_c = self.C(f_x).float()
            _, on_x = self.D(self.G(f_x, class_x))
            on_t, _ = self.D(self.G(f_t, class_t))
        adversarial = cross_entropy(on_x.float(), labels) + config.target_weight * bce(on_t, 1)
        loss_f = cross_entropy(on_c, labels) + config.adversarial_weight * adversarial
        self._update("F", loss_f)

        accuracy = discriminator_accuracy(real.sigmoid(), torch.cat([fake_x, fake_t]).sigmoid())
        return {
            "D": loss_d,
            "G": loss_g,
            "C": loss_c,
            "F": loss_f,
            "accuracy": (logits.argmax(1) == labels).float().mean(),
            "D_accuracy": accuracy,
        }

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.C(self.F(images))
        return logits
