"""Settings of the choice among methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from acclimate.methods.registry import find_config
from acclimate.methods.self_training.config import SelfTrainingConfig

SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, kw_only=True)
class AutoConfig(SelfTrainingConfig):
    """Settings of the choice among methods; what is changed in its preset is changed in every candidate that has it.

    Parameters
    ----------
    budget
        Time for the candidates and the source's bars, such as 90s, 30m or 2h; what does not fit is left out or cut.
    candidates
        Methods to try, with commas between, in this order; empty for those that suit the images, cheapest first.
    """

    budget: str = "30m"
    candidates: str = ""
    target_only: bool = False

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "fast": SelfTrainingConfig.presets["fast"],
        "photos": SelfTrainingConfig.presets["photos"],
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("budget", bool(re.fullmatch(r"\d+(\.\d+)?[smh]", self.budget)), "such as 90s, 30m or 2h")
        self._check("tune", self.tune == "head", "head: auto tunes no backbone")
        for name in self.named:
            self._check("candidates", name not in ("auto", "source-only", "target-only"), "methods that adapt")
            find_config(name).preset(self.preset_of_candidates)

    @property
    def named(self) -> tuple[str, ...]:
        """The candidates that a person named."""
        return tuple(name for name in self.candidates.split(",") if name)

    @property
    def preset_of_candidates(self) -> str:
        """The preset of candidates."""
        return "photos" if self.backbone else "fast"

    @property
    def seconds(self) -> float:
        """The budget in seconds."""
        return float(self.budget[:-1]) * SECONDS[self.budget[-1]]
