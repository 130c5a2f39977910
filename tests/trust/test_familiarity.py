from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acclimate.trust.familiarity import ALIEN, Familiarity, two_sample_p


def images(shift: float, count: int, seed: int) -> Tensor:
    """Return features of four classes in eight dimensions, moved by ``shift`` in one that tells no class."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, 4, (count,), generator=generator)
    found = 4 * torch.eye(8)[classes] + 0.5 * torch.randn(count, 8, generator=generator)
    found[:, 5] += shift
    return found


@pytest.fixture
def familiarity() -> Familiarity:
    return Familiarity.of(images(0, 300, 0), images(0, 200, 1))


def test_more_of_the_same_is_familiar(familiarity: Familiarity) -> None:
    more = images(0, 200, 2)
    assert familiarity.unlikeness(more) == pytest.approx(0.5, abs=0.06)
    assert familiarity.test(more) > 0.05


def test_what_is_turned_away_is_strange(familiarity: Familiarity) -> None:
    assert familiarity.unlikeness(images(8, 50, 2)) > ALIEN
    assert familiarity.test(images(8, 50, 2)) < 0.01
    assert familiarity.test(images(1, 100, 2)) < 0.01 < familiarity.unlikeness(images(1, 100, 2))
    strangeness = familiarity.strangeness(torch.cat([images(0, 20, 3), images(8, 20, 3)]))
    assert strangeness[:20].max() <= 1
    assert strangeness[20:].mean() > strangeness[:20].mean() + 0.3


def test_distances_are_to_the_five_nearest() -> None:
    known = torch.eye(8)
    familiarity = Familiarity(torch.zeros(8), torch.ones(8), known, known)
    assert familiarity.distances(known[:1]).item() == pytest.approx(4 * 2**0.5 / 5)


def test_p_is_uniform_where_nothing_differs_and_least_where_everything_does() -> None:
    ps = [two_sample_p(images(0, 30, seed), images(0, 40, seed + 100), 99) for seed in range(40)]
    assert 0.3 < sum(ps) / len(ps) < 0.7
    assert min(ps) >= 0.01
    assert two_sample_p(images(0, 30, 0), images(9, 30, 1), 99) == 0.01
    assert two_sample_p(torch.ones(5, 3), torch.ones(4, 3), 9) == 1
