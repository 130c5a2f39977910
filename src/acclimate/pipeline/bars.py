"""Bars that runs share: source-only depends on no target and no method, so that one training serves a whole matrix.

A trained bar is kept in the cache folder under a key of everything that its weights depend on, the code included.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import torch

from acclimate import networks, training
from acclimate.data import augmentation, images
from acclimate.data.domains.base import cache_root
from acclimate.pipeline import classification, self_training
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.kinds import Kind, recipe, self_trains

STAGE = ("augment_end", "augment_until", "stage", "teacher")
"""What the names of settings begin with that only a bar by the stage of self-training has."""


def bar_path(adaptation: Adaptation, kind: Kind, name: str) -> Path:
    """Return where the cache keeps, or will keep, one training of a bar; by its ``kind`` and ``name``."""
    config, computed = recipe(adaptation.config, kind), adaptation.engine
    named = ("classifier", *(STAGE if self_trains(config) else ()))
    domain = adaptation.source if kind.startswith("source-only") else adaptation.target
    depends_on = {
        "name": name,
        "data": domain.manifest()["md5"],
        "classes": adaptation.task.classes,
        "half": kind.startswith("source-only") and adaptation.content == "disjoint",
        "shape": [config.image_size, config.channels, config.fit, config.interpolation],
        "features": store.name if (store := adaptation.encoder(kind)) else "",
        "settings": {
            key: value for key, value in vars(config).items() if key.startswith(named) and key != "classifier_stage"
        },
        "augment": config.augment,
        "seed": config.seed,
        "computed": [
            computed.device.type,
            str(computed.dtype),
            torch.get_num_threads(),
            computed.processes.count,
            torch.__version__,
        ],
        "code": _code(),
    }
    key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    return cache_root() / "bars" / f"{key[:32]}.safetensors"


@cache
def _code() -> str:
    files = [Path(str(module.__file__)) for module in (classification, self_training, augmentation, images)]
    for room in (networks, training):
        files += sorted(Path(str(room.__file__)).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
