"""Accuracy on the target's test images: the only place that reads target labels, after all training."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor, nn

from acclimate._version import __version__
from acclimate.classification import predict_logits
from acclimate.domains.base import LabelledImages
from acclimate.training import Engine


class Classifier:
    """One or more trainings of a classifier; their mean probability decides.

    Parameters
    ----------
    networks
        The trained networks.
    classes
        Class names, in the order of the logits.
    engine
        Where to compute.
    """

    def __init__(self, networks: Sequence[nn.Module], classes: Sequence[str], engine: Engine) -> None:
        self.networks, self.classes, self.engine = networks, tuple(classes), engine

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Return class probabilities, float32 ``[N, classes]``, for uint8 images ``[N, C, H, W]``."""
        logits = [predict_logits(network, pixels, self.engine) for network in self.networks]
        return sum(one.softmax(1) for one in logits) / len(logits)  # type: ignore[return-value]

    def accuracies(self, test: LabelledImages) -> list[float]:
        """Return each network's share of right answers."""
        logits = (predict_logits(network, test.pixels, self.engine) for network in self.networks)
        return [(one.argmax(1) == test.labels).float().mean().item() for one in logits]


def summary(accuracies: Sequence[float], spread: str = "classifier seeds") -> dict[str, Any]:
    """Return mean, population standard deviation (the paper's), the runs, and what they are."""
    rounded = [round(value, 6) for value in accuracies]
    return {"mean": round(fmean(rounded), 6), "std": round(pstdev(rounded), 6), "runs": rounded, "spread": spread}


def environment(engine: Engine) -> dict[str, Any]:
    """Return what a result depends on besides its settings: device, precision, threads, versions, commit, memory."""
    device = engine.device
    if device.type == "cuda":
        name, peak = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device) / 2**20
    else:
        name, peak = (
            f"{_processor()}, {os.cpu_count()} cores",
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )
    return {
        "peak_memory_mb": round(peak, 1),
        "device": name,
        "precision": "bfloat16" if engine.dtype else "float32",
        "threads": torch.get_num_threads(),
        "versions": {"acclimate": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "commit": _commit(),
    }


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """Return the commit of the source tree that this code runs from, empty where it is installed from a package."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here)]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=False)
        if tracked.returncode:
            return ""
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
