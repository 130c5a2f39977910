"""The evidence of a run: what it holds, what it must not read, what it says of runs that went wrong."""

from __future__ import annotations

import pytest
import torch

from acclimate import Adaptation
from acclimate.pipeline.evidence import Evidence
from acclimate.runs.familiar import target_images
from acclimate.trust.forecast import EVIDENCE, forecast_accuracy


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


def test_it_reads_no_target_label(finished: Adaptation, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a target label was read")

    monkeypatch.setattr(finished.target, "labelled", refuse)
    evidence = Evidence(finished)
    evidence.of("adapted", everything=True)
    evidence.findings("adapted")
    with pytest.raises(AssertionError, match="label"):
        finished.target.labelled("test")


def test_held_out_images_are_no_training_images_where_there_are_enough(
    finished: Adaptation, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, held_out = target_images(finished, 90, 2000)
    assert torch.equal(held_out, finished.target.images("val").pixels)
    monkeypatch.setattr("acclimate.runs.familiar.FEW", 1000)
    apart, more = target_images(finished, 90, 2000)
    assert torch.equal(more, torch.cat([held_out, known[:30]]))
    assert torch.equal(apart, known[30:])
