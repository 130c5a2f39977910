"""Steps that a GPU replays: the same as without, on a CPU nothing at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from acclimate.methods.base import Task
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.methods.cyclegan.method import CycleGAN
from acclimate.training.engine import Engine
from acclimate.training.replay import Replayed
from helpers import random_data

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def passes(network: nn.Module) -> object:
    def compute(x: Tensor, weight: Tensor | float | None) -> dict[str, Tensor]:
        network.zero_grad(set_to_none=True)
        loss = network(x).square().mean() * (1 if weight is None else weight)
        loss.backward()
        return {"loss": loss}

    return compute


def test_a_cpu_computes_as_written() -> None:
    network = nn.Linear(3, 2)
    replayed = Replayed(Engine(), network)
    assert not replayed.active
    x = torch.rand(4, 3)
    once = replayed(passes(network), x, 2.0)["loss"]
    assert once.item() == pytest.approx(2 * network(x).square().mean().item())
    assert network.weight.grad is not None


@needs_gpu
def test_replays_follow_their_inputs_and_leave_buffers_as_they_would_be() -> None:
    device = Engine.choose("cuda").device
    networks = []
    for engine in (Engine(device), Engine(device, replays=False)):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)).to(device)
        replayed, optimizer = Replayed(engine, network), torch.optim.SGD(network.parameters(), 0.1)
        for number in range(6):
            x = torch.rand(4 + number // 3, 3, device=device)
            replayed(passes(network), x, float(number), key=number // 2)
            optimizer.step()
        networks.append(network)
    for name, value in networks[0].state_dict().items():
        torch.testing.assert_close(value, networks[1].state_dict()[name])


@needs_gpu
def test_what_draws_on_the_host_is_not_replayed() -> None:
    engine = Engine.choose("cuda")
    network = nn.Linear(3, 1).to(engine.device)

    def compute(x: Tensor) -> dict[str, Tensor]:
        network.zero_grad(set_to_none=True)
        loss = network(x).sum() * float(torch.rand(()))
        loss.backward()
        return {"loss": loss}

    replayed = Replayed(engine, network)
    x = torch.rand(4, 3, device=engine.device)
    torch.manual_seed(0)
    first, second = replayed(compute, x)["loss"].item(), replayed(compute, x)["loss"].item()
    assert not replayed.active
    assert first != second


@needs_gpu
def test_cyclegan_takes_the_same_steps_replayed() -> None:
    engine = replace(Engine.choose("cuda"), dtype=None)
    config = CycleGANConfig.preset("short", width=4, discriminator_width=4, batch_size=4, steps=8, dropout=0.0)
    losses = []
    for one in (engine, replace(engine, replays=False)):
        torch.manual_seed(0)
        method = CycleGAN(config, Task(3, 16, ("a", "b")), one)
        (phase,) = method.phases(random_data())
        losses.append([float(phase.step(number)["generators"].detach()) for number in range(8)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
