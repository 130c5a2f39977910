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
    "batch_norm": "apart",
    "classifier": "dann-bn",
}


@dataclass(frozen=True, kw_only=True)
class DANNConfig(MethodConfig):
    """Settings of DANN; the defaults are the paper's.

    The preset strong is the recipe of a widely used re-implementation: batch norm, dropout, Adam. The preset fast takes
    Adam from there, with a falling learning rate, and the classifier of the other methods: in so few steps the paper's
    recipe confuses the domains without aligning the classes (51 % on mnist to mnist-m) or diverges.

    How batch norm sees the domains makes a difference. 3,000 steps of strong were, apart, 94 and 95 % on mnist to
    mnist-m, but 58, 82 and 76 % on mnist to usps (76 % without adaptation), perhaps because features normalised domain
    by domain do not show that USPS has more of some digits than MNIST; together, with a falling learning rate, 81 %,
    and 83 and 75 %.

    Parameters
    ----------
    optimizer
        sgd, with momentum 0.9 and the paper's falling learning rate, or adam.
    domain_batch_norm
        Batch norm in the domain classifier.
    batch_norm
        Over the two domains together, as a batch of the paper has both, or over each apart; of no account to a
        classifier without batch norm.
    lr_decay
        With adam, linear lets the learning rate fall to 0 over the second half.
    """

    epochs: int = 100
    batch_size: int = 64
    lr: float = 0.01
    optimizer: Literal["sgd", "adam"] = "sgd"
    domain_batch_norm: bool = False
    batch_norm: Literal["together", "apart"] = "together"
    lr_decay: Literal["none", "linear"] = "none"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "strong": STRONG,
        "fast": {
            "steps": 3000,
            "batch_size": 128,
            "lr": 1e-3,
            "optimizer": "adam",
            "lr_decay": "linear",
            "domain_batch_norm": True,
        },
    }
