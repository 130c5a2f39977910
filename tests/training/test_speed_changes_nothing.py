"""What makes training fast computes the same as a textbook's loop does (benchmarks/textbook.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from acclimate.methods.base import Task
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.methods.cyclegan.method import CycleGAN
from acclimate.training.engine import Engine
from helpers import batch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from textbook import TextbookCycleGAN

STEPS, SIZE, COUNT = 50, 16, 8
NETWORKS = ("G", "F", "D_X", "D_Y")


def kernels(networks: object) -> Tensor:
    """Return all convolutions' weights as one vector; a bias before a norm has no gradient but rounding."""
    parameters = (one for name in NETWORKS for one in getattr(networks, name).parameters() if one.ndim == 4)
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def without_dropout(network: nn.Module) -> None:
    for module in network.modules():
        if hasattr(module, "probability"):
            module.probability = 0.0


def test_every_step_has_a_textbooks_losses_and_updates() -> None:
    """Both start each of the first steps from the same weights.

    Left to themselves for 50 steps they part, as any two float32 loops do whose sums are rounded in another order: one
    rounding error grows a hundredfold a step at first. Against float64, ours are no larger than its.
    """
    torch.manual_seed(0)
    ours = CycleGAN(CycleGANConfig(width=8, dropout=0.0), Task(3, SIZE, ("a", "b")), Engine())
    empty = torch.zeros(COUNT, 3, SIZE, SIZE, dtype=torch.uint8)
    textbook = TextbookCycleGAN(empty, empty, 8, COUNT)
    for name in NETWORKS:
        without_dropout(getattr(textbook, name))
    for optimizer in (*ours.optimizers.values(), textbook.generators, textbook.discriminators):
        optimizer.param_groups[0]["eps"] = 1e-3  # Adam's own makes whole steps out of the rounding of small gradients
    for step in range(STEPS):
        for name in NETWORKS:
            getattr(textbook, name).load_state_dict(getattr(ours, name).state_dict())
        x, y, before = batch(2 * step, COUNT, size=SIZE), batch(2 * step + 1, COUNT, size=SIZE), kernels(ours)
        textbook.x, textbook.y = iter([x]), iter([y])
        found, expected = ours.step(x, y), textbook.step()
        assert found["generators"].item() == pytest.approx(expected["generators"], rel=1e-4), step
        assert found["discriminators"].item() / 2 == pytest.approx(expected["discriminators"], rel=1e-4), step
        update, its = kernels(ours) - before, kernels(textbook) - before
        assert (update - its).norm() < 0.05 * its.norm(), step
