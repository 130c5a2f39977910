from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from acclimate.config import CompileChoice
from acclimate.methods import find_config, find_method, method_names
from acclimate.methods.base import Task
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.methods.cyclegan.method import CycleGAN
from acclimate.training.compilation import LEAST_STEPS, _has_compiler, compile_networks, decide
from acclimate.training.engine import Engine
from helpers import random_data, tiny

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
"""Torch's own."""

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("choice", "device", "steps", "compiles", "reason"),
    [
        ("on", CPU, 1, True, "as asked for"),
        ("off", CUDA, 10**6, False, "as asked for"),
        ("auto", CPU, 2_500, False, "2,500 steps do not earn it back, 20,000 would"),
        ("auto", CUDA, LEAST_STEPS, True, "20,000 steps earn it back"),
        ("auto", torch.device("mps"), 10**6, False, "never on mps"),
    ],
)
def test_auto_compiles_for_long_trainings(
    monkeypatch: pytest.MonkeyPatch,
    choice: CompileChoice,
    device: torch.device,
    steps: int,
    compiles: bool,
    reason: str,
) -> None:
    monkeypatch.setattr("acclimate.training.compilation._has_compiler", lambda device: True)
    assert decide(choice, device, steps) == (compiles, reason)


def test_auto_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert decide("auto", CPU, 10**6) == (False, "no compiler here")


@pytest.mark.skipif(not _has_compiler(CPU), reason="no C++ compiler here")
def test_compiled_networks_train_as_plain_ones_do() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(2, 4, 3, 8, 8) * 2 - 1

    def train(compiled: bool) -> tuple[CycleGAN, list[float]]:
        torch.manual_seed(1)
        config = CycleGANConfig(width=2, discriminator_width=4, batch_size=4, dropout=0.0)
        method = CycleGAN(config, Task(3, 8, ("a", "b")), Engine())
        if compiled:
            compile_networks(method)
        return method, [value.item() for _ in range(2) for value in method.step(x, y).values()]

    (plain, losses), (compiled, same_losses) = train(False), train(True)
    assert same_losses == pytest.approx(losses, rel=1e-4)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert all(network._compiled_call_impl is not None for network in compiled.children())


@pytest.mark.parametrize("name", method_names())
def test_every_convolution_of_every_method_is_in_a_graph(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()

    def backend(graph: GraphModule, inputs: object) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            seen.update(map(id, arguments))
            return graph(*arguments)

        return run

    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compile_module(self, backend=backend, **options))
    data = random_data(source=128, target=128, size=8)
    if name == "pix2pix":  # pairs
        data = replace(data, paired=True)
    method = find_method(name)(find_config(name)(**tiny(name)), Task(3, 8, ("a", "b")), Engine())
    phases = method.phases(data)
    compile_networks(method)
    for phase in phases:
        phase.step(0)
    bare = {"D.source_layer.weight", "D.target_layer.weight"}  # CoGAN calls these layers by themselves
    if name == "adamatch":  # the average is not called while the student learns
        bare |= {key for key, _ in method.named_parameters() if key.startswith("classifier.")}
    left = {key for key, weight in method.named_parameters() if weight.dim() == 4 and id(weight) not in seen}
    assert left <= bare
