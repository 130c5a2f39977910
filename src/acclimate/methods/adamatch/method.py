"""AdaMatch (Berthelot et al., "AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain Adaptation")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.data.augmentation import POLICIES
from acclimate.methods.adamatch.config import AdaMatchConfig
from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task
from acclimate.networks import statistics_kept
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase, Stateful
from acclimate.training.updates import WeightAverage

LAST_RATE = 0.25
"""Share of the learning rate that is left at the end."""


class AdaMatch(Method):
    """A classifier f learns source labels, and on strong target views the labels that it gives weak ones.

    With weak and strong views x_w, x_s of source images and t_w, t_s of target images (arXiv:2106.04732, section 3),

        z'  = f([x_w; x_s; t_w; t_s]),   z'' = f([x_w; x_s]),   z = u z' + (1 - u) z'' on source images, u ~ U(0, 1),
        q   = normalise(softmax(z'(t_w)) * mean softmax(z(x_w)) / mean softmax(z'(t_w))),
        L   = (E[CE(z(x_w), y)] + E[CE(z(x_s), y)]) / 2
              + mu E[1(max q >= c) CE(z'(t_s), argmax q)],   c = threshold * E[max softmax(z(x_w))],

    mu rising from 0 to 1 over the first half by a cosine. The means are running ones; q has no gradient. The running
    average of the weights is the result; batch norm's running statistics are those of the batches that hold both
    domains. Views are ``[N, C, H, W]`` about [-1, 1]. Where paper and code differ, as in the half and in that labels
    are hard, it is the authors' code.

    Departures from that code: views are those of the policy here, both means stretch over ``memory`` batches with
    weights that fall, and batch norm's running statistics are averaged like the weights.

    When it fails: as ``self-training`` does, which has each domain's statistics of batch norm apart; with statistics in
    common a domain that looks very different pulls both off.
    """

    name = "adamatch"
    classifies = augments = True
    kept = ("classifier",)

    def __init__(self, config: AdaMatchConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.student = task.classifier(config.classifier)
        engine.place(self)
        self.average = WeightAverage(self.student, decay=config.ema, warm=True, buffers=True)
        self.classifier = self.average.networks[0]
        self.policy = POLICIES[config.augment]
        self.means = RunningMeans(len(task.classes), config.memory, engine)
        weights = [one for one in self.student.parameters() if one.ndim > 1]
        others = [one for one in self.student.parameters() if one.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others}]
        self.optimizers = {"student": torch.optim.SGD(groups, config.lr, 0.9, fused=True)}

    def phases(self, data: AdaptationData) -> list[Phase]:
        config = self.config
        share = config.target_share
        batches = DomainBatches(data.source_train, data.target_train, config, self.engine, target_share=share)

        def step(number: int) -> Mapping[str, Tensor]:
            progress = number / batches.steps
            self._set_lr(config.lr * math.cos(math.acos(LAST_RATE) * progress))
            return self.step(*batches[number], weight=0.5 - math.cos(min(math.pi, 2 * math.pi * progress)) / 2)

        state: dict[str, Stateful] = {"average": self.average, "means": self.means}
        return [self._phase("adamatch", batches, step, snapshots=config.snapshots, state=state)]

    def step(self, x: Tensor, labels: Tensor, t: Tensor, weight: float) -> Mapping[str, Tensor]:
        """Update the student on one batch of each domain, mu = ``weight``; return losses and what was learnt."""
        self.student.train()
        source = torch.cat([self.policy.weak(x), self.policy.strong(x)])
        target = torch.cat([self.policy.weak(t), self.policy.of_target().strong(t)])
        with self.engine.autocast():
            together = self.student(torch.cat([source, target])).float()
            with statistics_kept(self.student):
                alone = self.student(source).float()
        mixed = torch.lerp(alone, together[: len(source)], torch.rand_like(alone))
        weak, strong = mixed.split(len(x))
        on_weak, on_strong = together[len(source) :].split(len(t))
        chosen, kept = self._pseudo_labels(weak.detach().softmax(1), on_weak.detach().softmax(1))
        losses = {
            "source": (F.cross_entropy(weak, labels) + F.cross_entropy(strong, labels)) / 2,
            "target": (F.cross_entropy(on_strong, chosen, reduction="none") * kept).mean(),
        }
        self._update("student", losses["source"] + weight * losses["target"])
        self.average.update()
        accuracy, agreement = (
            (strong.argmax(1) == labels).float().mean(),
            (on_strong.argmax(1) == chosen).float().mean(),
        )
        return {**losses, "accuracy": accuracy, "kept": kept.mean(), "agreement": agreement}

    def _pseudo_labels(self, on_source: Tensor, on_target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the labels of weak target views, int64 ``[N]``, and which of them count, 0 or 1."""
        source, target = self.means.update(on_source.mean(0), on_target.mean(0))
        aligned = on_target * source / target.clamp(min=1e-6)
        confidence, chosen = (aligned / aligned.sum(1, keepdim=True)).max(1)
        threshold = self.config.threshold * self.engine.processes.average(on_source.amax(1).mean())
        return chosen, (confidence >= threshold).float()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        return logits


class RunningMeans:
    """Running means of what is predicted in each domain, float ``[K]``; the same in every process.

    Parameters
    ----------
    classes
        K.
    memory
        Batches that they stretch over, about.
    engine
        Where they lie, and the processes that share them.
    """

    def __init__(self, classes: int, memory: int, engine: Engine) -> None:
        self.engine, self.weight = engine, 1 / memory
        self.means = torch.full((2, classes), 1 / classes, device=engine.device)

    def update(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Take the means of a batch; return the running ones."""
        new = self.engine.processes.average(torch.stack([source, target]))
        self.means = torch.lerp(self.means, new, self.weight)
        return self.means[0], self.means[1]

    def state_dict(self) -> dict[str, Any]:
        return {"means": self.means}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.means = state_dict["means"].to(self.engine.device)
