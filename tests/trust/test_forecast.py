from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acclimate.trust.forecast import forecast_accuracy


def binary(confidences: list[float]) -> Tensor:
    top = torch.tensor(confidences)
    return torch.stack([top, 1 - top], 1)


def test_estimators_by_hand() -> None:
    val, labels = binary([0.9, 0.9, 0.7, 0.7]), torch.tensor([0, 0, 0, 1])
    target = [binary([0.8, 0.6, 0.6, 0.6]), binary([0.8, 0.6, 0.4, 0.6])]
    forecast = forecast_accuracy([val, val], labels, target)
    drop = 0.8 - (0.65 + 0.65) / 2
    assert forecast["by"]["confidence"] == pytest.approx(0.75 - drop, abs=1e-6)
    assert forecast["by"]["threshold"] == 0.25
    assert forecast["by"]["agreement"] == 0.75
    assert forecast["mean"] == pytest.approx((0.6 + 0.25 + 0.75) / 3, abs=1e-6)
    assert 0 <= forecast["low"] < 0.25
    assert 0.75 < forecast["high"] <= 1


def test_one_classifier_has_nobody_to_agree_with() -> None:
    forecast = forecast_accuracy([binary([0.9, 0.9])], torch.tensor([0, 0]), [binary([0.9, 0.9])])
    assert set(forecast["by"]) == {"confidence", "threshold"}
    assert forecast["mean"] == 1


def test_answers_that_adaptation_changed_lower_the_forecast() -> None:
    val, labels, target = binary([0.9] * 4), torch.tensor([0] * 4), [binary([0.9] * 4)]
    plain = [binary([0.9, 0.9, 0.1, 0.1]), binary([0.9, 0.1, 0.1, 0.1])]
    without, forecast = (forecast_accuracy([val], labels, target, unadapted) for unadapted in ([], plain))
    assert forecast["by"] == without["by"] | {"unadapted": 0.375}
    assert forecast["low"] < without["low"] == 1


def test_a_worse_target_is_forecast_worse() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 5, generator=generator)
    labels = (3 * logits).softmax(1).multinomial(1, generator=generator).squeeze(1)
    val = (3 * logits).softmax(1)
    blurred = [(0.5 * logits).softmax(1)]
    assert forecast_accuracy([val], labels, blurred)["high"] < forecast_accuracy([val], labels, [val])["low"]
