"""Several classifiers of one target, judged without its labels; which one to use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from acclimate.errors import AcclimateError
from acclimate.pipeline.evidence import OF_A_COLLAPSE, SAMPLE, Evidence
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.kinds import Kind
from acclimate.runs.source_view import as_seen_from_source
from acclimate.trust.choice import agreement_with_mean, best, weighted_accuracy
from acclimate.trust.forecast import COLLAPSED, EVIDENCE, forecast_accuracy


@dataclass(frozen=True)
class Candidate:
    """One classifier among several.

    Attributes
    ----------
    name
        What it is called where they are compared.
    adaptation, kind
        The run that it is of, and its kind there.
    forecast
        What accuracy to expect of it.
    scores
        By each of :data:`acclimate.trust.choice.RULES`.
    collapsed
        Whether it gives the target few of its classes; such a one is not chosen.
    """

    name: str
    adaptation: Adaptation
    kind: Kind
    forecast: dict[str, Any]
    scores: dict[str, float]
    collapsed: bool


Forecast = Callable[[Adaptation, Kind, Evidence], dict[str, Any]]


def forecast_of(run: Adaptation, kind: Kind, evidence: Evidence) -> dict[str, Any]:
    """Forecast by the evidence that the run's result has kept, or by what is gathered now."""
    known = (run.run.result.get("forecast" if kind == run.own_kind else "unadapted") or {}).get("by", {})
    needed = {*EVIDENCE["adapted" if kind == "adapted" else "unadapted"], *OF_A_COLLAPSE, "adapted"}
    return forecast_accuracy(known if needed <= known.keys() else evidence.of(kind))


def judged(runs: Sequence[Adaptation], forecast: Forecast = forecast_of) -> list[Candidate]:
    """Judge the classifiers of finished runs, and the first run's one that is not adapted, on held-out target images.

    Parameters
    ----------
    runs
        Finished runs of the same two domains.
    forecast
        Returns what accuracy to expect of a kind of classifier.

    Raises
    ------
    AcclimateError
        The runs are of different data.
    """
    first = runs[0]
    for run in runs[1:]:
        if _data(run) != _data(first):
            raise AcclimateError(
                f"{run.run.path} is of other data than {first.run.path}: only classifiers of one target can be compared"
            )
    gathered, names = {run: Evidence(run) for run in runs}, Counter(run.run.path.name for run in runs)
    those: list[tuple[Adaptation, Kind]] = [(first, gathered[first].reference)]
    those += [(run, run.own_kind) for run in runs if run.own_kind == "adapted"]
    agreements = agreement_with_mean([gathered[run].together(kind) for run, kind in those])
    found = []
    for (run, kind), agreed in zip(those, agreements, strict=True):
        told = forecast(run, kind, gathered[run])
        scores = {"forecast": told["mean"], "agreement": agreed, "weighted-risk": _weighted(gathered[run], kind)}
        collapsed = told["by"]["effective_classes"] < COLLAPSED
        path = run.run.path
        name = kind if kind != "adapted" else path.name if names[path.name] == 1 else str(path)
        found.append(Candidate(name, run, kind, told, scores, collapsed))
    return found


def _data(run: Adaptation) -> tuple[Any, ...]:
    """Return what two runs must have in common for their classifiers to be compared."""
    return run.classes, run.run.config["source"], run.run.config["target"]


def _weighted(evidence: Evidence, kind: Kind) -> float:
    """Return the accuracy on source images with labels, weighted by how likely they are in the target."""
    run = evidence.adaptation
    val = run.data.source_val.first(SAMPLE)
    seen = as_seen_from_source(run, kind, val.pixels).probabilities(val.pixels)
    return weighted_accuracy(seen, val.labels, evidence.density_ratios(val.pixels))


def taken(candidates: Sequence[Candidate]) -> Candidate:
    """Return the one to use: the best by forecast of those that did not collapse.

    The mean of several is no better on average (docs/results/choice.md).
    """
    return candidates[best([one.scores["forecast"] for one in candidates], [one.collapsed for one in candidates])]


def comparison(candidates: Sequence[Candidate]) -> str:
    """Return a table of candidates, the likeliest first, and what to take."""
    chosen = taken(candidates)
    width = max(len(one.name) for one in candidates)
    lines = [f"{'classifier':<{width}}  forecast           agreement  weighted risk"]
    for one in sorted(candidates, key=lambda one: -one.scores["forecast"]):
        low, mean, high = (100 * one.forecast[name] for name in ("low", "mean", "high"))
        expected = f"{mean:3.0f} % ({low:.0f} to {high:.0f})"
        scores = f"{100 * one.scores['agreement']:7.1f} %  {100 * (1 - one.scores['weighted-risk']):10.1f} %"
        note = "  take" if one is chosen else "  collapsed" if one.collapsed else ""
        lines.append(f"{one.name:<{width}}  {expected:<17}  {scores}{note}")
    return "\n".join(lines)
