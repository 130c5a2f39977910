from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from scipy.linalg import sqrtm

from acclimate.config import SelectionRule
from acclimate.pipeline.selection import RULES, choose
from acclimate.pipeline.study import judge_rules, judge_runs
from acclimate.trust import scores


def test_frechet_distance_equals_the_textbook_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(200, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    b = torch.randn(300, 6, generator=generator) + 0.5
    cov_a, cov_b = a.double().T.cov().numpy(), b.double().T.cov().numpy()
    shift = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
    expected = shift + (cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real).trace()
    assert scores.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert scores.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_kernel_inception_distance_by_hand() -> None:
    a, b = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    within_a = (1 * 2 + 1) ** 3
    within_b = (0 * 1 + 1) ** 3
    cross = ((0 + 1) ** 3 + (1 + 1) ** 3 + (0 + 1) ** 3 + (2 + 1) ** 3) / 4
    assert scores.kernel_inception_distance(a, b) == pytest.approx(within_a + within_b - 2 * cross)


def test_kernel_inception_distance_is_unbiased() -> None:
    generator = torch.Generator().manual_seed(1)
    values = [
        scores.kernel_inception_distance(
            torch.randn(20, 3, generator=generator), torch.randn(20, 3, generator=generator)
        )
        for _ in range(300)
    ]
    mean = sum(values) / len(values)
    spread = torch.tensor(values).std().item() / math.sqrt(len(values))
    assert abs(mean) < 4 * spread


def test_entropy_and_information() -> None:
    certain, even = torch.eye(4), torch.full((4, 4), 0.25)
    assert scores.mean_entropy(certain) == 0
    assert scores.mean_entropy(even) == pytest.approx(math.log(4))
    assert scores.information(certain) == pytest.approx(math.log(4))
    assert scores.information(even) == pytest.approx(0)
    collapsed = torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 4)
    assert scores.information(collapsed) == pytest.approx(0)


def test_agreement_and_consensus() -> None:
    first, second = torch.eye(3), torch.eye(3)[[0, 1, 1]]
    assert scores.agreement(first, second) == pytest.approx(2 / 3)
    predictions = torch.tensor([[0, 1, 2, 2], [0, 1, 1, 2], [0, 0, 2, 2]])
    assert scores.consensus(predictions).tolist() == [1.0, 0.75, 0.75]


def test_neighbourhood_density_prefers_clusters() -> None:
    clustered = torch.eye(2).repeat_interleave(5, 0)
    assert scores.neighbourhood_density(clustered) == pytest.approx(math.log(4), rel=1e-3)
    pairs = torch.eye(5).repeat_interleave(2, 0)
    assert scores.neighbourhood_density(pairs) < scores.neighbourhood_density(clustered)


def test_class_balance_divergence() -> None:
    shares = torch.tensor([0.5, 0.5])
    assert scores.class_balance_divergence(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), shares) == pytest.approx(0)
    assert scores.class_balance_divergence(torch.tensor([[1.0, 0.0]] * 3), shares) == pytest.approx(math.log(2))


def test_band_distance() -> None:
    assert scores.band_distance([0.6, 0.7, 0.8]) == 0
    assert scores.band_distance([0.5, 0.9]) == pytest.approx(0.1)


def test_rules_are_those_that_can_be_typed() -> None:
    assert set(RULES) == set(get_args(SelectionRule))


def test_a_rule_takes_the_best_and_of_equals_the_later() -> None:
    table = {
        10: {"kid": 3.0, "information": 1.0},
        20: {"kid": 1.0, "information": 2.0},
        30: {"kid": 1.0, "information": 0.5},
    }
    assert choose(table, "kid") == 30
    assert choose(table, "information") == 20
    assert choose(table, "last") == 30


def test_regret_and_rank_correlation() -> None:
    table = {1: {"kid": 3.0}, 2: {"kid": 2.0}, 3: {"kid": 1.0}}
    judged = judge_rules(table, {1: 0.5, 2: 0.9, 3: 0.8})
    assert judged["kid"] == {"chosen": 3, "accuracy": 0.8, "regret": pytest.approx(0.1), "rank_correlation": 0.5}
    assert judged["last"]["chosen"] == 3
    assert "fid" not in judged
    over_runs = judge_runs([{"rules": judged}, {"rules": judge_rules(table, {1: 0.5, 2: 0.6, 3: 0.8})}])
    assert over_runs["kid"]["mean_regret"] == pytest.approx(0.05)
    assert over_runs["kid"]["worst_regret"] == pytest.approx(0.1)
    assert over_runs["oracle"]["mean_accuracy"] == pytest.approx(0.85)
