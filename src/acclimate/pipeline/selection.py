"""Choosing a snapshot without labels.

Each candidate is scored on source images, unlabelled target training images and a classifier trained for a short while
on what the snapshot makes of the source.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from acclimate.config import Config
from acclimate.data.images import to_float, to_uint8
from acclimate.data.sets import LabelledImages
from acclimate.errors import AcclimateError, RunError, did_you_mean
from acclimate.methods.base import Method
from acclimate.networks import ImageClassifier
from acclimate.pipeline.classification import ClassifierTraining
from acclimate.progress import progress
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.directory import Run
from acclimate.runs.evaluation import predict_logits
from acclimate.training.engine import seed_for
from acclimate.training.state import load_tree, save_tree, write_json
from acclimate.trust import scores

RULES: Mapping[str, float] = {
    "last": 1,
    "kid": -1,
    "fid": -1,
    "source-cycle": 1,
    "target-cycle": 1,
    "entropy": -1,
    "information": 1,
    "density": 1,
    "class-balance": -1,
    "discriminator-band": -1,
    "consensus": 1,
}
"""Every score that can choose, and its sign: 1 where more is better."""

OF_CLASSES = ("entropy", "information", "density", "class-balance", "consensus")
"""The scores of what a classifier says of target images."""

SAMPLE = 2_000
"""Images a domain that scores are computed on."""


@dataclass(frozen=True)
class Effort:
    """How a snapshot's own classifier is trained: briefly, as there is one for each snapshot."""

    images: int = 10_000
    epochs: int = 2
    batch_size: int = 64
    lr: float = 1e-3

    def applied_to(self, config: Config) -> Config:
        """Return a run's settings with this classifier stage."""
        return replace(
            config,
            classifier_images=self.images,
            classifier_epochs=self.epochs,
            classifier_batch_size=self.batch_size,
            classifier_lr=self.lr,
        )


def choose(table: Mapping[int, Mapping[str, float]], rule: str) -> int:
    """Return the step that a rule chooses from scores by step; of equals the later one.

    Raises
    ------
    AcclimateError
        No such rule, or the method has not that score.
    """
    check_rule(rule)
    if rule == "last":
        return max(table)
    if any(rule not in row for row in table.values()):
        raise AcclimateError(
            f"--select {rule} is no score of this method; it has {', '.join(next(iter(table.values())))}"
        )
    return max(table, key=lambda step: (RULES[rule] * table[step][rule], step))


def rules_of(method: type[Method]) -> list[str]:
    """Return the rules that a method's snapshots can be chosen by: those that it has the scores of."""
    known = {"last"}
    if method.has_snapshots:
        known.update(OF_CLASSES)
        known.update(["kid", "fid"] if method.translates else [])
        known.update(["source-cycle", "target-cycle"] if method.translates_back else [])
        known.update(["discriminator-band"] if method.logs_discriminators else [])
    return [rule for rule in RULES if rule in known]


def check_rule(rule: str) -> None:
    """Refuse an unknown rule.

    Raises
    ------
    AcclimateError
        There is no such rule; the message has the nearest name.
    """
    if rule not in RULES:
        raise AcclimateError(f"no rule {rule!r}.{did_you_mean(rule, RULES)} Rules: {', '.join(RULES)}")


def candidates(run: Run) -> list[int]:
    """Return the steps of the snapshots that may be chosen: those of the second half of training."""
    steps = list(run.snapshots())
    return [step for step in steps if 2 * step > steps[-1]]


def select(adaptation: Adaptation, rule: str) -> int:
    """Score the candidates and choose one without labels; written to ``selection.json``.

    The source-only classifiers must be trained: their features are what distances are measured in.
    """
    start = time.monotonic()
    table = score_snapshots(adaptation, candidates(adaptation.run))
    chosen = choose(table, rule)
    seconds = round(time.monotonic() - start, 1)
    write_json(adaptation.run.selection, {"rule": rule, "chosen": chosen, "scores": table, "seconds": seconds})
    return chosen


def score_snapshots(adaptation: Adaptation, steps: Sequence[int]) -> dict[int, dict[str, float]]:
    """Return every score of every given snapshot, by step; those computed before are read from the run."""
    judge = adaptation.classifier("source-only", trainings=1).networks[0]
    evidence = {}
    missing = [step for step in steps if not evidence_path(adaptation.run, step).exists()]
    with progress("scoring snapshots", len(steps), done=len(steps) - len(missing), unit="snapshots") as bar:
        for step in steps:
            if step in missing:
                save_tree(evidence_path(adaptation.run, step), _Judgement(adaptation, step, judge).evidence())
                bar.advance()
            evidence[step] = load_tree(evidence_path(adaptation.run, step))
    shared = scores.consensus(torch.stack([one["predictions"] for one in evidence.values()])).tolist()
    return {
        step: {name: round(value, 6) for name, value in ({**one["scores"], "consensus": agreed}).items()}
        for (step, one), agreed in zip(evidence.items(), shared, strict=True)
    }


def evidence_path(run: Run, step: int) -> Path:
    """Return where the scores of a snapshot lie or will lie."""
    return run.path / "selection" / f"{step:08d}.safetensors"


def train_on_snapshot(
    adaptation: Adaptation, step: int, train: LabelledImages, val: LabelledImages, config: Config
) -> nn.Module:
    """Train a classifier on what a snapshot makes of source images, as the run translates them."""
    translator, sets = adaptation.translator(step), []
    for name, images in (("train", train), ("val", val)):
        pixels = translator.all(images.pixels, seed_for(config.seed, "selection", name))
        sets.append(LabelledImages(pixels, images.labels))
    training = ClassifierTraining(
        "snapshot", sets[0], sets[1], config, adaptation.task, adaptation.engine.alone(), config.seed
    )
    training.run_alone()
    return training.classifier.eval()


class _Judgement:
    """All that the scores of one snapshot are computed from; no target label among it."""

    def __init__(self, adaptation: Adaptation, step: int, judge: nn.Module) -> None:
        self.adaptation, self.step, self.engine = adaptation, step, adaptation.engine.alone()
        self.method: Method = adaptation.method(step)
        assert isinstance(judge, ImageClassifier)
        self.judge = judge
        self.source = adaptation.data.source_val.first(SAMPLE)
        self.target = adaptation.data.target_train.first(SAMPLE)

    def evidence(self) -> dict[str, Any]:
        """Return scores, the classes given to target images, and the weights of the snapshot's own classifier."""
        classifier = self.method if self.adaptation.method_class.classifies else self._train_classifier()
        probabilities = self._probabilities(classifier, self.target.pixels)
        shares = torch.bincount(self.source.labels, minlength=probabilities.shape[1]) / len(self.source)
        found = {
            "entropy": scores.mean_entropy(probabilities),
            "information": scores.information(probabilities),
            "density": scores.neighbourhood_density(probabilities),
            "class-balance": scores.class_balance_divergence(probabilities, shares),
        }
        if self.method.translates:
            translated = self._redraw(self.method.translate, self.source.pixels, "source")
            features = self._features(translated), self._features(self.target.pixels)
            found |= {"kid": scores.kernel_inception_distance(*features), "fid": scores.frechet_distance(*features)}
            if self.method.translates_back:
                found |= self._cycles(translated, classifier, probabilities)
        accuracies = self._discriminator_accuracies() if self.method.logs_discriminators else []
        if accuracies:
            found["discriminator-band"] = scores.band_distance(accuracies)
        weights = {} if self.method.classifies else {"classifier": classifier.state_dict()}
        return {"scores": found, "predictions": probabilities.argmax(1), **weights}

    def _cycles(self, translated: Tensor, classifier: nn.Module, probabilities: Tensor) -> dict[str, float]:
        there_and_back = self._redraw(self.method.translate_back, translated, "source back")
        back = self._redraw(self.method.translate_back, self.target.pixels, "target back")
        and_there = self._redraw(self.method.translate, back, "target")
        plain = self._probabilities(self.judge, self.source.pixels)
        return {
            "source-cycle": scores.agreement(plain, self._probabilities(self.judge, there_and_back)),
            "target-cycle": scores.agreement(probabilities, self._probabilities(classifier, and_there)),
        }

    def _train_classifier(self) -> nn.Module:
        """Train the snapshot's own classifier on what it makes of the source."""
        effort, train = Effort(), self.adaptation.data.source_train
        config = effort.applied_to(self.adaptation.config)
        return train_on_snapshot(self.adaptation, self.step, train.first(effort.images), self.source, config)

    def _redraw(self, generator: Any, pixels: Tensor, name: str) -> Tensor:
        with self.engine.seeded(seed_for(self.adaptation.config.seed, "selection", name)):
            parts = [to_uint8(generator(to_float(part.to(self.engine.device)))).cpu() for part in pixels.split(250)]
        return torch.cat(parts)

    def _probabilities(self, classifier: nn.Module, pixels: Tensor) -> Tensor:
        return predict_logits(classifier, pixels, self.engine).softmax(1)

    @torch.no_grad()
    def _features(self, pixels: Tensor) -> Tensor:
        parts = [self.judge.features(to_float(part.to(self.engine.device))).cpu() for part in pixels.split(500)]
        return torch.cat(parts).flatten(1)

    def _discriminator_accuracies(self) -> list[float]:
        """Return the discriminators' logged accuracies over the steps since the snapshot before, if there are any."""
        earlier = [step for step in self.adaptation.run.snapshots() if step < self.step]
        begin = earlier[-1] if earlier else 0
        rows = [
            [value for name, value in entry.items() if name.startswith("D_") and name.endswith("_accuracy")]
            for entry in self.adaptation.run.metrics()
            if begin < entry["step"] <= self.step
        ]
        rows = [row for row in rows if row]
        return [fmean(column) for column in zip(*rows, strict=True)]


def choice_table(adaptation: Adaptation) -> str:
    """Return a table of the candidates' scores, and under each score what it would choose."""
    steps = candidates(adaptation.run)
    if not steps:
        raise RunError(
            f"{adaptation.run.path} has no snapshots: go on with acclimate run --resume {adaptation.run.path}"
        )
    table = score_snapshots(adaptation, steps)
    names = list(next(iter(table.values())))
    lines = [" ".join(f"{name:>18}" for name in ("step", *names))]
    for step, row in table.items():
        lines.append(" ".join([f"{step:>18}", *(f"{row[name]:>18.4f}" for name in names)]))
    lines.append(" ".join([f"{'would choose':>18}", *(f"{choose(table, name):>18}" for name in names)]))
    return "\n".join(lines)
