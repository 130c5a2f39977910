"""What the harness works on: two small folders, a small run of them, and how two runs are compared."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from acclimate.training.state import load_tree, read_json

SETTINGS = {
    "preset": "demo",
    "image-size": 8,
    "steps": 24,
    "stage-steps": 24,
    "ramp-start": 10,
    "ramp-end": 20,
    "checkpoint-every": 7,
    "snapshots": 6,
    "width": 4,
    "discriminator-width": 4,
    "batch-size": 8,
    "classifier-batch-size": 16,
    "target-batch-size": 16,
    "select": "target-cycle",
    "adapt": "offline",
    "semantic-weight": 0.2,
    "judge-steps": 10,
    "threads": 1,
}
"""A run of seconds that has every stage."""

VOLATILE = {"seconds", "peak_memory_mb", "created", "sha256"}
"""Keys of files that tell of times and machines."""

OF_TIMES = (".lock", ".log", "method.json")
"""Files that tell of nothing else."""


def make_folders(folder: Path, count: int = 30) -> tuple[Path, Path]:
    """Write a labelled folder and one of the same shapes in another style."""
    places = np.mgrid[0:20, 0:20]
    for name in ("source", "target"):
        random = np.random.default_rng(len(name))
        for label, axis in (("bars", 0), ("stripes", 1)):
            (folder / name / label).mkdir(parents=True)
            for number in range(count):
                shape = np.sin(places[axis] * random.uniform(0.6, 0.9) + random.uniform(0, 6)) > 0
                pixels = np.where(shape[..., None], random.integers(150, 256, 3), random.integers(0, 100, 3))
                pixels = pixels if name == "source" else 255 - pixels + random.integers(0, 40, pixels.shape) - 20
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / name / label / f"{number:03d}.png")
    return folder / "source", folder / "target"


def flags(settings: dict[str, object]) -> list[str]:
    """Return settings as the command line has them."""
    return [f"--no-{name}" if value is False else f"--{name}={value}" for name, value in settings.items()]


def acclimate(*arguments: object, cache: Path) -> subprocess.Popen[bytes]:
    """Start the command line."""
    environment = os.environ | {"ACCLIMATE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "acclimate", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def content(folder: Path) -> dict[str, str]:
    """Return a checksum of everything that a run, or a folder, holds, less what tells of times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or name.endswith(OF_TIMES) or {"tensorboard", "checkpoints"} & set(path.parts):
            continue
        if path.suffix == ".json":
            told = repr(_stable(read_json(path)))
        elif path.suffix == ".safetensors":
            told = _tree(_stable(load_tree(path)))
        else:
            told = hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = hashlib.sha256(told.encode()).hexdigest()
    return found


def _stable(value: object) -> object:
    if isinstance(value, dict):
        return {key: _stable(one) for key, one in value.items() if key not in VOLATILE}
    return [_stable(one) for one in value] if isinstance(value, list) else value


def _tree(node: object) -> str:
    if isinstance(node, dict):
        return str({key: _tree(one) for key, one in node.items()})
    if isinstance(node, list | tuple):
        return str([_tree(one) for one in node])
    if isinstance(node, Tensor):
        return hashlib.sha256(node.contiguous().reshape(-1).float().numpy().tobytes()).hexdigest()
    return repr(node)
