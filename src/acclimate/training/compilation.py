"""``torch.compile`` for a method's networks, where the training is long enough to earn the start-up back."""

from __future__ import annotations

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from acclimate.config import CompileChoice

LEAST_STEPS = 20_000
"""Steps from which ``auto`` compiles. Compiling takes a minute or more; on a CPU it saves a twentieth of a step."""


def decide(choice: CompileChoice, device: torch.device, steps: int) -> tuple[bool, str]:
    """Return whether to compile for so many steps, and the reason in words."""
    if choice != "auto":
        return choice == "on", "as asked for"
    if device.type not in ("cpu", "cuda"):
        return False, f"never on {device.type}"
    if steps < LEAST_STEPS:
        return False, f"{steps:,} steps do not earn it back, {LEAST_STEPS:,} would"
    if not _has_compiler(device):
        return False, "no compiler here"
    return True, f"{steps:,} steps earn it back"


def compile_networks(method: nn.Module) -> None:
    """Compile a method's networks in place, when they are first called; names and weights stay as they are.

    Parts of them too, for methods that call those alone: a classifier's features, a discriminator's logits.
    """
    torch.compiler.reset()  # graphs of another method in this process count towards a limit
    for module in method.modules():
        if module is not method and not type(module).__module__.startswith("torch."):
            module.compile(dynamic=False)


def _has_compiler(device: torch.device) -> bool:
    """Whether torch can build what it generates: C++ on a CPU; on a GPU the C around Triton's kernels."""
    if device.type == "cuda" and find_spec("triton") is None:
        return False
    variable, *names = ("CC", "gcc", "clang") if device.type == "cuda" else ("CXX", "g++", "clang++")
    compilers = [os.environ[variable]] if os.environ.get(variable) else names  # what is asked for is what is used
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return headers.exists() and any(shutil.which(name) for name in compilers)
