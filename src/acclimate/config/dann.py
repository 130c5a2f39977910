"""Settings of DANN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from acclimate.config.base import MethodConfig

STRONG: Mapping[str, Any] = {
    "batch_size": 128,
    "lr": 1e-3,
    "optimizer": "adam",
    "domain_batch_norm": True,
    "classifier": "dann-bn",
}


@dataclass(frozen=True, kw_only=True)
class DANNConfig(MethodConfig):
    """Settings of DANN; the defaults are the paper's.

    The preset strong is the recipe of a widely used re-implementation: batch norm, dropout, Adam. The preset fast is
    the same for fewer steps, with a falling learning rate: in so few, the paper's recipe confuses the domains without
    aligning the classes (51 % on mnist to mnist-m) or diverges.

    Parameters
    ----------
    optimizer
        sgd, with momentum 0.9 and the paper's falling learning rate, or adam.
    domain_batch_norm
        Batch norm in the domain classifier.
    lr_decay
        With adam, linear lets the learning rate fall to 0 over the second half.
    """

    epochs: int = 100
    batch_size: int = 64
    lr: float = 0.01
    optimizer: Literal["sgd", "adam"] = "sgd"
    domain_batch_norm: bool = False
    lr_decay: Literal["none", "linear"] = "none"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "strong": STRONG,
        "fast": {**STRONG, "steps": 3000, "lr_decay": "linear"},
    }
