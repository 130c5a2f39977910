"""Which images come at which step."""

from __future__ import annotations

import torch
from torch import Tensor

from acclimate.errors import AcclimateError
from acclimate.training.engine import seed_for


class Batches:
    """Which images come at which step: a function of seed and step alone, so that nothing of it needs saving.

    Every epoch is a new permutation.

    Parameters
    ----------
    count
        Images in the set.
    batch_size
        Images a batch.
    seed
        Of the permutations.
    drop_last
        Leave out the last batch of an epoch if it is not full.
    least
        Leave it out too if it has fewer images than these, unless it is the only one.
    what
        The set's name in the error message.

    Raises
    ------
    AcclimateError
        Not one batch can be filled, with ``drop_last``.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, *, drop_last: bool, least: int = 1, what: str = "the set"
    ) -> None:
        if count < (batch_size if drop_last else 1):
            raise AcclimateError(
                f"{what} has {count} images, fewer than a batch of {batch_size}: add images or use a smaller batch"
            )
        self.count, self.batch_size, self.seed = count, batch_size, seed
        whole, rest = divmod(count, batch_size)
        self.steps_per_epoch = whole if drop_last or (rest < least and whole) else whole + 1
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def size(self, step: int) -> int:
        """Return how many images a step has."""
        return min(self.batch_size, self.count - step % self.steps_per_epoch * self.batch_size)

    def __getitem__(self, step: int) -> Tensor:
        """Return the image indices of a step, int64 ``[batch_size]``, fewer in an epoch's last batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(seed_for(self.seed, epoch))
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=generator)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]
