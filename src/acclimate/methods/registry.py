"""Settings: one frozen dataclass a method, its presets beside it. Nothing here imports torch, so help comes at once."""

from __future__ import annotations

from acclimate.config.adda import ADDAConfig
from acclimate.config.base import (
    ClassifierName,
    CompileChoice,
    Config,
    Fit,
    LearningRateDecay,
    MethodConfig,
    Precision,
    SelectionRule,
)
from acclimate.config.cogan import CoGANConfig
from acclimate.config.cycada import CyCADAConfig
from acclimate.config.cyclegan import CycleConfig, CycleGANConfig
from acclimate.config.dann import DANNConfig
from acclimate.config.dtn import DTNConfig
from acclimate.config.gen_to_adapt import GenToAdaptConfig
from acclimate.config.pix2pix import Pix2PixConfig
from acclimate.config.pixelda import PixelDAConfig
from acclimate.config.sbada_gan import SBADAGANConfig
from acclimate.config.translation import DropoutMode, TranslationConfig, UNetConfig

__all__ = [
    "CONFIGS",
    "ADDAConfig",
    "ClassifierName",
    "CoGANConfig",
    "CompileChoice",
    "Config",
    "CyCADAConfig",
    "CycleConfig",
    "CycleGANConfig",
    "DANNConfig",
    "DTNConfig",
    "DropoutMode",
    "Fit",
    "GenToAdaptConfig",
    "LearningRateDecay",
    "MethodConfig",
    "Pix2PixConfig",
    "PixelDAConfig",
    "Precision",
    "SBADAGANConfig",
    "SelectionRule",
    "TranslationConfig",
    "UNetConfig",
]

CONFIGS: dict[str, type[Config]] = {
    "adda": ADDAConfig,
    "cogan": CoGANConfig,
    "cycada": CyCADAConfig,
    "cyclegan": CycleGANConfig,
    "dann": DANNConfig,
    "dtn": DTNConfig,
    "gen-to-adapt": GenToAdaptConfig,
    "pix2pix": Pix2PixConfig,
    "pixelda": PixelDAConfig,
    "sbada-gan": SBADAGANConfig,
    "source-only": Config,
    "target-only": Config,
}
"""The settings of every method, by the method's name."""
