"""``torch.compile`` for a method's networks, where the training is long enough to earn the start-up back."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import torch
from torch import nn

from acclimate.config import CompileChoice

LEAST_STEPS = {"cpu": 20_000, "cuda": 2_000}
"""Steps from which ``auto`` compiles. Compiling takes a minute; on a CPU it saves a twentieth of a step."""


def decide(choice: CompileChoice, device: torch.device, steps: int) -> tuple[bool, str]:
    """Return whether to compile for so many steps, and the reason in words."""
    if choice != "auto":
        return choice == "on", "as asked for"
    least = LEAST_STEPS.get(device.type)
    if least is None:
        return False, f"never on {device.type}"
    if steps < least:
        return False, f"{steps:,} steps do not earn it back, {least:,} would"
    if not _has_compiler(device):
        return False, "no compiler here"
    return True, f"{steps:,} steps earn it back"


def compile_networks(method: nn.Module) -> None:
    """Compile each of a method's networks in place, when it is first called; names and weights stay as they are."""
    for network in method.children():
        network.compile(dynamic=False)


def _has_compiler(device: torch.device) -> bool:
    if device.type == "cuda":
        return find_spec("triton") is not None
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))
