"""MCC: what confusion is, who is updated."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from acclimate.methods.base import Task
from acclimate.methods.mcc.config import MCCConfig
from acclimate.methods.mcc.method import MCC, class_confusion
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, schedule, watch_updates, without_dropout


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


def test_the_gradient_is_that_of_both_losses_the_confusion_s_of_the_target() -> None:
    x, labels, t = batch(1), torch.arange(6) % 3, batch(2)
    method = without_dropout(build(confusion_weight=0.7, temperature=1.5))
    on_x, on_t = method.classifier.train()(torch.cat([x, t])).split(6)
    loss = F.cross_entropy(on_x, labels) + 0.7 * class_confusion(on_t, 1.5)
    expected = torch.autograd.grad(loss, list(method.classifier.parameters()))
    method.step(x, labels, t)
    for parameter, gradient in zip(method.classifier.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_the_weights_of_the_confusion_have_no_gradient() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.3], [-3.0, 1.0]], requires_grad=True)
    p = (logits / 2.5).softmax(1)
    certainty = 1 + (p * p.log()).sum(1).exp()
    weights = (3 * certainty / certainty.sum()).detach()
    confusion = (p * weights[:, None]).T @ p
    expected = (confusion[0, 1] / confusion[0].sum() + confusion[1, 0] / confusion[1].sum()) / 2
    (wanted,) = torch.autograd.grad(expected, logits)
    (found,) = torch.autograd.grad(class_confusion(logits), logits)
    torch.testing.assert_close(found, wanted)


def test_the_rate_falls_over_the_second_half() -> None:
    _, rates = schedule(build(batch_size=4, steps=10, lr=0.5), "classifier", 0, 8)
    assert rates == pytest.approx([0.5, 0.2])
