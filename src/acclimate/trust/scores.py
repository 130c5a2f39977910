"""Label-free scores of an adaptation: plain functions of features and probabilities, none of which sees a target label.

``probabilities`` are float ``[N, K]``, rows summing to 1; ``features`` are float ``[N, d]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

HEALTHY_BAND = (0.6, 0.8)
"""Accuracies of a discriminator that the paper found healthy (section 4.3)."""


def kernel_inception_distance(first: Tensor, second: Tensor) -> float:
    """KID: unbiased squared MMD of two sets of features, kernel (a.b / d + 1)^3 (Binkowski et al., 2018, section 4)."""
    a, b = first.double(), second.double()
    inner_a, inner_b, cross = (_cubic(x, y) for x, y in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    within_a = (inner_a.sum() - inner_a.trace()) / (n * (n - 1))
    within_b = (inner_b.sum() - inner_b.trace()) / (m * (m - 1))
    return float(within_a + within_b - 2 * cross.mean())


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1).pow(3)


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """FID: |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)) (Heusel et al., 2017), on any features."""
    a, b = first.double(), second.double()
    cov_a, cov_b = a.T.cov(), b.T.cov()
    values, vectors = torch.linalg.eigh(cov_a)
    root_a = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    # tr (S_1 S_2)^(1/2) = tr (S_1^(1/2) S_2 S_1^(1/2))^(1/2), whose argument is symmetric
    root_trace = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0).sqrt().sum()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    return float(shift + cov_a.trace() + cov_b.trace() - 2 * root_trace)


def agreement(first: Tensor, second: Tensor) -> float:
    """Share of images that two sets of ``probabilities`` give the same class."""
    return float((first.argmax(1) == second.argmax(1)).double().mean())


def mean_entropy(probabilities: Tensor) -> float:
    """Mean entropy of the predictions, in nats: 0 where all are certain, log K where none says anything."""
    return float(torch.special.entr(probabilities.double()).sum(1).mean())


def information(probabilities: Tensor) -> float:
    """Information maximisation: entropy of the mean prediction less the mean entropy, in nats (Liang et al., 2020)."""
    return float(torch.special.entr(probabilities.double().mean(0)).sum()) - mean_entropy(probabilities)


def neighbourhood_density(probabilities: Tensor, temperature: float = 0.05) -> float:
    """Soft neighbourhood density: mean entropy of each image's similarity to all others (Saito et al., 2021).

    Dense clusters have many equal neighbours, hence a high entropy.
    """
    unit = F.normalize(probabilities.double(), dim=1)
    similarity = unit @ unit.T / temperature
    similarity.fill_diagonal_(-math.inf)
    return float(torch.special.entr(similarity.softmax(1)).sum(1).mean())


def class_balance_divergence(probabilities: Tensor, class_shares: Tensor) -> float:
    """KL divergence, in nats, of the mean prediction from the source's class shares, float ``[K]``."""
    mean = probabilities.double().mean(0)
    return float((torch.special.xlogy(mean, mean) - mean * class_shares.double().clamp(min=1e-12).log()).sum())


def effective_classes(counts: Tensor) -> float:
    """Return how many classes of equal share have the entropy of ``counts``, float ``[K]``: from 1 to K."""
    return math.exp(float(torch.special.entr(counts.double() / counts.sum()).sum()))


def band_distance(accuracies: Sequence[float], band: tuple[float, float] = HEALTHY_BAND) -> float:
    """Mean distance of the discriminators' accuracies from the healthy band; 0 inside."""
    low, high = band
    return sum(max(low - value, 0.0, value - high) for value in accuracies) / len(accuracies)


def consensus(predictions: Tensor) -> Tensor:
    """Agreement of each of S classifiers with the majority of all, float ``[S]``, from classes int64 ``[S, N]``."""
    majority = predictions.mode(0).values
    return (predictions == majority).double().mean(1)
