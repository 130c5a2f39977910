"""Settings: one frozen dataclass a method, its presets beside it. Nothing here imports torch, so help comes at once."""

from __future__ import annotations

from acclimate.config.base import ClassifierName, Config, Fit, MethodConfig, Precision
from acclimate.config.cyclegan import CycleGANConfig
from acclimate.config.pixelda import PixelDAConfig
from acclimate.config.sbada_gan import SBADAGANConfig
from acclimate.config.translation import DropoutMode, TranslationConfig, UNetConfig

__all__ = [
    "CONFIGS",
    "ClassifierName",
    "Config",
    "CycleGANConfig",
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
    "cyclegan": CycleGANConfig,
    "pixelda": PixelDAConfig,
    "sbada-gan": SBADAGANConfig,
    "source-only": Config,
    "target-only": Config,
}
"""The settings of every method, by the method's name."""
