"""The accuracy on the target that a person may expect, forecast without a target label.

No estimate is right everywhere: confidence does not see a collapse, agreement not an error that all make. So several
are weighed by a small linear model that was fitted on runs whose truth is known (``benchmarks/forecast.py``, which
tries it on pairs of domains that it was not fitted on); its numbers lie in ``forecast.json`` beside this file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVIDENCE = {
    "adapted": ("stability", "unadapted", "neighbours", "effective_classes", "prior_distance"),
    "unadapted": ("confidence", "aligned", "reverse", "effective_classes"),
}
"""What is weighed for an adapted classifier, and for one of the source alone. Few: with all that is gathered the model
fits the pairs that it knows better and others worse."""

NUMBERS = frozenset({"effective_classes"})
"""Evidence that the model sees as it is; all other is shares in [0, 1], which it sees as log odds."""

LEAST, MOST = 0.01, 0.99
"""Shares are cut to these, so that their log odds are finite."""

RIDGE = 5.0

COLLAPSED = 0.6
"""Effective classes given to the target, as a share of those in the source, below which that is a collapse."""

COVERED = 0.9
"""How often the interval is to hold the truth."""


@dataclass(frozen=True)
class ForecastModel:
    """A linear model of the log odds of accuracy.

    Attributes
    ----------
    evidence
        Names of what it weighs.
    mean, deviation
        Of each over what it was fitted on.
    weights, intercept
        Of the standardised evidence.
    low, high
        What is added to the log odds for the ends of the interval.
    """

    evidence: Sequence[str]
    mean: Sequence[float]
    deviation: Sequence[float]
    weights: Sequence[float]
    intercept: float
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def fit(
        cls, names: Sequence[str], evidence: Sequence[Mapping[str, float]], accuracy: Sequence[float]
    ) -> ForecastModel:
        """Fit it by ridge regression, without an interval.

        Parameters
        ----------
        names
            What to weigh.
        evidence
            Of each classifier, by name.
        accuracy
            Each one's accuracy on the target, in [0, 1].
        """
        x, y = np.stack([_numbers(names, one) for one in evidence]), np.array([log_odds(one) for one in accuracy])
        mean, deviation = x.mean(0), x.std(0) + 1e-6
        z = (x - mean) / deviation
        weights = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean()))
        return cls(names, mean.tolist(), deviation.tolist(), weights.tolist(), float(y.mean()))

    def log_odds(self, evidence: Mapping[str, float]) -> float:
        """Return the forecast log odds of accuracy.

        After a collapse onto few classes nothing else means anything: then it is not more than the share of images that
        have these classes in the source.
        """
        z = (_numbers(self.evidence, evidence) - np.array(self.mean)) / np.array(self.deviation)
        found = float(z @ np.array(self.weights)) + self.intercept
        if evidence.get("effective_classes", 1.0) < COLLAPSED:
            found = min(found, log_odds(1 - evidence["prior_distance"]))
        return found

    def forecast(self, evidence: Mapping[str, float]) -> dict[str, Any]:
        """Return ``mean``, ``low`` and ``high`` in [0, 1], and each piece of evidence, ``by`` its name."""
        middle = self.log_odds(evidence)
        found = {"mean": middle, "low": middle + self.low, "high": middle + self.high}
        return {name: round(share(value), 6) for name, value in found.items()} | {"by": dict(evidence)}


def forecast_accuracy(evidence: Mapping[str, float]) -> dict[str, Any]:
    """Forecast a classifier's accuracy on the target.

    Parameters
    ----------
    evidence
        As :class:`~acclimate.pipeline.evidence.Evidence` gathers it.

    Returns
    -------
    dict
        ``mean``, and ``low`` and ``high`` that hold the truth in nine of ten cases, in [0, 1]; ``by``, the evidence.
    """
    model: ForecastModel = _shipped()["adapted" if evidence["adapted"] else "unadapted"]
    return model.forecast(evidence)


def recommend(adapted: Mapping[str, Any], unadapted: Mapping[str, Any]) -> dict[str, Any]:
    """Recommend the adapted classifier or the one of the source alone, by their forecasts.

    Returns
    -------
    dict
        ``use``: ``adapted`` or ``unadapted``; ``sure``: how likely the recommended one is the better, from 0.5 to 1, by
        how far such differences were off on known runs.
    """
    gain = log_odds(adapted["mean"]) - log_odds(unadapted["mean"])
    sure = NormalDist(0, _shipped()["gain_deviation"]).cdf(abs(gain))
    return {"use": "adapted" if gain > 0 else "unadapted", "sure": round(sure, 4)}


@cache
def _shipped() -> dict[str, Any]:
    """Return what is shipped: a model for each, and how far the forecast gains of adaptation are off."""
    stored: dict[str, Any] = json.loads(files(__package__).joinpath("forecast.json").read_text(encoding="utf-8"))
    return stored | {name: ForecastModel(**stored[name]) for name in EVIDENCE}


def log_odds(value: float) -> float:
    """Return log(p / (1 - p)) of a share, cut to :data:`LEAST` and :data:`MOST`."""
    cut = min(max(value, LEAST), MOST)
    return math.log(cut / (1 - cut))


def share(odds: float) -> float:
    """Return the share in (0, 1) that has these log odds."""
    return 1 / (1 + math.exp(-odds))


def _numbers(names: Sequence[str], evidence: Mapping[str, float]) -> NDArray[np.float64]:
    return np.array([evidence[name] if name in NUMBERS else log_odds(evidence[name]) for name in names])
