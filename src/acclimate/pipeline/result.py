"""A run's result: accuracies with the protocol that they were measured under, costs, and what they depend on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from acclimate.data.sets import LabelledImages
from acclimate.pipeline.evidence import Evidence
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.directory import Run
from acclimate.runs.evaluation import summary
from acclimate.runs.kinds import KINDS, Kind, has_augmented_bars, is_paper_stage, recipe, tuning_recipe
from acclimate.training.state import load_tree, read_json
from acclimate.trust.estimators import calibration_error, matching_temperature, tempered
from acclimate.trust.forecast import forecast_accuracy, recommend

SCHEMA = 1


def build_result(adaptation: Adaptation) -> dict[str, Any]:
    """Measure every trained classifier on the target's test images; return the result with its protocol."""
    own = adaptation.own_kind
    measured: dict[str, Any] = dict.fromkeys(KINDS)
    ensemble, tested = None, 0
    if adaptation.target.has_labelled("test"):
        test = adaptation.target.labelled("test")  # those of other classes are no part of it
        tested = len(test)
        measured |= {kind: _measured(adaptation, kind, test) for kind in adaptation.trained_kinds()}
        right = adaptation.classifier().probabilities(test.pixels).argmax(1) == test.labels
        ensemble = round(right.float().mean().item(), 6)
    stored = adaptation.run.config
    directions = {"directions": _directions(adaptation)} if adaptation.uses_both_directions else {}
    return {
        "schema": SCHEMA,
        "method": adaptation.method_class.name,
        "preset": stored["preset"],
        "changes": stored.get("changes", {}),
        **({"extended": stored["extended"]} if "extended" in stored else {}),
        "source": stored["source"],
        "target": stored["target"],
        "seed": adaptation.config.seed,
        "accuracy": measured[own],
        "ensemble_accuracy": ensemble,
        "test_images": tested,
        **directions,
        **_choice(adaptation),
        **_forecast(adaptation),
        "baselines": {
            kind.replace("-", "_"): measured[kind]
            for kind in KINDS
            if kind != "adapted" and (not kind.endswith("augmented") or has_augmented_bars(adaptation.config))
        },
        "selection": {
            "rule": adaptation.config.select,
            "checkpoint": adaptation.chosen_snapshot if adaptation.run.snapshots() else 0,
            "target_labels_used": False,
        },
        "protocol": {
            "splits": {name: list(getattr(adaptation, name).sizes().values()) for name in ("source", "target")},
            "content": adaptation.content,
            "transductive": False,
            "data": {domain.name: domain.manifest()["md5"] for domain in (adaptation.source, adaptation.target)},
        },
        "config": asdict(adaptation.config),
        **_costs(adaptation),
    }


def _measured(adaptation: Adaptation, kind: Kind, test: LabelledImages) -> dict[str, Any]:
    """Measure one kind of classifier; say how it was trained where the run's kinds differ in that."""
    found = summary(adaptation.classifier(kind).accuracies(test))
    if is_paper_stage(adaptation.config):
        return found
    trained = recipe(adaptation.config, kind)
    if kind == "adapted" and trained.tune == "all":
        trained = tuning_recipe(trained)
    return found | {"classifier": trained.classifier, "augment": trained.augment}


def _choice(adaptation: Adaptation) -> dict[str, Any]:
    """Return what a choice among methods tried, with what each is right on where the target has labels."""
    if not adaptation.method_class.chooses:
        return {}
    choice: dict[str, Any] = read_json(adaptation.run.choice)
    for one in choice["candidates"]:
        result = Run(adaptation.run.candidate(one["run"])).result
        found = result["accuracy"] if one["kind"] == "adapted" else result["baselines"][one["kind"].replace("-", "_")]
        one["accuracy"] = found["mean"] if found else None
    return {"choice": choice}


def _directions(adaptation: Adaptation) -> dict[str, Any]:
    """Return the weight of the image as it is beside the redrawn one, and what each alone is right on."""
    weighed: dict[str, Any] = read_json(adaptation.run.directions)
    if adaptation.target.has_labelled("test"):
        test = adaptation.target.labelled("test")
        both = adaptation.both_directions().both_probabilities(test.pixels)
        for name, one in zip(("forth", "back"), both, strict=True):
            weighed[f"{name}_accuracy"] = round((one.argmax(1) == test.labels).float().mean().item(), 6)
    return weighed


def _forecast(adaptation: Adaptation) -> dict[str, Any]:
    """Forecast the accuracy on the target without its labels; recommend what to use, adapted or not."""
    own = adaptation.own_kind
    if own == "target-only":  # which has seen the labels
        return {"forecast": None}
    evidence = Evidence(adaptation)
    if own != "adapted":
        return {"forecast": forecast_accuracy(evidence.of(own)), "findings": evidence.findings(own)}
    unadapted = forecast_accuracy(evidence.of(evidence.reference)) | {"kind": evidence.reference}
    forecast = forecast_accuracy(evidence.of(own))
    return {
        "forecast": forecast,
        "unadapted": unadapted,
        "recommendation": recommend(forecast, unadapted),
        "findings": evidence.findings(own),
        "calibration": _calibration(adaptation, evidence, forecast["mean"]),
    }


def _calibration(adaptation: Adaptation, evidence: Evidence, expected: float) -> dict[str, Any]:
    """Return the temperature at which the classifier is as sure of the target as it is forecast to be right.

    Where there are labels, also by how much confidence and accuracy differ on test images (ECE), without it and with.
    """
    found = {"temperature": round(matching_temperature(evidence.together(adaptation.own_kind), expected), 4)}
    if adaptation.target.has_labelled("test"):
        test = adaptation.target.labelled("test")
        raw = adaptation.classifier().probabilities(test.pixels)
        found["ece_raw"] = round(calibration_error(raw, test.labels), 6)
        found["ece"] = round(calibration_error(tempered(raw, found["temperature"]), test.labels), 6)
    return found


def _costs(adaptation: Adaptation) -> dict[str, Any]:
    """Add up what each part took, over every process that worked on the run."""
    phases = read_json(path) if (path := adaptation.run.method_done).exists() else {}
    written = [read_json(path) for path in (adaptation.run.path / "translated").glob("*.json")]
    models = {path.stem: load_tree(path) for path in (adaptation.run.path / "models").glob("*.safetensors")}
    kinds = {
        kind: sum(model["seconds"] for name, model in models.items() if name.rpartition("-")[0] == kind)
        for kind in KINDS
    }
    trained = {"source-only", "target-only", *adaptation.trained_kinds()}
    chosen = adaptation.run.selection
    selection = read_json(chosen)["seconds"] if chosen.exists() else 0.0
    translator, once = sum(phases.values()), sum(file["seconds"] for file in written)
    features = adaptation.feature_seconds()
    tried = read_json(path)["seconds"] if (path := adaptation.run.choice).exists() else 0.0
    on_the_fly = [model["translation"] for model in models.values()]
    seconds = {
        **({"features": features} if adaptation.encoders else {}),
        "translator": translator,
        "selection": selection,
        "translation": once + sum(cost["seconds"] for cost in on_the_fly),
        **({"candidates": tried} if adaptation.method_class.chooses else {}),
        "classifier": kinds[adaptation.own_kind],
        **{kind.replace("-", "_"): kinds[kind] for kind in KINDS if kind != "adapted" and kind in trained},
        "total": features + translator + selection + once + tried + sum(kinds.values()),
    }
    return {
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "translation": {
            "images": sum(file["images"] for file in written) + sum(cost["images"] for cost in on_the_fly),
            "bytes_on_disk": sum(path.stat().st_size for path in (adaptation.run.path / "translated").glob("*.npy")),
        },
    }
