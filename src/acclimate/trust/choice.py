"""Choosing among several classifiers of one target without a label of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from acclimate.trust.scores import agreement

RULES = ("forecast", "agreement", "weighted-risk")
"""What can choose, each with more for a better classifier: the forecast accuracy, :func:`agreement_with_mean`,
:func:`weighted_accuracy`. Which of them holds is measured in docs/results/choice.md."""

MOST = 10.0
"""Weight of a source image at most, as a multiple of the mean, so that a few do not decide alone."""


def agreement_with_mean(probabilities: Sequence[Tensor]) -> list[float]:
    """Return how far each of several classifiers agrees with the mean of all (EnsV: Hu et al., NeurIPS 2024).

    A classifier that collapsed, or that is wrong in its own way, agrees less than those that are right alike.

    Parameters
    ----------
    probabilities
        Of each classifier on the same target images, float ``[N, K]``.
    """
    mean = torch.stack([one.double() for one in probabilities]).mean(0)
    return [agreement(one, mean) for one in probabilities]


def density_ratios(source: Tensor, target: Tensor) -> Tensor:
    """Return how much likelier each source image is in the target, float64 ``[N]`` with mean 1, at most :data:`MOST`.

    p(target | x) / p(source | x) of a logistic regression that tells the domains apart by features (Bickel et al., ICML
    2007), those of both domains float ``[N, D]`` and ``[M, D]``, of a network that knows nothing of the target.
    """
    from sklearn.linear_model import LogisticRegression

    both = torch.cat([source, target]).double()
    standardised = ((both - both.mean(0)) / both.std(0).clamp(min=1e-6)).numpy()
    is_target = [0] * len(source) + [1] * len(target)
    judge = LogisticRegression(C=1 / both.shape[1], class_weight="balanced", max_iter=200).fit(standardised, is_target)
    odds = torch.from_numpy(judge.decision_function(standardised[: len(source)])).exp()
    return (odds / odds.mean()).clamp(max=MOST)


def weighted_accuracy(probabilities: Tensor, labels: Tensor, weights: Tensor) -> float:
    """Return the share of right answers on source images, weighted by how likely they are in the target.

    One less the importance-weighted risk (Sugiyama et al., JMLR 2007, equation 11), with weights of mean 1 in the
    denominator.
    """
    right = (probabilities.argmax(1) == labels).double()
    return float((right * weights).sum() / weights.sum())


def best(scores: Sequence[float], vetoed: Sequence[bool]) -> int:
    """Return the number of the highest score among those that are not vetoed; among all where all are.

    Of equals the first.
    """
    allowed = [number for number, veto in enumerate(vetoed) if not veto] or range(len(scores))
    return max(allowed, key=lambda number: scores[number])
