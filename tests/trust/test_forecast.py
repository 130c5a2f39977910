from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from acclimate.trust.forecast import EVIDENCE, ForecastModel, forecast_accuracy, log_odds, recommend, share

NAMES = ("stability", "effective_classes")


def known(count: int) -> tuple[list[dict[str, float]], list[float]]:
    """Return evidence, and accuracies whose log odds are a linear function of it."""
    generator = np.random.default_rng(0)
    evidence = [
        {"stability": float(one), "effective_classes": float(two)}
        for one, two in zip(generator.uniform(0.1, 0.9, count), generator.uniform(0.7, 1, count), strict=True)
    ]
    odds = [0.8 * log_odds(one["stability"]) + 2 * one["effective_classes"] - 1 for one in evidence]
    return evidence, [share(one) for one in odds]


def test_log_odds_and_back() -> None:
    assert share(log_odds(0.73)) == pytest.approx(0.73)
    assert log_odds(0.5) == 0
    assert log_odds(1) == pytest.approx(math.log(99))
    assert log_odds(0) == pytest.approx(-math.log(99))


def test_a_linear_relation_is_found() -> None:
    evidence, accuracy = known(200)
    model = ForecastModel.fit(NAMES, evidence, accuracy)
    for one, true in zip(evidence[:20], accuracy, strict=False):
        forecast = model.forecast(one)
        assert forecast["mean"] == pytest.approx(true, abs=0.03)
        assert forecast["by"] == one


def test_ridge_by_hand() -> None:
    shares, accuracy = (0.2, 0.4, 0.6, 0.8), (0.3, 0.5, 0.4, 0.9)
    model = ForecastModel.fit(("stability",), [{"stability": one} for one in shares], accuracy)
    x, y = (np.log([one / (1 - one) for one in some]) for some in (shares, accuracy))
    z = x / np.sqrt(np.mean(x**2))  # their mean is 0
    assert model.mean == pytest.approx([0], abs=1e-9)
    assert model.deviation == pytest.approx([x.std()], abs=1e-5)
    assert model.intercept == pytest.approx(y.mean())
    assert model.weights == pytest.approx([z @ (y - y.mean()) / (4 + 5)], rel=1e-4)  # z @ z = 4, and 5 on the diagonal


def test_the_interval_is_of_log_odds_and_stays_among_shares() -> None:
    model = ForecastModel(NAMES, [0.0, 0.0], [1.0, 1.0], [1.0, 0.0], 0.0, low=-1.0, high=2.0)
    forecast = model.forecast({"stability": 0.5, "effective_classes": 1.0})
    assert (forecast["low"], forecast["mean"]) == (pytest.approx(share(-1), abs=1e-6), 0.5)
    assert forecast["high"] == pytest.approx(share(2), abs=1e-6)
    assert model.forecast({"stability": 1.0, "effective_classes": 1.0})["high"] < 1


def shipped(**changes: float) -> dict[str, Any]:
    evidence = {
        "adapted": 1.0,
        "stability": 0.95,
        "unadapted": 0.6,
        "neighbours": 0.9,
        "confidence": 0.9,
        "aligned": 0.9,
        "reverse": 0.9,
        "effective_classes": 1.0,
        "prior_distance": 0.0,
    }
    return forecast_accuracy(evidence | changes)


def test_what_is_shipped_is_sound() -> None:
    forecast = shipped()
    assert 0 < forecast["low"] < forecast["mean"] < forecast["high"] < 1
    assert log_odds(shipped(stability=0.4)["mean"]) < log_odds(forecast["mean"]) - 1.3
    collapsed = {"effective_classes": 0.1, "prior_distance": 0.9, "stability": 1.0, "unadapted": 1.0, "neighbours": 1.0}
    assert shipped(**collapsed)["mean"] <= 0.1  # however stable
    assert shipped(adapted=0.0, confidence=0.5, aligned=0.5)["mean"] < shipped(adapted=0.0)["mean"]
    stored = json.loads(files("acclimate.trust").joinpath("forecast.json").read_text())
    assert {name: tuple(stored[name]["evidence"]) for name in EVIDENCE} == EVIDENCE
    assert len(stored["fitted_on"]) >= 8
    assert stored["classifiers"] >= 60


def test_the_better_forecast_is_recommended_the_surer_the_farther() -> None:
    slightly, clearly = recommend({"mean": 0.62}, {"mean": 0.6}), recommend({"mean": 0.9}, {"mean": 0.5})
    assert slightly["use"] == clearly["use"] == "adapted"
    assert 0.5 < slightly["sure"] < 0.6 < 0.95 < clearly["sure"] <= 1
    assert recommend({"mean": 0.5}, {"mean": 0.9}) == clearly | {"use": "unadapted"}
