"""Statistics of batch norm apart for each domain, its affine parameters shared (Chang et al., arXiv:1906.03950)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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

    def buffers(self) -> list[Tensor]:
        """Return the source's statistics that are numbers to average."""
        found = [buffer for one in self._source for buffer in one.values()]
        return [buffer for buffer in found if buffer is not None and buffer.is_floating_point()]

    def state_dict(self) -> dict[str, Any]:
        return {"source": [dict(one) for one in self._source]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for own, stored in zip(self._source, state_dict["source"], strict=True):
            for name, buffer in own.items():
                if buffer is not None:
                    buffer.copy_(stored[name])
