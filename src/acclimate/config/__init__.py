"""Settings: one frozen dataclass a method, its presets beside it. Nothing here imports torch, so help comes at once."""

from __future__ import annotations

from acclimate.config.adda import ADDAConfig
from acclimate.config.base import ClassifierName, Config, Fit, MethodConfig, Precision
from acclimate.config.cogan import CoGANConfig
from acclimate.config.cyclegan import CycleGANConfig, DropoutMode
from acclimate.config.dann import DANNConfig
from acclimate.config.gen_to_adapt import GenToAdaptConfig

__all__ = [
    "CONFIGS",
    "ADDAConfig",
    "ClassifierName",
    "CoGANConfig",
    "Config",
    "CycleGANConfig",
    "DANNConfig",
    "DropoutMode",
    "Fit",
    "GenToAdaptConfig",
    "MethodConfig",
    "Precision",
]

CONFIGS: dict[str, type[Config]] = {
    "adda": ADDAConfig,
    "cogan": CoGANConfig,
    "cyclegan": CycleGANConfig,
    "dann": DANNConfig,
    "gen-to-adapt": GenToAdaptConfig,
    "source-only": Config,
    "target-only": Config,
}
"""The settings of every method, by the method's name."""
