"""Choosing a snapshot without labels; and, where labels exist, how well such choices do.

Each candidate is scored on source images, unlabelled target training images and a classifier trained for a short while
on what the snapshot makes of the source. Target labels are read by :func:`study` alone, which chooses nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from acclimate import scores
from acclimate.classification import ClassifierTraining, predict_logits
from acclimate.config import Config
from acclimate.domains import LabelledImages
from acclimate.errors import AcclimateError, DataError, RunError, did_you_mean
from acclimate.evaluation import Classifier
from acclimate.images import to_float, to_uint8
from acclimate.methods import Method
from acclimate.networks import ImageClassifier
from acclimate.progress import progress
from acclimate.results import environment
from acclimate.runs import Run
from acclimate.state import load_tree, save_tree, write_json
from acclimate.training import seed_for

if TYPE_CHECKING:
    from acclimate.adaptation import Adaptation

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
    return steps[len(steps) // 2 :]


def select(adaptation: Adaptation, rule: str) -> int:
    """Score the candidates and choose one without labels; written to ``selection.json``.

    The source-only classifiers must be trained: their features are what distances are measured in.
    """
    start = time.monotonic()
    table = score_snapshots(adaptation, candidates(adaptation.run))
    chosen = choose(table, rule)
    seconds = round(time.monotonic() - start, 1)
    write_json(
        adaptation.run.path / "selection.json", {"rule": rule, "chosen": chosen, "scores": table, "seconds": seconds}
    )
    return chosen


def score_snapshots(adaptation: Adaptation, steps: Sequence[int]) -> dict[int, dict[str, float]]:
    """Return every score of every given snapshot, by step; those computed before are read from the run."""
    judge = adaptation.classifier("source-only", trainings=1).networks[0]
    evidence = {}
    missing = [step for step in steps if not _path(adaptation.run, step).exists()]
    with progress("scoring snapshots", len(steps), done=len(steps) - len(missing), unit="snapshots") as bar:
        for step in steps:
            if step in missing:
                save_tree(_path(adaptation.run, step), _Judgement(adaptation, step, judge).evidence())
                bar.advance()
            evidence[step] = load_tree(_path(adaptation.run, step))
    shared = scores.consensus(torch.stack([one["predictions"] for one in evidence.values()])).tolist()
    return {
        step: {name: round(value, 6) for name, value in ({**one["scores"], "consensus": agreed}).items()}
        for (step, one), agreed in zip(evidence.items(), shared, strict=True)
    }


def study(adaptation: Adaptation, *, every: bool = False, retrain: bool = False) -> dict[str, Any]:
    """Score and measure the candidates: how much they differ, and how well each rule would have chosen.

    With ``every``, measure the snapshots of the first half too, for the curve. With ``retrain``, train the run's own
    classifier, as long as its settings say, on what the last and the best snapshot make of the source.

    It reads target labels, so it must steer nothing: what a run chose stays chosen. What it has scored and measured, it
    does not again. Written to ``snapshot_study.json``.

    Returns
    -------
    dict
        ``accuracy`` by step; ``last``, ``mean_of_last_ten``, ``best``; ``scores`` of the candidates by step; ``rules``:
        by rule the chosen step, its accuracy, its regret (the best candidate's accuracy less the chosen one's), and the
        rank correlation of score and accuracy over the candidates; ``retrained``, with that: the accuracies of the
        last and the best with the run's own classifier; ``protocol``.

    Raises
    ------
    DataError
        The target has no labels.
    """
    if not adaptation.target.has_labels:
        raise DataError(f"{adaptation.target.name} has no labels: nothing to measure")
    run, able = adaptation.run, candidates(adaptation.run)
    if not able:
        raise RunError(f"{run.path} has no snapshots: go on with acclimate run --resume {run.path}")
    table = score_snapshots(adaptation, able)
    steps = list(run.snapshots()) if every else able
    score_snapshots(adaptation, steps)
    test = adaptation.target.labelled("test")
    written = run.path / "snapshot_study.json"
    known = json.loads(written.read_text())["accuracy"] if written.exists() else {}
    accuracy: dict[int, float] = {}
    with progress("measuring snapshots", len(steps), unit="snapshots") as bar:
        for step in steps:
            if (before := known.get(str(step))) is not None:
                accuracy[step] = before
            else:
                accuracy[step] = round(_snapshot_classifier(adaptation, step).accuracies(test)[0], 6)
            bar.advance()
    best = max(accuracy, key=lambda step: accuracy[step])
    result = {
        "source": run.config["source"],
        "target": run.config["target"],
        "method": adaptation.method_class.name,
        "preset": run.config["preset"],
        "seed": adaptation.config.seed,
        "accuracy": accuracy,
        "last": accuracy[max(steps)],
        "mean_of_last_ten": round(fmean(list(accuracy.values())[-10:]), 6),
        "best": {"step": best, "accuracy": accuracy[best]},
        "rules": judge_rules(table, {step: accuracy[step] for step in able}),
        "scores": table,
        "protocol": {
            "candidates": able,
            "sample": SAMPLE,
            "classifier": Effort().__dict__,
            "target_labels_used": "for this study only",
        },
        **environment(adaptation.engine),
    }
    if retrain and not adaptation.method_class.classifies:
        result["retrained"] = {
            name: {"step": step, "accuracy": round(_retrained(adaptation, step).accuracies(test)[0], 6)}
            for name, step in (("last", max(steps)), ("best", best))
        }
    write_json(written, result)
    return result


def judge_rules(table: Mapping[int, Mapping[str, float]], accuracy: Mapping[int, float]) -> dict[str, dict[str, Any]]:
    """Return by rule what it chooses, the regret, and Spearman's rank correlation of score and accuracy."""
    from scipy.stats import spearmanr

    steps, best = sorted(table), max(accuracy.values())
    rules = {}
    for rule in RULES:
        if rule != "last" and any(rule not in row for row in table.values()):
            continue
        chosen = choose(table, rule)
        values = [step if rule == "last" else RULES[rule] * table[step][rule] for step in steps]
        ranked = len(set(values)) > 1 and len(set(accuracy.values())) > 1
        correlation = spearmanr(values, [accuracy[step] for step in steps]).statistic if ranked else 0.0
        rules[rule] = {
            "chosen": chosen,
            "accuracy": accuracy[chosen],
            "regret": round(best - accuracy[chosen], 6),
            "rank_correlation": round(float(correlation), 4),
        }
    return rules


def _path(run: Run, step: int) -> Any:
    return run.path / "selection" / f"{step:08d}.safetensors"


def _snapshot_classifier(adaptation: Adaptation, step: int) -> Classifier:
    """Return the classifier that belongs to a scored snapshot: the method itself, or what was trained on its images."""
    network: nn.Module
    if adaptation.method_class.classifies:
        network = adaptation.method(step)
    else:
        network = adaptation.task.classifier(adaptation.config.classifier)
        network.load_state_dict(load_tree(_path(adaptation.run, step))["classifier"])
        network.to(adaptation.engine.device).eval()
    return Classifier([network], adaptation.task.classes, adaptation.engine)


def _retrained(adaptation: Adaptation, step: int) -> Classifier:
    """Return the run's own classifier, trained on what a snapshot makes of the source; kept beside its scores."""
    path = adaptation.run.path / "selection" / f"{step:08d}-retrained.safetensors"
    network: nn.Module = adaptation.task.classifier(adaptation.config.classifier)
    if path.exists():
        network.load_state_dict(load_tree(path))
        adaptation.engine.place(network)
    else:
        images = adaptation.data.source_train.first(adaptation.config.classifier_images or None)
        network = _train_on(adaptation, step, images, adaptation.data.source_val, adaptation.config)
        save_tree(path, network.state_dict())
    return Classifier([network.eval()], adaptation.task.classes, adaptation.engine)


def _train_on(
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
        if accuracies := self._discriminator_accuracies():
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
        return _train_on(self.adaptation, self.step, train.first(effort.images), self.source, config)

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


def study_runs(
    adaptations: Sequence[Adaptation], *, every: bool = False, retrain: bool = False
) -> tuple[str, dict[str, Any]]:
    """Study several runs; return a Markdown table of the rules, that with the least mean regret first, and all figures.

    ``oracle`` is the best candidate of each run. Rules that some run has no score for are left out.
    """
    studies = [study(adaptation, every=every, retrain=retrain) for adaptation in adaptations]
    judged = judge_runs(studies)
    lines = [
        f"Choosing among the snapshots of the second half of {len(studies)} runs, in points of target accuracy:",
        "",
        "| rule | accuracy of its choice | mean regret | worst regret | rank correlation |",
        "|---|---|---|---|---|",
    ]
    for rule, row in judged.items():
        regret, worst = 100 * row["mean_regret"], 100 * row["worst_regret"]
        lines.append(
            f"| {rule} | {100 * row['mean_accuracy']:.1f} | {regret:.1f} | {worst:.1f}"
            f" | {row['mean_rank_correlation']:.2f} |"
        )
    return "\n".join(lines), {"rules": judged, "runs": studies}


def judge_runs(studies: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return by rule its mean and worst regret, mean rank correlation and mean accuracy over several studies."""
    judged = {}
    for rule in (rule for rule in RULES if all(rule in one["rules"] for one in studies)):
        rows = [one["rules"][rule] for one in studies]
        judged[rule] = {
            "mean_regret": round(fmean(row["regret"] for row in rows), 6),
            "worst_regret": max(row["regret"] for row in rows),
            "mean_rank_correlation": round(fmean(row["rank_correlation"] for row in rows), 4),
            "mean_accuracy": round(fmean(row["accuracy"] for row in rows), 6),
        }
    best = fmean(one["rules"]["last"]["accuracy"] + one["rules"]["last"]["regret"] for one in studies)
    oracle = {"mean_regret": 0.0, "worst_regret": 0.0, "mean_rank_correlation": 1.0, "mean_accuracy": round(best, 6)}
    return {"oracle": oracle} | dict(sorted(judged.items(), key=lambda item: item[1]["mean_regret"]))


def choice_table(adaptation: Adaptation) -> str:
    """Return a table of the candidates' scores, and under each score what it would choose."""
    table = score_snapshots(adaptation, candidates(adaptation.run))
    names = list(next(iter(table.values()), {}))
    if not names:
        raise RunError(
            f"{adaptation.run.path} has no snapshots: go on with acclimate run --resume {adaptation.run.path}"
        )
    lines = [" ".join(f"{name:>18}" for name in ("step", *names))]
    for step, row in table.items():
        lines.append(" ".join([f"{step:>18}", *(f"{row[name]:>18.4f}" for name in names)]))
    lines.append(" ".join([f"{'would choose':>18}", *(f"{choose(table, name):>18}" for name in names)]))
    return "\n".join(lines)
