"""Self-ensembling (French, Mackiewicz and Fisher, "Self-ensembling for visual domain adaptation", ICLR 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.data.augmentation import POLICIES
from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.mean_teacher.config import MeanTeacherConfig
from acclimate.networks import DomainStatistics
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase, Stateful
from acclimate.training.updates import WeightAverage


class MeanTeacher(Method):
    """A student f that agrees on target images with a teacher g, the running average of its weights.

    With views a, a' of a target image t and source images x with labels y (arXiv:1706.05208, section 3),

        L = E[CE(f(x), y)] + w (E[m |f(a) - g(a')|^2] + b E[m] sum_k BCE(mean f(a)_k, 1/K)),

    m = 1(max g(a') > threshold), probabilities f and g; the square is a mean over the K classes. Each domain
    goes through the network apart and so has its own batch statistics; the teacher runs in training mode, on target
    images alone, so that its statistics are the target's. The teacher is the result. Images are ``[N, C, H, W]`` in
    [-1, 1].

    Departures from the paper: the network and the views are those here.

    When it fails: where the unaugmented source is far from the target, the teacher starts out wrong, and nothing but
    its threshold keeps that from being learnt.
    """

    name = "mean-teacher"
    classifies = augments = True
    kept = ("classifier",)

    def __init__(self, config: MeanTeacherConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.student = task.classifier(config.classifier)
        engine.place(self)
        self.average = WeightAverage(self.student, decay=config.ema)
        self.classifier = self.average.networks[0]
        self.statistics = DomainStatistics(self.student)
        self.policy = POLICIES[config.augment]
        self.optimizers = {"student": adam(self.student, lr=config.lr)}

    def phases(self, data: AdaptationData) -> list[Phase]:
        batches = DomainBatches(data.source_train, data.target_train, self.config, self.engine)

        def step(number: int) -> Mapping[str, Tensor]:
            return self.step(*batches[number])

        state: dict[str, Stateful] = {"average": self.average, "statistics": self.statistics}
        return [self._phase("mean-teacher", batches, step, snapshots=self.config.snapshots, state=state)]

    def step(self, x: Tensor, labels: Tensor, t: Tensor) -> Mapping[str, Tensor]:
        """Update the student on one batch of each domain, and the teacher towards it; return losses and the mask."""
        config, target = self.config, self.policy.of_target()
        self.student.train()
        self.classifier.train()
        with self.engine.autocast(), torch.no_grad():
            taught = self.classifier(target.strong(t)).float().softmax(1)
        with self.engine.autocast():
            with self.statistics.of_source():
                logits = self.student(self.policy.strong(x)).float()
            seen = self.student(target.strong(t)).float().softmax(1)
        kept = (taught.amax(1) > config.threshold).float()
        even = torch.full_like(seen[0], 1 / seen.shape[1])
        losses = {
            "source": F.cross_entropy(logits, labels),
            "consistency": ((seen - taught).square().mean(1) * kept).mean(),
            "balance": F.binary_cross_entropy(seen.mean(0).clamp(1e-6, 1 - 1e-6), even, reduction="sum") * kept.mean(),
        }
        differing = losses["consistency"] + config.balance_weight * losses["balance"]
        self._update("student", losses["source"] + config.consistency_weight * differing)
        self.average.update()
        accuracy, agreement = (logits.argmax(1) == labels).float().mean(), (seen.argmax(1) == taught.argmax(1)).float()
        return {**losses, "accuracy": accuracy, "kept": kept.mean(), "agreement": agreement.mean()}

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        return logits
