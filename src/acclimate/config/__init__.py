"""Settings: one frozen dataclass a method, its presets beside it. Nothing here imports torch, so help comes at once."""

from __future__ import annotations

from acclimate.config.adda import ADDAConfig
from acclimate.config.base import ClassifierName, Config, Fit, MethodConfig, Precision
from acclimate.config.cyclegan import CycleGANConfig
from acclimate.config.dann import DANNConfig
from acclimate.config.pixelda import PixelDAConfig
from acclimate.config.sbada_gan import SBADAGANConfig
from acclimate.config.translation import DropoutMode, TranslationConfig, UNetConfig

__all__ = [
    "CONFIGS",
    "ADDAConfig",
    "ClassifierName",
    "Config",
    "CycleGANConfig",
    "DANNConfig",
    "DropoutMode",
    "Fit",
    "MethodConfig",
    "PixelDAConfig",
    "Precision",
    "SBADAGANConfig",
    "TranslationConfig",
    "UNetConfig",
]

CONFIGS: dict[str, type[Config]] = {
    "adda": ADDAConfig,
    "cyclegan": CycleGANConfig,
    "dann": DANNConfig,
    "pixelda": PixelDAConfig,
    "sbada-gan": SBADAGANConfig,
    "source-only": Config,
    "target-only": Config,
}
"""The settings of every method, by the method's name."""
