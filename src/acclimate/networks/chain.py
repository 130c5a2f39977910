"""Layers one after the other."""

from __future__ import annotations

from torch import Tensor, nn


class Chain(nn.Sequential):
    """``nn.Sequential`` with a forward of our own: ``torch.compile`` passes over that of torch's own container."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` through every layer in order."""
        for layer in self:
            x = layer(x)
        return x
