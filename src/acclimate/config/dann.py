"""Settings of DANN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from acclimate.config.base import MethodConfig


@dataclass(frozen=True, kw_only=True)
class DANNConfig(MethodConfig):
    """Settings of DANN; the defaults are the paper's.

    The preset strong is the recipe of a widely used re-implementation: batch norm, dropout, Adam.

    Parameters
    ----------
    optimizer
        sgd, with momentum 0.9 and the paper's falling learning rate, or adam at a constant one.
    domain_batch_norm
        Batch norm in the domain classifier.
    """

    epochs: int = 100
    batch_size: int = 64
    lr: float = 0.01
    optimizer: Literal["sgd", "adam"] = "sgd"
    domain_batch_norm: bool = False

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "strong": {
            "batch_size": 128,
            "lr": 1e-3,
            "optimizer": "adam",
            "domain_batch_norm": True,
            "classifier": "dann-bn",
        },
        "fast": {"steps": 5000},
    }
