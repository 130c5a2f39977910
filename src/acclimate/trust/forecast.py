"""The target accuracy that a person may expect, forecast without a target label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, product
from statistics import fmean
from typing import Any

from torch import Tensor

from acclimate.trust import scores

Z_95 = 1.96


def forecast_accuracy(
    val: Sequence[Tensor], val_labels: Tensor, target: Sequence[Tensor], unadapted: Sequence[Tensor] = ()
) -> dict[str, Any]:
    """Forecast accuracy on the target from how sure the classifiers are there and how much they agree.

    Up to four estimators, each a mean over the classifiers or their pairs: *confidence*, accuracy on ``val`` less the
    drop of mean confidence from there to the target (Guillory et al., 2021); *threshold*, average thresholded
    confidence (Garg et al., 2022); *agreement* of two trainings on target images, which is their accuracy where they
    are calibrated (Jiang et al., 2022); *unadapted*, the agreement with classifiers that saw no adaptation. The first
    three do not see an error that all trainings share, such as a translator that turns one class into another; the last
    takes every changed answer for an error. The interval spans them all, widened by 1.96 binomial standard errors.

    Parameters
    ----------
    val
        Probabilities float ``[N, K]`` of each classifier on labelled images like those that it was trained on.
    val_labels
        int64 ``[N]``.
    target
        Probabilities float ``[M, K]`` of each classifier on unlabelled target images.
    unadapted
        The same of source-only classifiers on the same images.

    Returns
    -------
    dict
        ``mean``, ``low``, ``high`` in [0, 1], and each estimator's own value.
    """
    by = {
        "confidence": fmean(
            _accuracy(on_val, val_labels) - _confidence(on_val) + _confidence(on_target)
            for on_val, on_target in zip(val, target, strict=True)
        ),
        "threshold": fmean(
            scores.thresholded_confidence(on_val, val_labels, on_target)
            for on_val, on_target in zip(val, target, strict=True)
        ),
    }
    if len(target) > 1:
        by["agreement"] = fmean(scores.agreement(*pair) for pair in combinations(target, 2))
    if unadapted:
        by["unadapted"] = fmean(scores.agreement(*pair) for pair in product(target, unadapted))
    by = {name: min(max(value, 0.0), 1.0) for name, value in by.items()}
    margins = {value: Z_95 * math.sqrt(value * (1 - value) / len(target[0])) for value in by.values()}
    return {
        "mean": round(fmean(by.values()), 6),
        "low": round(max(min(value - margin for value, margin in margins.items()), 0.0), 6),
        "high": round(min(max(value + margin for value, margin in margins.items()), 1.0), 6),
        "by": {name: round(value, 6) for name, value in by.items()},
    }


def _accuracy(probabilities: Tensor, labels: Tensor) -> float:
    return float((probabilities.argmax(1) == labels).double().mean())


def _confidence(probabilities: Tensor) -> float:
    return float(probabilities.max(1).values.double().mean())
