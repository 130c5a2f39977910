"""Whether images look like those that a classifier was adapted to: distances and a two-sample test in its features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 5

PERMUTATIONS = 500

ALIEN = 0.9
"""Share of pairs in which a strange image is farther than a held-out one, from which a set looks like nothing known."""


@dataclass(frozen=True)
class Familiarity:
    """What a classifier's features of the target look like, to compare others with.

    Features are standardised by the target's own mean and deviation and brought to length 1, as it is their direction
    that tells objects apart. The distance of an image is the mean of those to its five nearest known ones.

    Attributes
    ----------
    mean, deviation
        Of each feature over the target, float32 ``[D]``.
    known
        Target training images, float32 ``[M, D]``, of length 1.
    held_out
        The same of target images that no training has seen, float32 ``[H, D]``.
    """

    mean: Tensor
    deviation: Tensor
    known: Tensor
    held_out: Tensor

    @classmethod
    def of(cls, known: Tensor, held_out: Tensor) -> Familiarity:
        """Return it from the features of target training images ``[M, D]`` and of held-out ones ``[H, D]``."""
        mean, deviation = known.float().mean(0), known.float().std(0).clamp(min=1e-6)
        directions = (F.normalize((one.float() - mean) / deviation, dim=1) for one in (known, held_out))
        return cls(mean, deviation, *directions)

    def directions(self, features: Tensor) -> Tensor:
        """Return features ``[N, D]`` standardised and of length 1."""
        return F.normalize((features.float() - self.mean) / self.deviation, dim=1)

    def distances(self, directions: Tensor) -> Tensor:
        """Return each image's mean distance to its nearest known ones, float32 ``[N]``, from directions ``[N, D]``."""
        count = min(NEIGHBOURS, len(self.known))
        parts = [
            torch.cdist(part, self.known).topk(count, largest=False).values.mean(1) for part in directions.split(500)
        ]
        return torch.cat(parts)

    def strangeness(self, features: Tensor) -> Tensor:
        """Return for each image ``[N, D]`` the share of held-out target images that are nearer, float32 ``[N]``.

        0 is as familiar as the most familiar, 1 is stranger than all.
        """
        held_out = self.distances(self.held_out).sort().values
        ranks = torch.searchsorted(held_out, self.distances(self.directions(features)))
        return ranks.float() / len(held_out)

    def unlikeness(self, features: Tensor) -> float:
        """Share of pairs of one of these images and a held-out one in which this one is the stranger (AUC), in [0, 1].

        A half where they are alike; from :data:`ALIEN` on the images look like nothing that the classifier was adapted
        to.
        """
        return float(self.strangeness(features).double().mean())

    def test(self, features: Tensor) -> float:
        """Return how likely held-out target images would differ from the known as much as these do, a p in [0, 1]."""
        return two_sample_p(self.directions(features), self.held_out)


def two_sample_p(first: Tensor, second: Tensor, permutations: int = PERMUTATIONS) -> float:
    """Return the p of a two-sample test: how often random halves differ more than ``[N, D]`` and ``[M, D]`` do.

    The difference is the squared maximum mean discrepancy under a Gaussian kernel of the median distance (Gretton et
    al., 2012, equation 5); p = (1 + permutations that differ at least as much) / (1 + permutations).
    """
    both = torch.cat([first, second]).double()
    squared = torch.cdist(both, both).square()
    middle = squared[squared > 0].median() if bool((squared > 0).any()) else torch.tensor(1.0)
    kernel = (-squared / middle).exp()
    n, m = len(first), len(second)
    signs = torch.cat([torch.full((n,), 1 / n), torch.full((m,), -1 / m)]).double()

    def discrepancy(weights: Tensor) -> Tensor:
        return ((weights @ kernel) * weights).sum(-1)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = torch.stack([signs[torch.randperm(n + m)] for _ in range(permutations)])
    observed = discrepancy(signs)
    as_much = int((discrepancy(drawn) >= observed * (1 - 1e-9)).sum())
    return (1 + as_much) / (1 + permutations)
