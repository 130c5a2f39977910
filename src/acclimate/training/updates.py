"""What updates of networks have in common: running averages, decay of learning rates, frozen parts."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def linear_decay(step: int, steps: int) -> float:
    """Return the learning rate's factor: 1 over the first half of the steps, then falling to 0."""
    return min(1.0, 2.0 - 2.0 * step / steps)


class WeightAverage:
    """Exponential moving average of networks' weights, one fused operation a step.

    Parameters
    ----------
    *networks
        What to average.
    decay
        Share of the average that stays at each step; it starts from the weights as they are.
    warm
        Let the decay rise from 0.1 at the first step towards ``decay``, so that early weights are soon forgotten.
    buffers
        Average statistics too, those of batch norm.

    Attributes
    ----------
    networks
        Copies with the averaged weights.
    """

    def __init__(self, *networks: nn.Module, decay: float, warm: bool = False, buffers: bool = False) -> None:
        self.decay, self.warm, self.updates = decay, warm, 0
        self.networks = tuple(copy.deepcopy(network).requires_grad_(False) for network in networks)
        self._live = [parameter.detach() for network in networks for parameter in network.parameters()]
        self._averaged: list[Tensor] = [parameter for network in self.networks for parameter in network.parameters()]
        if buffers:
            self._live += _statistics(networks)
            self._averaged += _statistics(self.networks)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warm else self.decay
        torch._foreach_lerp_(self._averaged, self._live, 1.0 - decay)
        self.updates += 1

    def buffers(self) -> list[Tensor]:
        """Return the averaged networks' statistics."""
        return _statistics(self.networks)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {str(index): network.state_dict() for index, network in enumerate(self.networks)}
        return state | {"updates": self.updates} if self.warm else state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for index, network in enumerate(self.networks):
            network.load_state_dict(state_dict[str(index)])
        self.updates = state_dict.get("updates", 0)


def _statistics(networks: Sequence[nn.Module]) -> list[Tensor]:
    return [buffer for network in networks for buffer in network.buffers() if buffer.is_floating_point()]


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


def lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Order loaded moments in memory as their parameters are (channels last): fused steps pair them by position."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def copy_of(state: Any) -> Any:
    """Return a copy of nested dicts and lists of tensors and plain values, whose tensors nothing changes any more."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: copy_of(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(copy_of(value) for value in state)
    return state
