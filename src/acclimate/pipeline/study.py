"""How well snapshots would have been chosen without labels, measured where labels exist. It chooses nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from torch import nn

from acclimate.errors import DataError, RunError
from acclimate.pipeline.environment import environment
from acclimate.pipeline.selection import (
    RULES,
    SAMPLE,
    Effort,
    candidates,
    choose,
    evidence_path,
    score_snapshots,
    train_on_snapshot,
)
from acclimate.progress import progress
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.evaluation import Classifier
from acclimate.training.state import load_tree, read_json, save_tree, write_json


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
    known = read_json(written)["accuracy"] if written.exists() else {}
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


def _snapshot_classifier(adaptation: Adaptation, step: int) -> Classifier:
    """Return the classifier that belongs to a scored snapshot: the method itself, or what was trained on its images."""
    network: nn.Module
    if adaptation.method_class.classifies:
        network = adaptation.method(step)
    else:
        network = adaptation.task.classifier(adaptation.config.classifier)
        network.load_state_dict(load_tree(evidence_path(adaptation.run, step))["classifier"])
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
        network = train_on_snapshot(adaptation, step, images, adaptation.data.source_val, adaptation.config)
        save_tree(path, network.state_dict())
    return Classifier([network.eval()], adaptation.task.classes, adaptation.engine)


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
