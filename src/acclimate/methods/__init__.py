"""Methods: one file each, registered by name."""

from __future__ import annotations

from acclimate.methods.adda import ADDA
from acclimate.methods.bars import SourceOnly, TargetOnly
from acclimate.methods.base import METHODS, AdaptationData, Method, Task, find_method
from acclimate.methods.cogan import CoGAN
from acclimate.methods.cycada import CyCADA
from acclimate.methods.cyclegan import CycleGAN
from acclimate.methods.dann import DANN
from acclimate.methods.dtn import DTN
from acclimate.methods.gen_to_adapt import GenToAdapt
from acclimate.methods.pix2pix import Pix2Pix
from acclimate.methods.pixelda import PixelDA
from acclimate.methods.sbada_gan import SBADAGAN

__all__ = [
    "ADDA",
    "DANN",
    "DTN",
    "METHODS",
    "SBADAGAN",
    "AdaptationData",
    "CoGAN",
    "CyCADA",
    "CycleGAN",
    "GenToAdapt",
    "Method",
    "Pix2Pix",
    "PixelDA",
    "SourceOnly",
    "TargetOnly",
    "Task",
    "find_method",
]
