from __future__ import annotations

import pytest
import torch

from acclimate.compilation import LEAST_STEPS, _has_compiler, compile_networks, decide
from acclimate.config import CompileChoice, CycleGANConfig
from acclimate.methods import CycleGAN, Task
from acclimate.training import Engine

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("choice", "device", "steps", "compiles", "reason"),
    [
        ("on", CPU, 1, True, "as asked for"),
        ("off", CUDA, 10**6, False, "as asked for"),
        ("auto", CPU, 2_500, False, "2,500 steps do not earn it back, 20,000 would"),
        ("auto", CUDA, LEAST_STEPS["cuda"], True, "2,000 steps earn it back"),
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
    monkeypatch.setattr("acclimate.compilation._has_compiler", lambda device: True)
    assert decide(choice, device, steps) == (compiles, reason)


def test_auto_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert decide("auto", CPU, 10**6) == (False, "no compiler here")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
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
