"""The choice among methods: candidates within a budget, the rest left out, nothing chosen by target labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import acclimate
from acclimate.errors import AcclimateError
from acclimate.methods.auto.config import AutoConfig
from acclimate.pipeline import auto
from acclimate.pipeline.candidates import Candidate, comparison, judged, taken
from acclimate.reporting.page import write_report
from acclimate.runs.adaptation import Adaptation

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
        stored = json.loads(file.read_text())
        stored["config"] |= {"steps": 4, "snapshots": 1} if "steps" in stored["config"] else {}
        file.write_text(json.dumps(stored))

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
    assert result["recommendation"]["use"] == "unadapted"
    assert result["accuracy"]["mean"] == result["baselines"]["source_only_augmented"]["mean"]


def test_what_is_over_the_budget_is_stopped_and_what_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**TINY, "stage_steps": 100_000}
    long = acclimate.start(
        "digits",
        "digits-m",
        method="auto",
        out=tmp_path / "run",
        budget="20s",
        candidates="self-training,mcc",
        **settings,
    )
    monkeypatch.setattr(auto.Ledger, "spent", property(lambda self: sum(e["seconds"] for e in self.entries.values())))
    (long.run.path / "models").mkdir()
    ledger = auto.Ledger(long)
    trial = auto.Trial("self-training", "self-training", "fast")
    status, seconds, _ = auto._try(long, trial, 15.0)
    assert status == auto.STOPPED
    assert 15 <= seconds < 60
    assert (long.run.candidate("self-training") / "checkpoints").exists()
    ledger.write(trial, status, seconds)
    wrong = auto.Trial("cdan", "cdan", "fast", {"batch_size": 0})
    status, _, why = auto._try(long, wrong, 60.0)
    assert status == auto.FAILED
    assert "--batch-size" in why


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
    with pytest.raises(AcclimateError, match="--candidates must be methods other than auto"):
        AutoConfig.preset("fast", candidates="auto")
