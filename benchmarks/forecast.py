"""Fit the forecast of accuracy on runs whose truth is known, and try it on pairs of domains that it was not fitted on.

``python benchmarks/forecast.py --runs RUNS... --results FILES...`` gathers the evidence and the truth of all finished
runs below some folders, and of result files, which have less of the evidence, into ``docs/results/forecast.json`` (what
lies in the file already stays there), then leaves out one pair of
domains after another, fits on the others, and forecasts the one. The table of that goes to
``docs/results/forecast.md``, the model that is fitted on all to ``src/acclimate/trust/forecast.json``. The interval is
chosen in the same way within each fit, so nothing of a pair steers its own forecast.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

import acclimate
from acclimate.pipeline.evidence import OF_A_COLLAPSE, Evidence
from acclimate.progress import say
from acclimate.reporting.tables import read_results
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.kinds import tested_images
from acclimate.training.state import write_json
from acclimate.trust.forecast import COVERED, EVIDENCE, ForecastModel, log_odds

MODEL = Path(__file__).parents[1] / "src/acclimate/trust/forecast.json"

Row = Mapping[str, Any]
"""One classifier of one run: ``pair``, ``run``, its ``evidence``, its ``accuracy``."""


def gather(folders: Iterable[Path], known: Sequence[Row]) -> list[Row]:
    """Return the classifiers of all finished runs below some folders, after those that are known."""
    rows, there = list(known), {(row["pair"], row["run"], row["kind"]) for row in known}
    for config in sorted(file for folder in folders for file in folder.rglob("config.json")):
        if not (config.parent / "result.json").exists():
            continue
        run = Adaptation(config.parent)
        result = run.run.result
        if result["accuracy"] is None or (pair_name(result), run_name(result), run.own_kind) in there:
            continue
        say(f"{pair_name(result)}: {run_name(result)}")
        evidence = Evidence(run)
        for kind in dict.fromkeys((run.own_kind, evidence.reference)):
            found = result["accuracy"] if kind == run.own_kind else result["baselines"][kind.replace("-", "_")]
            rows.append(described(result, kind, found["mean"], evidence.of(kind, everything=True)))
    return rows


def described(result: Mapping[str, Any], kind: str, accuracy: float, evidence: Mapping[str, float]) -> Row:
    """Return the row of one classifier of a run."""
    return {
        "pair": pair_name(result),
        "run": run_name(result),
        "method": result["method"],
        "kind": kind,
        "accuracy": accuracy,
        "test_images": tested_images(result),
        "evidence": evidence,
    }


def pair_name(result: Mapping[str, Any]) -> str:
    """Return what a run's pair of domains is called in the tables."""
    return f"{Path(result['source']).name} → {Path(result['target']).name}"


def run_name(result: Mapping[str, Any]) -> str:
    """Return what a run is called in the tables: method, preset, what was changed of it, seed."""
    told = "".join(f", {name} {value}" for name, value in result["changes"].items() if name != "target_only")
    return f"{result['method']} {result['preset']}{told}, seed {result['seed']}"


def fitted(rows: Sequence[Row]) -> ForecastModel:
    """Return the model of some rows of one kind, its interval by leaving out one pair after another.

    A person's pair is a new one, and errors on one pair are alike: so all pairs have the same weight in the interval,
    however many classifiers they have.
    """
    models = leave_one_out(rows, without_interval)
    off = [log_odds(row["accuracy"]) - model.log_odds(row["evidence"]) for row, model in zip(rows, models, strict=True)]
    counts = Counter(row["pair"] for row in rows)
    aside = (1 - COVERED) / 2
    weights = [1 / counts[row["pair"]] for row in rows]
    low, high = np.quantile(off, [aside, 1 - aside], weights=weights, method="inverted_cdf")
    return replace(without_interval(rows), low=float(low), high=float(high))


def without_interval(rows: Sequence[Row]) -> ForecastModel:
    """Return the model of some rows of one kind."""
    return ForecastModel.fit(
        EVIDENCE[side(rows[0])], [row["evidence"] for row in rows], [row["accuracy"] for row in rows]
    )


def side(row: Row) -> str:
    """Return which of the models is about a row."""
    return "adapted" if row["kind"] == "adapted" else "unadapted"


def leave_one_out(rows: Sequence[Row], fit: Callable[[Sequence[Row]], ForecastModel]) -> list[ForecastModel]:
    """Return for each row of one kind the model that is fitted without its pair."""
    models = {pair: fit([row for row in rows if row["pair"] != pair]) for pair in {row["pair"] for row in rows}}
    return [models[row["pair"]] for row in rows]


def tables(rows: Sequence[Row], forecasts: Sequence[Mapping[str, float]]) -> tuple[str, dict[str, Any], float]:
    """Return the tables, their figures, and by how much the log odds of adaptation's gains are off."""
    truth = [row["accuracy"] for row in rows]
    off = [100 * abs(one["mean"] - true) for one, true in zip(forecasts, truth, strict=True)]
    held = [one["low"] <= true <= one["high"] for one, true in zip(forecasts, truth, strict=True)]
    width = [100 * (one["high"] - one["low"]) for one in forecasts]
    figures: dict[str, Any] = {
        "classifiers": len(rows),
        "pairs": len({row["pair"] for row in rows}),
        "methods": len({row["method"] for row in rows}),
        "mean_error": fmean(off),
        "held": fmean(held),
        "median_width": median(width),
    }
    lines = [
        f"{len(rows)} classifiers of {figures['pairs']} pairs and {figures['methods']} methods, each forecast by a"
        " model that was fitted on the other pairs:",
        "",
        "| | forecast | bar |",
        "|---|---|---|",
        f"| mean error, points | {figures['mean_error']:.1f} | 5 |",
        f"| interval holds the truth, % | {100 * figures['held']:.0f} | 85 |",
        f"| median width of the interval, points | {figures['median_width']:.1f} | 25 |",
        "",
        "Each estimate alone, on the same classifiers:",
        "",
        "| estimate | mean error, points |",
        "|---|---|",
    ]
    alone = {
        name: fmean(100 * abs(row["evidence"][name] - row["accuracy"]) for row in rows if name in row["evidence"])
        for name in (
            "confidence", "difference", "threshold", "transport", "transport_threshold", "disagreement",
            "nuclear_norm", "unadapted", "stability", "neighbours", "reverse", "aligned", "trainings",
        )
        if any(name in row["evidence"] for row in rows)
    }  # fmt: skip
    lines += [
        f"| {name.replace('_', ' ')} | {error:.1f} |" for name, error in sorted(alone.items(), key=lambda x: x[1])
    ]
    harm, deviation = harm_table(rows, forecasts, figures)
    lines += [
        "",
        *by_pair(rows, forecasts, held),
        "",
        *harm,
        "",
        "Every classifier:",
        "",
        "| pair | run | classifier | accuracy | forecast | interval | |",
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for row, one, inside in zip(rows, forecasts, held, strict=True):
        low, mean, high = (100 * one[name] for name in ("low", "mean", "high"))
        lines.append(
            f"| {row['pair']} | {row['run']} | {row['kind']} | {100 * row['accuracy']:.1f} | {mean:.1f}"
            f" | {low:.0f} to {high:.0f} | {'' if inside else 'outside'} |"
        )
    return "\n".join(lines), figures, deviation


def by_pair(rows: Sequence[Row], forecasts: Sequence[Mapping[str, float]], held: Sequence[bool]) -> list[str]:
    """Return a table of how the forecast did on each pair; errors on one pair are alike."""
    lines = ["By pair of domains:", "", "| pair | classifiers | mean error, points | forecast too high by | held, % |"]
    lines += ["|---|---|---|---|---|"]
    for pair in dict.fromkeys(row["pair"] for row in rows):
        own = [number for number, row in enumerate(rows) if row["pair"] == pair]
        above = [100 * (forecasts[number]["mean"] - rows[number]["accuracy"]) for number in own]
        share = 100 * fmean(held[number] for number in own)
        lines.append(f"| {pair} | {len(own)} | {fmean(map(abs, above)):.1f} | {fmean(above):+.1f} | {share:.0f} |")
    return lines


def harm_table(
    rows: Sequence[Row], forecasts: Sequence[Mapping[str, float]], figures: dict[str, Any]
) -> tuple[list[str], float]:
    """Return what following the recommendation gains and loses, and by how much the gains' log odds are off."""
    by_run: dict[tuple[str, str], dict[str, tuple[float, Mapping[str, float]]]] = {}
    for row, one in zip(rows, forecasts, strict=True):
        by_run.setdefault((row["pair"], row["run"]), {})[side(row)] = (row["accuracy"], one)
    both = {key: run for key, run in by_run.items() if len(run) == 2}
    gains = [log_odds(run["adapted"][0]) - log_odds(run["unadapted"][0]) for run in both.values()]
    told = [log_odds(run["adapted"][1]["mean"]) - log_odds(run["unadapted"][1]["mean"]) for run in both.values()]
    deviation = float(np.sqrt(np.mean((np.array(gains) - np.array(told)) ** 2)))
    chosen, lines = [], []
    for (pair, name), run in both.items():
        (adapted, of_adapted), (unadapted, of_unadapted) = run["adapted"], run["unadapted"]
        use = "adapted" if of_adapted["mean"] > of_unadapted["mean"] else "unadapted"
        accuracy = adapted if use == "adapted" else unadapted
        chosen.append((accuracy - unadapted, max(adapted, unadapted) - accuracy))
        if use == "unadapted" or adapted < unadapted:
            values = f"{100 * unadapted:.1f} | {100 * adapted:.1f} | {use}"
            lines.append(f"| {pair} | {name} | {values} | {100 * (max(adapted, unadapted) - accuracy):.1f} |")
    worst = -100 * min(gain for gain, _ in chosen)
    regret = 100 * fmean(loss for _, loss in chosen)
    figures |= {"runs": len(both), "worst_harm": max(worst, 0.0) + 0.0, "mean_regret": regret}
    return [
        f"Following the recommendation, adapted or not, on {len(both)} runs:",
        "",
        "| | measured | bar |",
        "|---|---|---|",
        f"| most below the unadapted classifier, points | {figures['worst_harm']:.1f} | 2 |",
        f"| mean loss against the better of both, points | {regret:.2f} | 1.5 |",
        "",
        "Where it says unadapted, or adapting did harm:",
        "",
        "| pair | run | unadapted | adapted | recommended | loss |",
        "|---|---|---|---|---|---|",
        *lines,
    ], deviation


def gather_results(files: Sequence[Path], known: Sequence[Row]) -> list[Row]:
    """Return the classifiers of result files, but those that lack what is weighed, after those that are known."""
    rows, there = list(known), {(row["pair"], row["run"], row["kind"]) for row in known}
    for result in (one.content for one in read_results(files)) if files else ():
        if result["accuracy"] is None or not result.get("unadapted"):
            continue
        reference = result["unadapted"].get("kind", "source-only")
        for kind, forecast, found in (
            ("adapted", result["forecast"], result["accuracy"]),
            (reference, result["unadapted"], result["baselines"][reference.replace("-", "_")]),
        ):
            row = described(result, kind, found["mean"], forecast["by"])
            weighed = {*EVIDENCE[side(row)], *OF_A_COLLAPSE} <= row["evidence"].keys()
            if weighed and (row["pair"], row["run"], kind) not in there:
                rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of finished runs")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="result files, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("docs/results/forecast.json"))
    parser.add_argument("--model", type=Path, default=MODEL)
    arguments = parser.parse_args()
    known = json.loads(arguments.out.read_text())["classifiers"] if arguments.out.exists() else []
    rows = gather_results(arguments.results, gather(arguments.runs, known))
    models: dict[str, ForecastModel] = {}
    forecasts: list[Mapping[str, float]] = [{}] * len(rows)
    for name in EVIDENCE:
        own = [number for number, row in enumerate(rows) if side(row) == name]
        some = [rows[number] for number in own]
        models[name] = fitted(some)
        for number, row, model in zip(own, some, leave_one_out(some, fitted), strict=True):
            forecasts[number] = model.forecast(row["evidence"])
    table, figures, deviation = tables(rows, forecasts)
    write_json(arguments.out, {"figures": figures, "version": acclimate.__version__, "classifiers": rows})
    arguments.out.with_suffix(".md").write_text(table + "\n")
    provenance = {"fitted_on": sorted({row["pair"] for row in rows}), "classifiers": len(rows)}
    shipped = {name: asdict(model) for name, model in models.items()}
    write_json(arguments.model, {**shipped, "gain_deviation": deviation, **provenance})
    print(table.partition("Every classifier:")[0])


if __name__ == "__main__":
    main()
