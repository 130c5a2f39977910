"""MCC: what confusion is, who is updated."""

from __future__ import annotations

import pytest
import torch

from acclimate.methods.base import Task
from acclimate.methods.mcc.config import MCCConfig
from acclimate.methods.mcc.method import MCC, class_confusion
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, watch_updates


def build(**settings: object) -> MCC:
    torch.manual_seed(0)
    return MCC(MCCConfig(classifier="conv7", **settings), Task(3, 16, ("a", "b", "c")), Engine())  # type: ignore[arg-type]


def test_confusion_is_the_papers() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.3], [-3.0, 1.0]])
    p = (logits / 2.5).softmax(1)
    certainty = [1 + 2.718281828459045 ** float((row * row.log()).sum()) for row in p]
    weights = [3 * one / sum(certainty) for one in certainty]
    confusion = [
        [sum(w * float(row[j] * row[k]) for w, row in zip(weights, p, strict=True)) for k in range(2)] for j in range(2)
    ]
    expected = sum(confusion[j][1 - j] / sum(confusion[j]) for j in range(2)) / 2
    assert class_confusion(logits).item() == pytest.approx(expected, rel=1e-5)


def test_sure_predictions_are_not_confused_and_unsure_ones_are() -> None:
    sure = 100 * torch.eye(4)
    assert class_confusion(sure).item() == pytest.approx(0.0, abs=1e-6)
    assert class_confusion(torch.zeros(8, 4)).item() == pytest.approx(0.75)


def test_an_update_changes_the_whole_classifier() -> None:
    method = build()
    seen = watch_updates(method)
    logged = method.step(batch(1), torch.arange(6) % 3, batch(2))
    assert seen == [("classifier", parameters_of(method, "classifier"))]
    assert 0 < logged["confusion"] < 1


def test_the_confusion_s_gradient_is_of_the_target_alone() -> None:
    method = build(confusion_weight=0.0)
    before = {name: value.clone() for name, value in method.classifier.named_parameters()}
    method.step(batch(1), torch.arange(6) % 3, batch(2))
    alone = {name: value.clone() for name, value in method.classifier.named_parameters()}
    assert any(not torch.equal(before[name], alone[name]) for name in before)
    other = build(confusion_weight=1.0)
    other.step(batch(1), torch.arange(6) % 3, batch(2))
    moved = dict(other.classifier.named_parameters())
    assert any(not torch.equal(moved[name], alone[name]) for name in alone)
