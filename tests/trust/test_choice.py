"""Choosing among classifiers without a label."""

from __future__ import annotations

import pytest
import torch

from acclimate.trust.choice import agreement_with_mean, best, density_ratios, weighted_accuracy


def one_hot(*classes: int) -> torch.Tensor:
    return torch.eye(3)[list(classes)]


def test_the_one_that_differs_agrees_least() -> None:
    right, alike, collapsed = one_hot(0, 1, 2, 0), one_hot(0, 1, 2, 1), one_hot(2, 2, 2, 2)
    assert agreement_with_mean([right, right, alike, collapsed]) == [1.0, 1.0, 0.75, 0.25]


def test_source_images_like_the_target_weigh_more() -> None:
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(400, 2, generator=generator), torch.randn(400, 2, generator=generator) + 1.5
    ratios = density_ratios(source, target)
    assert ratios.shape == (400,)
    assert ratios.max() <= 10
    near, far = source[:, 0] + source[:, 1] > 1, source[:, 0] + source[:, 1] < -1
    assert ratios[near].mean() > 5 * ratios[far].mean()


def test_weighted_accuracy_by_hand() -> None:
    weights = torch.tensor([3.0, 1.0, 0.5, 0.5])
    assert weighted_accuracy(one_hot(0, 1, 2, 0), torch.tensor([0, 2, 2, 1]), weights) == pytest.approx(3.5 / 5)


def test_a_veto_counts_unless_all_are_vetoed() -> None:
    assert best([0.9, 0.8, 0.7], [True, False, False]) == 1
    assert best([0.9, 0.8, 0.7], [True, True, True]) == 0
