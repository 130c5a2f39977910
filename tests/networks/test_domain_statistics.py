"""Statistics of batch norm apart for each domain."""

from __future__ import annotations

import torch
from torch import nn

from acclimate.networks import CLASSIFIERS, DomainStatistics
from helpers import batch


def norm_network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def test_each_domain_has_its_own_and_the_network_keeps_the_targets() -> None:
    network = norm_network()
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    statistics = DomainStatistics(network)
    seen = {}
    network[0].register_forward_hook(lambda *call: seen.update(output=call[2]))
    with statistics.of_source():
        network(batch(1) + 3)
    source_mean = seen["output"].mean((0, 2, 3))
    assert torch.equal(norm.running_mean, torch.zeros(4))
    network(batch(2) - 3)
    target_mean = seen["output"].mean((0, 2, 3))
    assert torch.allclose(norm.running_mean, 0.1 * target_mean, atol=1e-5)
    with statistics.of_source():
        assert torch.allclose(norm.running_mean, 0.1 * source_mean, atol=1e-5)
    assert torch.allclose(norm.running_mean, 0.1 * target_mean, atol=1e-5)


def test_they_change_nothing_else_and_come_back_after_an_error() -> None:
    network = norm_network()
    before = {name: id(value) for name, value in network.named_buffers()}
    statistics = DomainStatistics(network)
    try:
        with statistics.of_source():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert {name: id(value) for name, value in network.named_buffers()} == before
    assert list(network.state_dict()) == list(norm_network().state_dict())


def test_saved_and_loaded() -> None:
    network = norm_network()
    statistics = DomainStatistics(network)
    with statistics.of_source():
        network(batch(1))
    other = DomainStatistics(norm_network())
    other.load_state_dict(statistics.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(statistics.buffers(), other.buffers(), strict=True))
    assert len(other.buffers()) == 2


def test_a_network_without_batch_norm_has_none() -> None:
    network = CLASSIFIERS["gta"](3, 10, 32)
    statistics = DomainStatistics(network)
    with statistics.of_source():
        network(batch(1, size=32))
    assert statistics.buffers() == []
