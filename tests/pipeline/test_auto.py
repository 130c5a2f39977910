"""The choice among methods: candidates within a budget, the rest left out, nothing chosen by target labels."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import acclimate
from acclimate.errors import AcclimateError, InterruptedRunError, RunError
from acclimate.methods.auto.config import AutoConfig
from acclimate.pipeline import auto
from acclimate.pipeline.candidates import Candidate, comparison, judged, taken
from acclimate.pipeline.children import Child
from acclimate.reporting.page import write_report
from acclimate.runs.adaptation import Adaptation
from acclimate.training.state import read_json, save_tree, write_json

TINY: dict[str, Any] = {
    "image_size": 8, "classifier": "conv7", "classifier_images": 64, "classifier_epochs": 1, "stage_steps": 4,
    "target_only": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Adaptation:
    out, begin = tmp_path_factory.mktemp("auto") / "run", auto._start

    def shortly(adaptation: Adaptation, trial: auto.Trial) -> None:
        begin(adaptation, trial)
        file = adaptation.run.candidate(trial.name) / "config.json"
        stored = read_json(file)
        stored["config"] |= {"steps": 4, "snapshots": 1} if "steps" in stored["config"] else {}
        write_json(file, stored)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto, "_start", shortly)
        return acclimate.adapt(
            "digits", "digits-m", method="auto", out=out, budget="10m", candidates="self-training,mcc", **TINY
        )


def test_every_candidate_is_a_run_that_was_judged(run: Adaptation) -> None:
    choice = run.run.result["choice"]
    assert {one["name"] for one in choice["candidates"]} == {"source-only-augmented", "self-training", "mcc"}
    assert not choice["not_finished"]
    for name in ("self-training", "mcc"):
        child = Adaptation(run.run.candidate(name))
        assert child.config.image_size == 8
        assert child.run.result["method"] == name
    reused = run.run.candidate("self-training") / "models" / "source-only-0.safetensors"
    assert reused.read_bytes() == (run.run.path / "models" / "source-only-0.safetensors").read_bytes()


def test_what_is_taken_is_what_predicts(run: Adaptation) -> None:
    (taken_,) = [one for one in run.run.result["choice"]["candidates"] if one["taken"]]
    assert taken_["forecast"] == max(one["forecast"] for one in run.run.result["choice"]["candidates"])
    pixels = run.target.images("test").pixels[:32]
    child, kind = run.chosen()
    assert torch.equal(run.classifier().probabilities(pixels), child.classifier(kind).probabilities(pixels))
    assert run.run.result["accuracy"]["mean"] == pytest.approx(taken_["accuracy"], abs=1e-6)


def test_a_finished_choice_stays_and_resumes_to_the_same(run: Adaptation) -> None:
    before = run.run.choice.read_bytes()
    auto.choose_candidate(run)
    assert run.run.choice.read_bytes() == before
    assert acclimate.resume(run.run.path).run.result == run.run.result


def test_the_report_compares_the_candidates(run: Adaptation, small_analysis: None) -> None:
    file = run.run.path / "report.html"
    write_report([run], file)
    section = file.read_text().partition('id="candidates"')[2].partition("</section>")[0]
    assert all(name in section for name in ("self-training", "mcc", "source-only-augmented", "yes"))


def test_several_runs_are_compared(run: Adaptation) -> None:
    children = [Adaptation(run.run.candidate(name)) for name in ("self-training", "mcc")]
    found = judged(children)
    assert [one.name for one in found] == ["source-only-augmented", "self-training", "mcc"]
    assert "take" in comparison(found)


def test_without_time_the_unadapted_classifier_is_taken(tmp_path: Path) -> None:
    none = acclimate.adapt("digits", "digits-m", method="auto", out=tmp_path / "run", budget="0s", **TINY)
    result = none.run.result
    assert [one["status"] for one in result["choice"]["not_finished"]] == ["left out"] * 3
    assert none.own_kind == "source-only-augmented"
    assert "recommendation" not in result
    assert result["accuracy"]["mean"] == result["baselines"]["source_only_augmented"]["mean"]


def test_what_is_over_the_budget_is_stopped_and_what_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**TINY, "stage_steps": 100_000, "candidates": "self-training"}
    long = acclimate.start("digits", "digits-m", method="auto", out=tmp_path / "run", budget="12s", **settings)
    monkeypatch.setattr(auto.Ledger, "spent", property(lambda self: sum(e["seconds"] for e in self.entries.values())))
    (long.run.path / "models").mkdir()
    auto.choose_candidate(long)
    with pytest.raises(RunError, match="no classifier"):  # of the source, which was not trained here
        long.classifier()
    entry = json.loads((long.run.candidate("ledger.json")).read_text())["self-training"]
    assert entry["status"] == auto.STOPPED
    assert 12 <= entry["seconds"] < 60
    assert (long.run.candidate("self-training") / "checkpoints").exists()


def test_that_every_candidate_fails_is_an_error_that_names_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "run_child", lambda *_: Child(1.0, error="out of luck"))
    with pytest.raises(AcclimateError, match="no candidate came to its end; mcc failed: out of luck"):
        acclimate.adapt(
            "digits", "digits-m", method="auto", out=tmp_path / "run", candidates="mcc", budget="5m", **TINY
        )


def test_an_interrupted_choice_keeps_its_time_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "run_child", lambda *_: Child(7.0, interrupted=True))
    with pytest.raises(InterruptedRunError, match="go on with: acclimate run --resume"):
        acclimate.adapt(
            "digits", "digits-m", method="auto", out=tmp_path / "run", candidates="mcc", budget="5m", **TINY
        )
    left = []
    monkeypatch.setattr(auto, "run_child", lambda *given: left.append(given[2]) or Child(1.0, stopped=True))
    acclimate.resume(tmp_path / "run")
    entry = json.loads((tmp_path / "run/candidates/ledger.json").read_text())["mcc"]
    assert entry["status"] == auto.STOPPED
    assert entry["seconds"] == 8.0
    assert left[0] <= 300 - 7


@pytest.mark.parametrize("method", ["dann", "shot"])
def test_bars_of_other_networks_are_not_handed_on(method: str, tmp_path: Path) -> None:
    parent = acclimate.start(
        "digits", "digits-m", method="auto", out=tmp_path / "run", candidates=method, budget="5m", **TINY
    )
    for kind in auto.SOURCE_BARS:
        save_tree(parent.run.model(f"{kind}-0"), {"weights": {}})
    auto._start(parent, auto.Trial(method, method, "fast"))
    assert not list((parent.run.candidate(method) / "models").glob("*.safetensors"))
    auto._start(parent, auto.Trial("self-training", "self-training", "fast"))
    assert len(list((parent.run.candidate("self-training") / "models").glob("*.safetensors"))) == 2


def test_the_default_plan(run: Adaptation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short trainings first, then a longer one of the family that leads, as long as there is time for it."""
    result = run.run.result | {"config": {"stage_steps": 2500, "steps": 2000}}
    result["seconds"] = {"classifier": 500.0, "translator": 0.0}
    children = SimpleNamespace(run=SimpleNamespace(result=result))
    monkeypatch.setattr(auto, "Adaptation", lambda _: children)
    forecasts = {"self-training": 0.9, "cyclegan": 0.8}
    monkeypatch.setattr(auto, "_forecast", lambda _, name: forecasts[name])
    whole = SimpleNamespace(config=AutoConfig.preset("fast", budget="1h"), run=SimpleNamespace(candidate=str))
    ledger: Any = SimpleNamespace(entries={"self-training": {"seconds": 600.0}}, spent=1600.0, done=lambda: forecasts)

    first, second, long, last = auto._plan(whole, ledger)  # type: ignore[arg-type]
    assert [(one.name, one.method, one.preset) for one in (first, second, long, last)] == [
        ("self-training", "self-training", "fast"),
        ("cyclegan", "cyclegan", "fast"),
        ("self-training-long", "self-training", "fast"),
        ("pixelda", "pixelda", "fast"),
    ]
    assert (second.seconds, last.seconds) == (1200, 1200)
    assert last.settings["classifier_stage"] == "self-training"
    # four fifths of the 2,000 seconds left, at twice 0.2 seconds a step of twice the images
    assert long.settings == {"classifier_batch_size": 128, "target_batch_size": 128, "stage_steps": 4000}
    assert long.seconds == pytest.approx(1600)

    result["seconds"]["translator"] = 300.0
    forecasts["cyclegan"] = 0.95
    long = list(auto._plan(whole, ledger))[2]  # type: ignore[arg-type]
    assert (long.name, long.method) == ("cyclegan-long", "cyclegan")
    assert (long.settings["stage_steps"], long.settings["steps"]) == (2500, 4000)  # (1600 - 600) / 0.4
    assert long.seconds == pytest.approx(1600)
    ledger.spent = 3500.0
    assert list(auto._plan(whole, ledger))[2].settings["stage_steps"] == auto.LEAST  # type: ignore[arg-type]
    ledger.spent = 0.0
    assert list(auto._plan(whole, ledger))[2].settings["stage_steps"] == auto.LONGEST  # type: ignore[arg-type]

    ledger.done = list
    assert [one.name for one in auto._plan(whole, ledger)] == ["self-training", "cyclegan", "pixelda"]  # type: ignore[arg-type]


def candidate(run: Adaptation, name: str, forecast: float, collapsed: bool = False) -> Candidate:
    scores = {"forecast": forecast, "agreement": 0.5, "weighted-risk": 0.5}
    return Candidate(name, run, "adapted", {"low": 0.0, "mean": forecast, "high": 1.0}, scores, collapsed)


def test_nothing_that_collapsed_is_taken(run: Adaptation) -> None:
    some = [candidate(run, *one) for one in (("a", 0.9, True), ("b", 0.8), ("c", 0.75))]
    assert taken(some).name == "b"
    assert taken(some[:1]).name == "a"


@pytest.mark.parametrize("budget", ["30", "m", "1d", "-5m"])
def test_a_budget_has_a_unit(budget: str) -> None:
    with pytest.raises(AcclimateError, match="--budget must be such as"):
        AutoConfig.preset("fast", budget=budget)


def test_a_budget_in_seconds() -> None:
    assert [AutoConfig.preset("fast", budget=budget).seconds for budget in ("90s", "1.5m", "2h")] == [90, 90, 7200]


def test_candidates_are_methods() -> None:
    with pytest.raises(AcclimateError, match=r"no method 'dan'\. Did you mean 'dann'"):
        AutoConfig.preset("fast", candidates="mcc,dan")
    with pytest.raises(AcclimateError, match="--candidates must be methods that adapt"):
        AutoConfig.preset("fast", candidates="target-only")
