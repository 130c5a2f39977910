"""What a result depends on besides its settings: the machine, the versions, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from acclimate._version import __version__
from acclimate.training.engine import Engine


def environment(engine: Engine) -> dict[str, Any]:
    """Return what a result depends on besides its settings: device, precision, threads, versions, commit, memory."""
    device = engine.device
    if device.type == "cuda":
        name, peak = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device) / 2**20
    else:
        name, peak = f"{_processor()}, {os.cpu_count()} cores", _peak_memory()
    return {
        "peak_memory_mb": round(peak, 1),
        "device": name,
        "precision": "bfloat16" if engine.dtype else "float32",
        "threads": torch.get_num_threads(),
        "processes": engine.processes.count,
        "versions": {"acclimate": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "commit": _commit(),
    }


def _peak_memory() -> float:
    """Return the MB that this process has held at most.

    The kernel's own mark where there is one: getrusage starts from what the process held that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
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
