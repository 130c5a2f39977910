"""Settings of SHOT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.config import MethodConfig


@dataclass(frozen=True, kw_only=True)
class SHOTConfig(MethodConfig):
    """Settings of SHOT; the defaults are the paper's for Office, with Adam.

    Parameters
    ----------
    source_steps
        Steps on the source beforehand; 0 for as many as on the target.
    smoothing
        Label smoothing on the source.
    pseudo_weight
        Weight of the labels that the nearest class centres give (beta).
    """

    epochs: int = 15
    source_steps: int = 0
    lr: float = 1e-3
    smoothing: float = 0.1
    pseudo_weight: float = 0.3

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": {"steps": 1000, "classifier": "conv7"},
        "photos": {"steps": 600, "batch_size": 96, "classifier": "bottleneck"},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._features_adapt()
        self._at_least(0, "source_steps", "pseudo_weight")
        self._below_one("smoothing")
