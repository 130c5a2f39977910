"""CycleGAN adaptation (Basci, "Unsupervised Domain Adaptation through CycleGAN"; Zhu et al., arXiv:1703.10593)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acclimate.data.augmentation import POLICIES
from acclimate.data.images import with_texture_noise
from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.cyclegan.config import CycleConfig, CycleGANConfig
from acclimate.networks import ImageClassifier, LargePatchGAN, PatchGAN, ResNetGenerator, UNet, init_normal
from acclimate.training.distributed import Processes
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase, Stateful
from acclimate.training.losses import discriminator_accuracy, lsgan_discriminator, lsgan_generator, reconstruction
from acclimate.training.replay import Replayed
from acclimate.training.updates import WeightAverage, frozen

JUDGE_LR = 2e-3
"""AdamW's learning rate for the judge, which falls to 0."""

SURE = 0.9
"""Probability from which the judge's word on a target image counts."""


class CycleGAN(Method):
    """Two generators G: X -> Y and F: Y -> X against two discriminators D_Y and D_X (section 4.1).

    G, F minimise  E[(D_Y(G(x)) - 1)^2] + E[(D_X(F(y)) - 1)^2]
                   + lambda_1 (|F(G(x)) - x| + |G(F(y)) - y|) + lambda_2 (|G(y) - y| + |F(x) - x|);
    D_Y minimises  1/2 (E[(D_Y(y) - 1)^2] + E[D_Y(G(x))^2]), and D_X likewise.

    Source images X and target images Y are ``[N, C, H, W]`` in [-1, 1], batches drawn independently. The source redrawn
    by G then trains the classifier.

    With ``semantic_weight``, G and F minimise besides that times E[CE(J(G(x)), label)] + E[1(J(y) sure) CE(J(F(y)),
    argmax J(y))], where the judge J is a classifier that learnt strongly augmented source images beforehand and no
    longer changes (after CyCADA, arXiv:1711.03213, equation 4, whose judge sees the source as it is).

    Departures from the paper and its author's notebook: G([x; y]) is one call, which instance norm makes exact; a
    discriminator takes one step on real and generated images together where the notebook takes two; with
    ``training_noise`` G redraws noisy source images, as an Augmented CycleGAN draws from a latent code (Almahairi et
    al., arXiv:1802.10151).

    When it fails: nothing but the cycle ties an image to its class, so that generators may swap classes where the
    domains have these in other shares. What the source's images say nothing of, such as SVHN's neighbouring digits, is
    not drawn: there the paper's recipe gains nothing.
    """

    name = "cyclegan"
    translates = translates_back = logs_discriminators = True

    def __init__(self, config: CycleConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.G, self.F = (generator(config, task) for _ in range(2))
        self.D_X, self.D_Y = (discriminator(config, task) for _ in range(2))
        init_normal(self)
        self.to(engine.device)
        self.average = WeightAverage(self.G, self.F, decay=config.ema) if config.ema else None
        self.optimizers = {
            "generators": adam(self.G, self.F, lr=config.lr, beta1=config.beta1),
            "discriminators": adam(self.D_X, self.D_Y, lr=config.lr, beta1=config.beta1),
        }
        self.judge: ImageClassifier | None = None
        if isinstance(config, CycleGANConfig) and config.semantic_weight:
            self.judge = task.classifier(config.judge)
            engine.place(self.judge)
            self.optimizers["judge"] = torch.optim.AdamW(self.judge.parameters(), JUDGE_LR, fused=True)
            self.policy = POLICIES["symbols" if config.augment == "none" else config.augment]
        self.pools = {name: ImagePool(config.pool, engine.processes) for name in ("fake_x", "fake_y")}
        self._replayed = {
            "generators": Replayed(engine, self.G, self.F),
            "discriminators": Replayed(engine, self.D_X, self.D_Y),
        }

    def phases(self, data: AdaptationData) -> list[Phase]:
        config, count = self.config, self.config.images or None
        source, target = data.source_train.first(count), data.target_train.first(count)
        batches = DomainBatches(source, target, config, self.engine)

        def step(number: int) -> Mapping[str, Tensor]:
            self._decay_lr(config.lr_decay, config.lr, number, batches.steps, "generators", "discriminators")
            x, labels, y = batches[number]
            return self.step(random_crop(x, config.crop), random_crop(y, config.crop), labels)

        state: dict[str, Stateful] = {**self.pools}
        if self.average is not None:
            state["average"] = self.average
        phases = [self._phase("translator", batches, step, snapshots=config.snapshots, state=state)]
        if self.judge is not None and isinstance(config, CycleGANConfig):
            phases.insert(0, self._judge_phase(self.judge, data, config))
        return phases

    def _judge_phase(self, judge: ImageClassifier, data: AdaptationData, config: CycleGANConfig) -> Phase:
        """Return the phase in which the judge learns augmented source images."""
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine)

        def step(number: int) -> Mapping[str, Tensor]:
            x, labels, _ = batches[number]
            self._set_lr(JUDGE_LR * (1 + math.cos(math.pi * number / config.judge_steps)) / 2, "judge")
            return self._classifier_step("judge", judge, self.policy.strong(x), labels)

        return self._phase("judge", batches, step, steps=config.judge_steps)

    @property
    def generators(self) -> tuple[nn.Module, ...]:
        """G and F as they translate: averaged where there is an average."""
        return (self.G, self.F) if self.average is None else self.average.networks

    def step(self, x: Tensor, y: Tensor, labels: Tensor | None = None) -> Mapping[str, Tensor]:
        """Update generators, then discriminators, on one batch of each domain; return the losses and accuracies.

        ``labels``, int64 ``[N]``, are the source's, which the judge needs.
        """
        values = dict(self._replayed["generators"](self._generators_pass, x, y, labels))
        fakes = [values.pop(name) for name in self.pools]
        self._descend("generators")
        if self.average is not None:
            self.average.update()
        shown = [pool(fake) for pool, fake in zip(self.pools.values(), fakes, strict=True)]
        judged = self._replayed["discriminators"](self._discriminators_pass, x, y, *shown)
        self._descend("discriminators")
        total = {"generators": values.pop("generators"), "discriminators": judged["D_X"] + judged["D_Y"]}
        return {**total, **values, **judged}

    def _generators_pass(self, x: Tensor, y: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """Set the generators' gradients; return their losses and what they drew."""
        config = self.config
        cycled = math.ceil(config.cycle_share * len(x))
        same = math.ceil(config.identity_share * len(x)) if config.identity_weight else 0
        with self.engine.autocast(), frozen(self.D_X, self.D_Y):
            redrawn = with_texture_noise(x, config.training_noise)
            fake_y, same_y = self.G(torch.cat([redrawn, y[:same]])).float().split([len(x), same])
            fake_x, same_x = self.F(torch.cat([y, x[:same]])).float().split([len(y), same])
            losses = {
                "G_adversarial": lsgan_generator(self.D_Y(fake_y)),
                "F_adversarial": lsgan_generator(self.D_X(fake_x)),
                "cycle_x": reconstruction(self.F(fake_y[:cycled]), x[:cycled]),
                "cycle_y": reconstruction(self.G(fake_x[:cycled]), y[:cycled]),
            }
            total = losses["G_adversarial"] + losses["F_adversarial"]
            total = total + config.cycle_weight * (losses["cycle_x"] + losses["cycle_y"])
            extra = self.extra_losses(x, labels, y, fake_x, fake_y)
            losses, total = losses | extra, total + sum(extra.values())
            if same:
                losses |= {
                    "identity_x": reconstruction(same_x, x[:same]),
                    "identity_y": reconstruction(same_y, y[:same]),
                }
                total = total + config.identity_weight * (losses["identity_x"] + losses["identity_y"])
        self._set_gradients("generators", total)
        return {"generators": total, **losses, "fake_x": fake_x.detach(), "fake_y": fake_y.detach()}

    def _discriminators_pass(self, x: Tensor, y: Tensor, fake_x: Tensor, fake_y: Tensor) -> dict[str, Tensor]:
        """Set the discriminators' gradients; return their losses and accuracies."""
        with self.engine.autocast():
            on_x = self.D_X(torch.cat([x, fake_x])).float().split([len(x), len(fake_x)])
            on_y = self.D_Y(torch.cat([y, fake_y])).float().split([len(y), len(fake_y)])
        losses = {"D_X": lsgan_discriminator(*on_x), "D_Y": lsgan_discriminator(*on_y)}
        accuracies = {"D_X_accuracy": discriminator_accuracy(*on_x), "D_Y_accuracy": discriminator_accuracy(*on_y)}
        awake = self.engine.processes.average(torch.stack([*accuracies.values()])) <= self.config.discriminator_ceiling
        active = losses["D_X"] * awake[0] + losses["D_Y"] * awake[1]
        self._set_gradients("discriminators", self.config.discriminator_weight * active)
        return {**losses, **accuracies}

    def extra_losses(
        self, x: Tensor, labels: Tensor | None, y: Tensor, fake_x: Tensor, fake_y: Tensor
    ) -> dict[str, Tensor]:
        """Return weighted terms that the generators minimise besides, by name: here the class that is to be kept.

        A redrawn source image shall read as its label, a redrawn target image as what the judge reads in it where it is
        sure.
        """
        if self.judge is None or labels is None or not isinstance(self.config, CycleGANConfig):
            return {}
        self.judge.eval()
        with frozen(self.judge):
            on_y, on_x = self.judge(fake_y).float(), self.judge(fake_x).float()
            with torch.no_grad():
                sure, seen = self.judge(y).float().softmax(1).max(1)
        back = (F.cross_entropy(on_x, seen, reduction="none") * (sure > SURE)).mean()
        weight = self.config.semantic_weight
        return {"semantic_x": weight * F.cross_entropy(on_y, labels), "semantic_y": weight * back}

    def _kept_networks(self) -> dict[str, nn.Module]:
        """Return the generators, averaged where there is an average."""
        return dict(zip("GF", self.generators, strict=True))

    @property
    def redraws_any_size(self) -> bool:
        return self.config.networks == "photos"

    def translate(self, images: Tensor) -> Tensor:
        return self._redraw(self.generators[0], images)

    def translate_back(self, images: Tensor) -> Tensor:
        return self._redraw(self.generators[1], images)


def generator(config: CycleConfig, task: Task) -> nn.Module:
    """Return a generator as the settings say."""
    if config.networks == "photos":
        return ResNetGenerator(task.channels, config.width, config.blocks)
    size = config.crop or task.image_size
    return UNet(task.channels, config.width, size, config.dropout, config.dropout_mode)


def discriminator(config: CycleConfig, task: Task) -> nn.Module:
    """Return a discriminator as the settings say."""
    network = LargePatchGAN if config.networks == "photos" else PatchGAN
    return network(task.channels, config.discriminator_width, config.crop or task.image_size)


def random_crop(images: Tensor, size: int) -> Tensor:
    """Return a random part ``[N, C, size, size]`` of images, the same of each; 0 for whole images."""
    if not size:
        return images
    top, left = (int(torch.randint(side - size + 1, ())) for side in images.shape[-2:])
    return images[..., top : top + size, left : left + size]


class ImagePool:
    """A buffer of generated images; half of each batch comes from it (Shrivastava et al., arXiv:1612.07828, 2.3).

    Parameters
    ----------
    size
        Images kept; 0 hands every batch through.
    processes
        Those that share the pool: each keeps its part.
    """

    def __init__(self, size: int, processes: Processes | None = None) -> None:
        self.processes = processes or Processes()
        self.size = math.ceil(size / self.processes.count)
        self.images: Tensor | None = None

    def __call__(self, fakes: Tensor) -> Tensor:
        """Return ``fakes`` with about half of them exchanged for older ones, once the pool is full."""
        if self.size == 0:
            return fakes
        kept = fakes[:0] if self.images is None else self.images.to(fakes.device)
        room = self.size - len(kept)
        self.images, shown = torch.cat([kept, fakes[:room]]), [*fakes[:room]]
        for fake in fakes[room:]:
            if torch.rand(()) < 0.5:
                index = int(torch.randint(self.size, ()))
                shown.append(self.images[index].clone())
                self.images[index] = fake
            else:
                shown.append(fake)
        return torch.stack(shown)

    def state_dict(self) -> dict[str, Any]:
        parts = self.processes.gather(self.images if self.images is None else self.images.cpu())
        return {"images": None if self.images is None else torch.cat(parts)}  # type: ignore[arg-type]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        images = state_dict["images"]
        part = None if images is None else images.tensor_split(self.processes.count)[self.processes.rank]
        self.images = None if part is None else part[: self.size].clone()
