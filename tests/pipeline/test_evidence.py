"""The evidence of a run: what it holds, what it must not read, what it says of runs that went wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from acclimate import Adaptation
from acclimate.data.augmentation import POLICIES
from acclimate.pipeline.adapt import start
from acclimate.pipeline.evidence import Evidence
from acclimate.pipeline.stages import train_method
from acclimate.runs.familiar import target_images
from acclimate.trust import estimators
from acclimate.trust.forecast import EVIDENCE, forecast_accuracy
from helpers import tiny


@pytest.fixture(scope="module")
def evidence(finished: Adaptation) -> Evidence:
    return Evidence(finished)


def test_all_that_is_weighed_is_there_and_the_result_has_it(finished: Adaptation, evidence: Evidence) -> None:
    adapted, unadapted = evidence.of("adapted"), evidence.of(evidence.reference)
    everything = evidence.of("adapted", everything=True)
    assert adapted.items() <= everything.items()
    assert set(EVIDENCE["adapted"]) <= adapted.keys()
    assert set(EVIDENCE["unadapted"]) <= unadapted.keys()
    assert (adapted["adapted"], unadapted["adapted"]) == (1, 0)
    assert all(0 <= value <= 1 for name, value in everything.items() if name != "effective_classes")
    assert "trainings" in everything  # the run has two
    result = finished.run.result
    assert result["forecast"]["by"] == adapted
    assert result["unadapted"]["by"] == unadapted
    assert result["forecast"]["mean"] == forecast_accuracy(result["forecast"]["by"])["mean"]
    assert result["unadapted"]["mean"] == forecast_accuracy(unadapted)["mean"]
    assert result["recommendation"]["use"] in ("adapted", "unadapted")


def test_each_piece_is_of_what_it_says(
    finished: Adaptation, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = finished.classifier("adapted").each_probabilities(evidence.target)
    without = finished.classifier(evidence.reference).each_probabilities(evidence.target)
    answers, labels = sum(seen).argmax(1), evidence.source.labels
    found = evidence.of("adapted", everything=True)
    assert found["confidence"] == pytest.approx((sum(seen) / len(seen)).amax(1).mean().item(), abs=1e-5)
    pairs = [(one.argmax(1) == other.argmax(1)).float().mean().item() for one in seen for other in without]
    assert found["unadapted"] == pytest.approx(sum(pairs) / len(pairs), abs=1e-5)
    shares, prior = (torch.bincount(some, minlength=10) / len(some) for some in (answers, labels))
    entropies = [-(some[some > 0] * some[some > 0].log()).sum() for some in (shares, prior)]
    assert found["effective_classes"] == pytest.approx((entropies[0] - entropies[1]).exp().item(), abs=1e-4)
    assert found["prior_distance"] == pytest.approx(0.5 * (shares - prior).abs().sum().item(), abs=1e-5)

    probed = []
    monkeypatch.setattr(estimators, "probe_accuracy", lambda *given: probed.append(given) or 0.25)
    evidence.of("adapted", everything=True)
    (of_target, given, of_source, wanted), (again, known, there, asked) = probed
    assert torch.equal(given, answers)
    assert torch.equal(wanted, labels)
    assert torch.equal(known, labels)
    assert torch.equal(asked, answers)
    assert torch.equal(of_target, there)
    assert torch.equal(of_source, again)
    assert (len(of_target), len(of_source)) == (len(evidence.target), len(evidence.source))


def test_stability_is_the_share_of_answers_that_stay(
    finished: Adaptation, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = SimpleNamespace(of_target=lambda: SimpleNamespace(strong=lambda images: images))
    gone = SimpleNamespace(of_target=lambda: SimpleNamespace(strong=torch.zeros_like))
    answers = evidence.together("adapted").argmax(1)
    on_gray = finished.classifier("adapted").probabilities(torch.full_like(evidence.target, 128)).argmax(1)
    for view, expected in ((unchanged, 1.0), (gone, (on_gray == answers).float().mean().item())):
        monkeypatch.setitem(POLICIES, "light", view)  # type: ignore[arg-type]
        assert evidence.of("adapted")["stability"] == pytest.approx(expected, abs=1e-5)


def test_it_reads_no_target_label(finished: Adaptation, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a target label was read")

    monkeypatch.setattr(finished.target, "labelled", refuse)
    evidence = Evidence(finished)
    evidence.of("adapted", everything=True)
    evidence.findings("adapted")
    with pytest.raises(AssertionError, match="label"):
        finished.target.labelled("test")


def test_a_method_that_decides_is_asked_what_it_sees_in_images_that_it_has_redrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("digits", "digits-m", method="pixelda", out=tmp_path / "run", **tiny("pixelda", steps=2))
    train_method(run)
    val = run.data.source_val
    redrawn, equal = run.translator()(val.pixels), torch.eye(10)[torch.arange(len(val)) % 10]
    asked = []

    def exchanges(pixels: Tensor) -> Tensor:
        asked.append(pixels)
        return torch.eye(10)[torch.where(val.labels == 1, 0, val.labels)]

    classifier = SimpleNamespace(probabilities=exchanges, each_probabilities=lambda pixels: [equal])
    monkeypatch.setattr(run, "classifier", lambda kind: classifier)
    (found,) = Evidence(run).findings("adapted")
    assert found == {"kind": "flip", "text": "100 % of redrawn source images of 1 are classified as 0"}
    assert asked[0].shape == val.pixels.shape
    assert (asked[0].float() - redrawn.float()).abs().mean() < (asked[0].float() - val.pixels.float()).abs().mean()


def test_held_out_images_are_no_training_images_where_there_are_enough(
    finished: Adaptation, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, held_out = target_images(finished, 90, 2000)
    assert torch.equal(held_out, finished.target.images("val").pixels)
    monkeypatch.setattr("acclimate.runs.familiar.FEW", 1000)
    apart, more = target_images(finished, 90, 2000)
    assert torch.equal(more, torch.cat([held_out, known[:30]]))
    assert torch.equal(apart, known[30:])
