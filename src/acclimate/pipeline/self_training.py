"""The classifier stage that learns on from the unlabelled target: augmentation, and a teacher's labels.

Without a target it is the same training on labelled images alone, which the augmented bars are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acclimate.config import StageConfig
from acclimate.data.augmentation import POLICIES, mixup
from acclimate.data.images import to_float
from acclimate.data.sets import Images, LabelledImages
from acclimate.methods.base import Task
from acclimate.networks import DomainStatistics
from acclimate.progress import say
from acclimate.runs.evaluation import predict_logits
from acclimate.runs.translation import Cost, TranslatedImages
from acclimate.training.batches import Batches
from acclimate.training.engine import Engine, seed_for
from acclimate.training.feed import Feed
from acclimate.training.loop import Phase, Stateful
from acclimate.training.losses import entropy
from acclimate.training.replay import Replayed
from acclimate.training.updates import WeightAverage, copy_of, lay_out_as_parameters
from acclimate.trust.scores import effective_classes

CHECK_EVERY = 250
"""Steps between looks at which classes the teacher gives to target images."""

CHECKED = 1_000
"""Target images that it is asked for."""

HEALTHY, COLLAPSED = 0.9, 0.75
"""Shares of the effective classes that the teacher once gave: above the first the state is good, below the second it
has collapsed."""

WEAKENED = 0.3
"""The strength of self-training after a collapse."""

WARM_UP = 200
"""Steps in which the learning rate rises, a quarter of all at most."""

SLOWER = 0.1
"""The rate of a pretrained part, as a share of the others'."""

STAIRS = 32
"""Steps in which the augmentation's strength falls from 1 to 0: what is captured on a GPU holds for one of them."""

FORGETTING = 0.01
"""Weight of a step's predictions in their running mean."""


class SelfTraining:
    """A student learns from the source's labels and from those that its running average, the teacher, gives the target.

    With source images x and labels y, a share of them redrawn, target images t, strong views A and weak views a,

        L = E[CE(f(A(x)), y)] + w (E[1(max q >= threshold) CE(f(A(t)), argmax q)] + v InfoMax(f(A(t)))),
        q = normalise(p(class | a(t); teacher) * source's class shares / running mean of the teacher's predictions),

    where w rises from 0 between two steps, v is ``infomax_weight``, and the views' strength falls to a share of itself.
    The teacher is the exponential moving average of the student's weights and statistics; batch norm keeps the two
    domains' statistics apart. So pseudo-labels are hard, aligned with the source's class shares and kept where
    confident (FixMatch, arXiv:2001.07685; ReMixMatch, arXiv:1911.09785, 3.1; AdaMatch, arXiv:2106.04732, from which it
    differs in the statistics, in that logits are not mixed, and in that the threshold is fixed unless
    ``relative_threshold``). The teacher is the result.

    A collapse onto few classes shows in what classes the teacher gives, not in its confidence: now and then it is asked
    for the first target images. Once the number of effective classes among them has fallen far below what it was since
    the teacher's labels count, the training steps back to the last state where it was not much below it, and goes on
    with weaker self-training; if that happens again, it ends there.

    Parameters
    ----------
    name
        Names the phase.
    source
        Labelled images.
    redrawn
        The same in the target's style; None for none.
    target
        Unlabelled images; None for training on labelled images alone.
    config
        Network, augmentation, steps, and the settings named above.
    task
        Image shape and classes.
    engine
        Where to compute.
    seed
        Drives initial weights, order and views.
    network
        What to train on; None for a new classifier of the settings' kind.
    slower
        A part of it that learns at a tenth of the rate.
    """

    def __init__(
        self,
        name: str,
        source: LabelledImages,
        redrawn: LabelledImages | TranslatedImages | None,
        target: Images | None,
        config: StageConfig,
        task: Task,
        engine: Engine,
        seed: int,
        network: nn.Module | None = None,
        slower: nn.Module | None = None,
    ) -> None:
        self.name, self.config, self.engine = name, config, engine
        self.redrawn, self.target = redrawn, target
        self.classes, self.steps = task.classes, config.stage_steps
        with engine.seeded(seed_for(seed, name, "weights")):
            self.student = network or task.classifier(config.classifier)
        engine.place(self.student)
        self.average = WeightAverage(self.student, decay=config.teacher_decay, warm=True, buffers=True)
        self.teacher = self.average.networks[0].eval()
        self.statistics = DomainStatistics(self.student)
        slow = list(slower.parameters()) if slower else []
        fast = [one for one in self.student.parameters() if all(one is not other for other in slow)]
        parts, self.rates = [fast], [config.classifier_lr]
        if slow:
            parts, self.rates = [fast, slow], [config.classifier_lr, SLOWER * config.classifier_lr]
        self.optimizer = torch.optim.AdamW(
            [{"params": part} for part in parts], weight_decay=config.stage_weight_decay, fused=True
        )
        self._set_policies(0)
        shares = torch.bincount(source.labels, minlength=len(task.classes)).float() / len(source)
        self.prior = shares.to(engine.device)
        self.predicted = self.prior.clone()
        self.guard, self.done = CollapseGuard(), 0
        self.batches = self._batches(len(source), config.classifier_batch_size, seed_for(seed, name, "order"))
        columns = [(source.pixels, self.batches), (source.labels, self.batches)]
        if isinstance(redrawn, LabelledImages):
            columns.append((redrawn.pixels, self.batches))
        if target is not None:
            order = self._batches(len(target), config.target_batch_size, seed_for(seed, name, "target order"))
            columns.append((target.pixels, order))
        self._feed = Feed(engine, *columns)
        self._replayed = Replayed(engine, self.student, also=[self.predicted, *self.statistics.tensors()])

    def _batches(self, count: int, size: int, seed: int) -> Batches:
        """Return batches of ``size``, or smaller ones for a set that has not as many images."""
        self.engine.processes.check_batch(size)
        processes = self.engine.processes.count
        return Batches(count, min(size, count - count % processes), seed, drop_last=True, what=self.name)

    @property
    def phase(self) -> Phase:
        """The training as a phase of a run; it is not kept, as it would keep this and its images in a circle."""
        return Phase(self.name, self.steps, self.step, {**self._parts, "training": self}, CHECK_EVERY, self.check)

    @property
    def _parts(self) -> dict[str, Stateful]:
        parts: dict[str, Stateful] = {"student": self.student, "teacher": self.average}
        return {**parts, "statistics": self.statistics, "optimizer": self.optimizer}

    @property
    def classifier(self) -> nn.Module:
        """The trained classifier: the teacher."""
        return self.teacher

    def state_dict(self) -> dict[str, Any]:
        return {"predicted": self.predicted, "translation": self.translation(), "guard": self.guard.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.predicted.copy_(state_dict["predicted"])
        self.guard.load_state_dict(state_dict["guard"])
        if isinstance(self.redrawn, TranslatedImages):
            before = state_dict["translation"]
            first = self.engine.processes.first  # its images are those of all until now
            self.redrawn.cost = Cost(before["seconds"], before["images"] if first else 0)

    def translation(self) -> dict[str, Any]:
        """Return the seconds of translation on the fly and how many images; all processes must call this."""
        cost = self.redrawn.cost if isinstance(self.redrawn, TranslatedImages) else Cost()
        return {"seconds": cost.seconds, "images": sum(self.engine.processes.gather(cost.images))}

    def step(self, number: int) -> Mapping[str, Tensor]:
        """Update the student on one batch of each domain, and the teacher towards it."""
        self.done = number + 1
        pixels, labels, *rest = self._feed[number]
        x = self._with_redrawn(to_float(pixels), pixels, rest)
        t = to_float(rest[-1]) if self.target is not None else None
        self._set_policies(number)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self._lr_factor(number)
        weight = self._weight(number) or None
        key = self.source_policy, self.target_policy, self.guard.strength
        values = self._replayed(self._pass, x, labels, t, weight, key=key)
        self.engine.processes.average_gradients(self.student.parameters())
        self.optimizer.step()
        self.average.update()
        return values

    def _pass(self, x: Tensor, labels: Tensor, t: Tensor | None, weight: Tensor | float | None) -> dict[str, Tensor]:
        """Set the student's gradients; return what to log. ``weight`` is w, None for 0."""
        pseudo = None if t is None or weight is None else self._pseudo_labels(t)
        self.student.train()
        loss, values = self._losses(x, labels, t, pseudo)
        if pseudo is not None and weight is not None:
            learnt = values["target"]
            if self.config.infomax_weight:
                learnt = learnt + self.config.infomax_weight * values["infomax"]
            loss = loss + weight * learnt
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return {"loss": loss, **values}

    def _with_redrawn(self, images: Tensor, pixels: Tensor, rest: list[Tensor]) -> Tensor:
        """Exchange a share of the source images for the same redrawn in the target's style."""
        count = round(self.config.redrawn_share * len(images))
        if isinstance(self.redrawn, TranslatedImages):
            return torch.cat([to_float(self.redrawn.redraw(pixels[:count])), images[count:]])
        if self.redrawn is not None:
            return torch.cat([to_float(rest[0][:count]), images[count:]])
        return images

    def _set_policies(self, number: int) -> None:
        """Let the augmentation weaken over the training: once the labels are good, it is only in the way."""
        end = self.config.augment_end
        falling = falling_cosine(number / self.steps / self.config.augment_until)
        strength = round(STAIRS * (end + (1 - end) * falling)) / STAIRS
        self.source_policy = POLICIES[self.config.augment].scaled(strength)
        self.target_policy = self.source_policy.of_target()

    def _lr_factor(self, number: int) -> float:
        rising = max(1, min(WARM_UP, self.steps // 4))
        return min(1.0, (number + 1) / rising) * falling_cosine(number / self.steps)

    @property
    def ramp(self) -> tuple[int, int]:
        """The steps from which the teacher's labels count, and count in full: soon enough in a short training too."""
        return min(self.config.ramp_start, self.steps // 3), min(self.config.ramp_end, 3 * self.steps // 4)

    def _weight(self, number: int) -> float:
        """Return w at a step."""
        start, end = self.ramp
        share = min(1.0, max(0.0, (number - start) / max(1, end - start)))
        return self.config.pseudo_weight * self.guard.strength * share

    @torch.no_grad()
    def _pseudo_labels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher's labels of target images, int64 ``[N]``, and how sure it is, float ``[N]``."""
        with self.engine.autocast():
            seen = self.teacher(self.target_policy.weak(t)).float().softmax(1)
        if not self.config.align:
            return seen.argmax(1), seen.amax(1)
        mean = self.engine.processes.average(seen.mean(0))
        self.predicted.lerp_(mean, FORGETTING)
        aligned = seen * self.prior / self.predicted.clamp(min=1e-6)
        confidence, chosen = (aligned / aligned.sum(1, keepdim=True)).max(1)
        return chosen, confidence

    def _losses(
        self, x: Tensor, labels: Tensor, t: Tensor | None, pseudo: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss on source images, and what to log; with pseudo-labels the loss on target images among it."""
        x = self.source_policy.strong(x)
        wanted = F.one_hot(labels, len(self.classes)).float()
        if self.source_policy.mixup:
            x, partner, share = mixup(x, self.source_policy.mixup)
            wanted = torch.lerp(wanted[partner], wanted, share.unsqueeze(1))
        on_source, on_target = self._logits(x, None if t is None else self.target_policy.strong(t))
        source = F.cross_entropy(on_source, wanted)
        values = {"source": source, "accuracy": (on_source.argmax(1) == labels).float().mean()}
        if pseudo is None or on_target is None:
            zero = source.detach() * 0
            return source, values | {"target": zero, "infomax": zero, "kept": zero, "agreement": zero}
        chosen, confidence = pseudo
        threshold = torch.as_tensor(1 - (1 - self.config.threshold) * self.guard.strength)
        if self.config.relative_threshold:
            sure = on_source.detach().softmax(1).amax(1).mean()
            threshold = threshold * self.engine.processes.average(sure)
        kept = (confidence >= threshold).float()
        target = (F.cross_entropy(on_target, chosen, reduction="none") * kept).mean()
        agreement = (on_target.argmax(1) == chosen).float().mean()
        values |= {"target": target, "infomax": infomax(on_target), "kept": kept.mean(), "agreement": agreement}
        return source, values

    def _logits(self, x: Tensor, t: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Classify both domains' images, each under its own statistics if the settings say so."""
        with self.engine.autocast():
            if t is None:
                return self.student(x).float(), None
            if not self.config.domain_statistics:
                both = self.student(torch.cat([x, t])).float()
                return both[: len(x)], both[len(x) :]
            with self.statistics.of_source():
                on_source = self.student(x).float()
            return on_source, self.student(t).float()

    def check(self) -> tuple[dict[str, float], bool]:
        """Look at the classes that the teacher gives; step back from a collapse, say whether to stop."""
        if self.target is None:
            return {}, False
        group, parts = self.engine.processes, self._parts
        with self.engine.autocast():
            seen = predict_logits(self.teacher, self.target.pixels[:CHECKED], self.engine).softmax(1)
        counts = torch.bincount(seen.argmax(1), minlength=len(self.classes)).float()
        found = group.agree({"classes": effective_classes(counts), "confidence": seen.amax(1).mean().item()})
        stop = False
        if self.done >= self.ramp[0] and self.guard.sees_collapse(found["classes"]):
            classes, most = found["classes"], self.guard.most
            stop = not self.guard.weaken()
            if self.guard.good is not None:
                self._restore(self.guard.good)
            done = "ends with" if stop else "goes on, weaker, from"
            seen_ = f"the teacher gives {classes:.1f} effective classes, once {most:.1f}"
            say(f"{self.name}: {seen_}; {done} the last good state")
        elif found["classes"] >= HEALTHY * self.guard.most:
            state = {name: part.state_dict() for name, part in parts.items()}
            self.guard.good = copy_of({**state, "predicted": self.predicted})
        return {**found, "strength": self.guard.strength}, stop

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        lay_out_as_parameters(self.optimizer)
        self.predicted.copy_(state["predicted"])


def infomax(logits: Tensor) -> Tensor:
    """Return the mean entropy of each image's classes less that of all images': low if each is sure and all are used.

    Less the information that images have of their classes (Liang et al., SHOT, arXiv:2002.08546, equations 3 and 4);
    ``logits``: float ``[N, K]``.
    """
    probabilities = logits.softmax(1)
    of_each, of_all = entropy(probabilities), entropy(probabilities.mean(0))
    result: Tensor = of_each.sum(1).mean() - of_all.sum()
    return result


def falling_cosine(progress: float) -> float:
    """Return what falls from 1 to 0 by a cosine while ``progress`` goes from 0 to 1, and stays there."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class CollapseGuard:
    """Watches the number of effective classes, and keeps the last state in which it was good.

    Attributes
    ----------
    most
        The largest number of effective classes seen.
    strength
        What self-training is weakened to: its weight times this, and the threshold that much nearer to 1.
    good
        The last good state.
    """

    def __init__(self) -> None:
        self.most, self.strength = 0.0, 1.0
        self.good: dict[str, Any] | None = None

    def sees_collapse(self, classes: float) -> bool:
        """Take a new number of effective classes; return whether it is a collapse."""
        self.most = max(self.most, classes)
        return classes < COLLAPSED * self.most

    def weaken(self) -> bool:
        """Weaken self-training; return False if it was weakened before."""
        first, self.strength = self.strength == 1.0, WEAKENED
        return first

    def state_dict(self) -> dict[str, Any]:
        return {"most": self.most, "strength": self.strength, "good": self.good}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.most, self.strength, self.good = (state_dict[name] for name in ("most", "strength", "good"))
