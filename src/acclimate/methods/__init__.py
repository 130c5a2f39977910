"""Methods: one file each, registered by name."""

from __future__ import annotations

from acclimate.methods.adda import ADDA
from acclimate.methods.bars import SourceOnly, TargetOnly
from acclimate.methods.base import METHODS, AdaptationData, Method, Task, find_method
from acclimate.methods.cogan import CoGAN
from acclimate.methods.cyclegan import CycleGAN
from acclimate.methods.dann import DANN
from acclimate.methods.gen_to_adapt import GenToAdapt

__all__ = [
    "ADDA",
    "DANN",
    "METHODS",
    "AdaptationData",
    "CoGAN",
    "CycleGAN",
    "GenToAdapt",
    "Method",
    "SourceOnly",
    "TargetOnly",
    "Task",
    "find_method",
]
