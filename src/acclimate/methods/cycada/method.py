"""CyCADA (Hoffman et al., "CyCADA: Cycle-Consistent Adversarial Domain Adaptation", arXiv:1711.03213)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.data.augmentation import POLICIES
from acclimate.data.images import with_texture_noise
from acclimate.methods.adda.config import ADDAConfig
from acclimate.methods.adda.method import ADDA
from acclimate.methods.base import AdaptationData, DomainBatches, Task, adam
from acclimate.methods.cycada.config import CyCADAConfig
from acclimate.methods.cyclegan.method import CycleGAN
from acclimate.networks import init_glorot
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase
from acclimate.training.updates import frozen


class CyCADA(CycleGAN):
    """CycleGAN whose generators keep what a source classifier f_S sees, then ADDA from the redrawn source.

    Phase source:       f_S minimises E[CE(f_S(x), label)]; then it no longer changes.
    Phase translator:   :class:`CycleGAN`, with G, F minimising besides
                        E[CE(f_S(G(x)), argmax f_S(x))] + E[CE(f_S(F(y)), argmax f_S(y))]  (equation 4).
    Phase pixel:        f_T minimises E[CE(f_T(G(x)), label)].
    Phase feature:      :class:`ADDA`: a copy of f_T adapts to the target, whose logits a discriminator shall not tell
                        from those that f_T gives redrawn source images  (section 3, "feature level").

    Source images x and target images y are ``[N, C, H, W]`` in [-1, 1]. The copy classifies the target.

    Departures: U-Nets and PatchGANs are CycleGAN's here. f_S is trained beforehand, as in the paper; the authors' code
    trains it along, leaves the consistency out while it is poor, has the source's labels in the first term, and doubles
    G's adversarial term. Images are redrawn whenever they are drawn. Both classifiers are the run's network, where the
    paper uses ``lenet``. The source's copy of f_T drops nothing out. In the presets fast and full f_S learns from
    augmented images (``source_augment``) and is believed where it is sure (``sure``): where it reads six target images
    of ten, as on MNIST-M, the consistency else keeps G from drawing the others.

    When it fails: its word for the class is the source classifier's. Where that cannot read the target, the consistency
    holds the generators to what it can read. The feature phase does not know classes: in the preset fast, whose copy
    learns ten times as fast and does not rest while the discriminator guesses, it may lay one class on another.
    """

    name = "cycada"
    classifies = True
    logs_discriminators = extendable = False  # its last phase is ADDA's, of a length of its own

    def __init__(self, config: CyCADAConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config: CyCADAConfig = config
        self.f_S = task.classifier(config.classifier)
        init_glorot(self.f_S)
        engine.place(self.f_S)
        self.optimizers["f_S"] = adam(self.f_S, lr=config.task_lr)
        stage = ADDAConfig(
            seed=config.seed,
            classifier=config.classifier,
            batch_size=config.feature_batch_size,
            source_steps=config.classifier_steps,
            source_lr=config.task_lr,
            weight_decay=0.0,
            steps=config.feature_steps,
            lr=config.feature_lr,
            beta1=config.feature_beta1,
            discriminator_floor=config.feature_floor,
        )
        self.adda = ADDA(stage, task, engine)

    def phases(self, data: AdaptationData) -> list[Phase]:
        config, adda = self.config, self.adda
        (translator,) = super().phases(data)
        translator.snapshot = None  # the last phase's snapshots have the generators too
        batches = DomainBatches(data.source_train, data.target_train, adda.config, self.engine)

        def source(number: int) -> Mapping[str, Tensor]:
            x, labels, _ = batches[number]
            return self._classifier_step("f_S", self.f_S, POLICIES[config.source_augment].strong(x), labels)

        def pixel(number: int) -> Mapping[str, Tensor]:
            x, labels, _ = batches[number]
            return adda.source_step(self._as_target(x), labels)

        def feature(number: int) -> Mapping[str, Tensor]:
            if number == 0:
                adda.target_encoder.load_state_dict(adda.source_encoder.state_dict())
            x, _, y = batches[number]
            return adda.adversarial_step(self._as_target(x), y)

        return [
            self._phase("source", batches, source, steps=config.classifier_steps),
            translator,
            self._phase("pixel", batches, pixel, steps=config.classifier_steps, state=adda.optimizers),
            self._phase("feature", batches, feature, snapshots=config.snapshots, state=adda.optimizers),
        ]

    def extra_losses(
        self, x: Tensor, labels: Tensor | None, y: Tensor, fake_x: Tensor, fake_y: Tensor
    ) -> dict[str, Tensor]:
        """Return the semantic consistency of both generators."""
        self.f_S.eval()
        with frozen(self.f_S):
            seen = {"semantic_x": self._consistency(x, fake_y), "semantic_y": self._consistency(y, fake_x)}
        return {name: self.config.semantic_weight * loss for name, loss in seen.items()}

    def _as_target(self, x: Tensor) -> Tensor:
        """Return source images redrawn, from the noise that G has learnt to draw from."""
        return self.translate(with_texture_noise(x, self.config.training_noise))

    def _consistency(self, images: Tensor, redrawn: Tensor) -> Tensor:
        """Return how far f_S reads something else in redrawn images, mean over all, of those where it is sure."""
        with torch.no_grad():
            certain, seen = self.f_S(images).float().softmax(1).max(1)
        losses = F.cross_entropy(self.f_S(redrawn).float(), seen, reduction="none")
        result: Tensor = (losses * (certain >= self.config.sure)).mean()
        return result

    def weights(self) -> dict[str, Any]:
        """Return the weights that translate and classify."""
        return super().weights() | {"classifier": self.adda.weights()}

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Take back what :meth:`weights` returned."""
        super().load_weights(weights)
        self.adda.load_weights(weights["classifier"])

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.adda(images)
        return logits
