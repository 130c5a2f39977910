"""Measure how well classifiers are chosen without target labels, over runs whose truth is known.

``python benchmarks/choice.py --runs FOLDERS...`` takes all finished runs of one pair and seed below some folders as the
candidates of a choice, the classifier of the source alone among them, and writes to ``docs/results/choice.json`` what
each scores and is right on, and ``choice.md``: what each rule loses against the best of them, on average and at worst.
What lies in the file already stays there. Forecasts are by models that were fitted without the pair.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from forecast import Row, run_name, side, without_interval
from torch import Tensor

import acclimate
from acclimate.pipeline.candidates import Candidate, Forecast, judged
from acclimate.pipeline.evidence import SAMPLE, Evidence
from acclimate.progress import say
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.familiar import target_images
from acclimate.runs.kinds import Kind
from acclimate.training.state import write_json
from acclimate.trust.choice import RULES, best
from acclimate.trust.estimators import calibration_error, matching_temperature, tempered
from acclimate.trust.forecast import EVIDENCE

SOME = ("first 2", "first 3", "all")
"""Sets of candidates that did not collapse, ordered by forecast."""

LEAST = 3
"""Candidates of a choice at least."""

Choice = Mapping[str, Any]
"""One pair and seed: its candidates, and what ensembles of them are right on."""


def gather(
    folders: Sequence[Path], known: Sequence[Choice], rows: Sequence[Row], save: Callable[[Sequence[Choice]], Any]
) -> list[Choice]:
    """Return the choices among all finished runs below some folders, after those that are known; save each anew."""
    found, there = list(known), {(one["pair"], one["seed"]) for one in known}
    runs = [
        Adaptation(config.parent)
        for folder in folders
        for config in sorted(folder.rglob("config.json"))
        if (config.parent / "result.json").exists()
    ]

    def key(run: Adaptation) -> tuple[str, int]:
        result = run.run.result
        return f"{Path(result['source']).name} → {Path(result['target']).name}", result["seed"]

    for (pair, seed), some in groupby(sorted(runs, key=key), key):
        unlike = {
            (run.method_class.name, str(run.run.config["changes"]), run.run.config["preset"]): run for run in some
        }
        adapted = [
            run
            for run in unlike.values()
            if run.own_kind == "adapted" and not run.method_class.chooses and run.target.has_labelled("test")
        ]
        if (pair, seed) in there or len(adapted) + 1 < LEAST:
            continue
        say(f"{pair}, seed {seed}: {len(adapted)} runs")
        found.append({"pair": pair, "seed": seed, **measured(judged(adapted, forecast_without(pair, rows)))})
        save(found)
    return found


def forecast_without(pair: str, rows: Sequence[Row]) -> Forecast:
    """Return forecasts by models that were fitted without a pair; evidence is taken from ``rows`` if it is there."""
    models = {
        kind: without_interval([row for row in rows if side(row) == kind and row["pair"] != pair]) for kind in EVIDENCE
    }
    known = {(row["run"], row["kind"]): row["evidence"] for row in rows if row["pair"] == pair}

    def forecast(run: Adaptation, kind: Kind, evidence: Evidence) -> dict[str, Any]:
        by = known.get((run_name(run.run.result), kind)) or evidence.of(kind)
        return models["adapted" if kind == "adapted" else "unadapted"].forecast(by)

    return forecast


def measured(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return each candidate's scores and accuracy, and the accuracy of the mean of the first two, three and all."""
    tests = [one.adaptation.target.labelled("test") for one in candidates]
    seen = [
        one.adaptation.classifier(one.kind).probabilities(test.pixels)
        for one, test in zip(candidates, tests, strict=True)
    ]

    def right(numbers: Sequence[int]) -> float:
        mean = torch.stack([seen[number] for number in numbers]).mean(0)
        return round((mean.argmax(1) == tests[0].labels).float().mean().item(), 6)

    told: list[dict[str, Any]] = []
    for number, one in enumerate(candidates):
        result = one.adaptation.run.result
        name = one.kind if one.kind != "adapted" else f"{result['method']} {result['preset']}"
        about = {"name": name, "kind": one.kind, "collapsed": one.collapsed, "accuracy": right([number])}
        about |= calibration(one, seen[number], tests[0].labels)
        told.append(about | {"scores": {rule: round(score, 6) for rule, score in one.scores.items()}})
    order = sorted(range(len(told)), key=lambda number: -told[number]["scores"]["forecast"])
    fine = [number for number in order if not told[number]["collapsed"]] or order
    sets = {"first 2": fine[:2], "first 3": fine[:3], "all": fine}
    ensembles = {name: right(numbers) for name, numbers in sets.items()}
    return {"candidates": told, "ensembles": ensembles}


def calibration(one: Candidate, seen: Tensor, labels: Tensor) -> dict[str, float]:
    """Return how far confidence and accuracy are apart on test images (ECE), raw and calibrated by the forecast."""
    held_out = target_images(one.adaptation, SAMPLE, SAMPLE)[1]
    without_labels = one.adaptation.classifier(one.kind).probabilities(held_out)
    temperature = matching_temperature(without_labels, one.forecast["mean"])
    both = {"ece_raw": seen, "ece": tempered(seen, temperature)}
    return {name: round(calibration_error(value, labels), 6) for name, value in both.items()}


def table(choices: Sequence[Choice]) -> tuple[str, dict[str, Any]]:
    """Return what each rule loses against the best candidate, as a table and as figures."""
    figures: dict[str, Any] = {"choices": len(choices), "pairs": len({one["pair"] for one in choices}), "rules": {}}

    def chosen(choice: Choice, rule: str) -> float:
        candidates = choice["candidates"]
        scores = [one["scores"][rule] for one in candidates]
        accuracy: float = candidates[best(scores, [one["collapsed"] for one in candidates])]["accuracy"]
        return accuracy

    rules: dict[str, Callable[[Choice], float]] = {
        **{rule: lambda choice, rule=rule: chosen(choice, rule) for rule in RULES},
        **{f"mean of {some} by forecast": lambda choice, some=some: choice["ensembles"][some] for some in SOME},
        "the source alone": lambda choice: choice["candidates"][0]["accuracy"],
        "any, at random": lambda choice: fmean(one["accuracy"] for one in choice["candidates"]),
    }
    lines = [
        f"{len(choices)} choices, of {figures['pairs']} pairs, among {LEAST} to"
        f" {max(len(one['candidates']) for one in choices)} classifiers each, one of them of the source alone:",
        "",
        "| rule | mean accuracy | mean loss against the best | largest |",
        "|---|---|---|---|",
    ]
    for name, rule in rules.items():
        losses = [100 * (max(one["accuracy"] for one in choice["candidates"]) - rule(choice)) for choice in choices]
        accuracy = 100 * fmean(map(rule, choices))
        figures["rules"][name] = {"accuracy": accuracy, "mean_loss": fmean(losses), "largest_loss": max(losses)}
        lines.append(f"| {name} | {accuracy:.1f} | {fmean(losses):.2f} | {max(losses):.1f} |")
    adapted = [one for choice in choices for one in choice["candidates"] if one["kind"] == "adapted"]
    raw, calibrated = (fmean(one[name] for one in adapted) for name in ("ece_raw", "ece"))
    figures |= {"adapted": len(adapted), "ece_raw": raw, "ece": calibrated}
    lines += [
        "",
        f"Of the {len(adapted)} adapted ones, confidence and accuracy on test images are {raw:.3f} apart (ECE), and"
        f" {calibrated:.3f} at the temperature at which confidence is what accuracy was forecast to be.",
        "",
        "Every choice:",
        "",
        "| pair | seed | candidates, accuracy | chosen by forecast | loss |",
        "|---" * 5 + "|",
    ]
    for choice in choices:
        candidates = choice["candidates"]
        told = ", ".join(f"{one['name']} {100 * one['accuracy']:.1f}" for one in candidates)
        scores = [one["scores"]["forecast"] for one in candidates]
        one = candidates[best(scores, [one["collapsed"] for one in candidates])]
        loss = 100 * (max(other["accuracy"] for other in candidates) - one["accuracy"])
        lines.append(f"| {choice['pair']} | {choice['seed']} | {told} | {one['name']} | {loss:.1f} |")
    return "\n".join(lines), figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of finished runs")
    parser.add_argument("--forecasts", type=Path, default=Path("docs/results/forecast.json"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/choice.json"))
    arguments = parser.parse_args()
    known = json.loads(arguments.out.read_text())["choices"] if arguments.out.exists() else []

    def save(choices: Sequence[Choice]) -> str:
        text, figures = table(choices)
        write_json(arguments.out, {"figures": figures, "version": acclimate.__version__, "choices": choices})
        arguments.out.with_suffix(".md").write_text(text + "\n")
        return text

    rows = json.loads(arguments.forecasts.read_text())["classifiers"]
    text = save(gather(arguments.runs, known, rows, save))
    print(text.partition("Every choice:")[0])


if __name__ == "__main__":
    main()
