"""Methods: one file each, registered by name."""

from __future__ import annotations

from acclimate.methods.bars import SourceOnly
from acclimate.methods.base import METHODS, AdaptationData, Config, Method, Task, find_method
from acclimate.methods.cyclegan import CycleGAN, CycleGANConfig

__all__ = [
    "METHODS",
    "AdaptationData",
    "Config",
    "CycleGAN",
    "CycleGANConfig",
    "Method",
    "SourceOnly",
    "Task",
    "find_method",
]
