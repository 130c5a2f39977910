"""Statistics of batch norm apart for each domain, its affine parameters shared (Chang et al., arXiv:1906.03950)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def measure_statistics(
    network: nn.Module, batches: Iterable[Tensor], forward: Callable[[Tensor], object]
) -> dict[str, Tensor]:
    """Give a network's batch norms the statistics of some images alone, the mean over the batches.

    Everything else of it stays in the mode that it is in, and is put into evaluation mode in the end.

    Parameters
    ----------
    network
        Any network.
    batches
        What ``forward`` is to be given, batch by batch.
    forward
        Sends a batch through the network.

    Returns
    -------
    dict
        The statistics, by their names in the network.
    """
    norms = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    for norm in norms.values():
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad(), _momentum(norms.values(), None):  # the mean over all batches
        for batch in batches:
            forward(batch)
    for norm in norms.values():
        norm.eval()
    return {f"{name}.{key}": value.clone() for name, norm in norms.items() for key, value in norm.named_buffers()}


def statistics_kept(network: nn.Module) -> AbstractContextManager[None]:
    """Let a network's batch norms in training mode use a batch's statistics without taking note of them."""
    return _momentum((module for module in network.modules() if isinstance(module, _BatchNorm)), 0.0)


@contextmanager
def _momentum(norms: Iterable[_BatchNorm], momentum: float | None) -> Iterator[None]:
    """Give batch norms another momentum meanwhile."""
    before = [(norm, norm.momentum) for norm in norms]
    for norm, _ in before:
        norm.momentum = momentum
    try:
        yield
    finally:
        for norm, own in before:
            norm.momentum = own


class DomainStatistics:
    """A second set of running statistics for a network's batch norms, those of the source.

    The network itself keeps the target's, so that it is an ordinary network where it is used. Batches of the two
    domains go through it apart; those of the source within :meth:`of_source`. A network without batch norm has none.

    Parameters
    ----------
    network
        Any network; its statistics as they are start both sets.
    """

    def __init__(self, network: nn.Module) -> None:
        self._norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        self._source: list[dict[str, Tensor | None]] = [
            {name: None if buffer is None else buffer.clone() for name, buffer in norm._buffers.items()}
            for norm in self._norms
        ]

    @contextmanager
    def of_source(self) -> Iterator[None]:
        """Let the network use and update the source's statistics meanwhile."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for norm, other in zip(self._norms, self._source, strict=True):
            own = dict(norm._buffers)
            norm._buffers.update(other)
            other.update(own)

    def tensors(self) -> list[Tensor]:
        """Return all of the source's statistics."""
        return [buffer for one in self._source for buffer in one.values() if buffer is not None]

    def buffers(self) -> list[Tensor]:
        """Return the source's statistics that are numbers to average."""
        return [buffer for buffer in self.tensors() if buffer.is_floating_point()]

    def state_dict(self) -> dict[str, Any]:
        return {"source": [dict(one) for one in self._source]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for own, stored in zip(self._source, state_dict["source"], strict=True):
            for name, buffer in own.items():
                if buffer is not None:
                    buffer.copy_(stored[name])
