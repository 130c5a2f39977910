"""What updates of networks have in common: running averages, decay of learning rates, frozen parts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def linear_decay(step: int, steps: int) -> float:
    """Return the learning rate's factor: 1 over the first half of the steps, then falling to 0."""
    return min(1.0, 2.0 - 2.0 * step / steps)


class WeightAverage:
    """Exponential moving average of networks' weights (no buffers), one fused operation a step.

    Parameters
    ----------
    *networks
        What to average.
    decay
        Share of the average that stays at each step; it starts from the weights as they are.

    Attributes
    ----------
    networks
        Copies with the averaged weights.
    """

    def __init__(self, *networks: nn.Module, decay: float) -> None:
        self.decay = decay
        self.networks = tuple(copy.deepcopy(network).requires_grad_(False) for network in networks)
        self._live = [parameter.detach() for network in networks for parameter in network.parameters()]
        self._averaged: list[Tensor] = [parameter for network in self.networks for parameter in network.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now."""
        torch._foreach_lerp_(self._averaged, self._live, 1.0 - self.decay)

    def state_dict(self) -> dict[str, Any]:
        return {str(index): network.state_dict() for index, network in enumerate(self.networks)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for index, network in enumerate(self.networks):
            network.load_state_dict(state_dict[str(index)])


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Keep gradients out of ``networks`` while something is trained through them."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
