"""The kinds of classifiers that a run trains, and the settings that each is trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal

from acclimate.config import PAPER_BARS, Config, StageConfig

Kind = Literal["source-only", "source-only-augmented", "adapted", "target-only", "target-only-augmented"]

KINDS: tuple[Kind, ...] = ("source-only", "source-only-augmented", "adapted", "target-only", "target-only-augmented")
"""In the order of their training; the augmented bars where the run's own classifier stage is not the paper's."""

KIND_NAMES = {
    "source-only": "Source only",
    "source-only-augmented": "Source only, augmented",
    "adapted": "Adapted",
    "target-only": "Target only",
    "target-only-augmented": "Target only, augmented",
}
"""For people."""

BAR_STEPS = 1_500
"""Steps of an augmented bar at most: it has no teacher to wait for."""


def self_trains(config: Config) -> bool:
    """Whether the classifier stage learns on from the target."""
    return isinstance(config, StageConfig) and config.classifier_stage == "self-training"


def has_augmented_bars(config: Config) -> bool:
    """Whether there are bars beside the paper's, trained with the augmentation of the run's own classifier."""
    return config.augment != "none"


def is_paper_stage(config: Config) -> bool:
    """Whether the classifier stage is the paper's: then the bars are trained as the run's own classifier is."""
    return config.augment == "none" and not self_trains(config)


def tuning_recipe(config: Config) -> StageConfig:
    """Return the settings that a whole backbone is trained with, once its head is."""
    assert isinstance(config, StageConfig)
    return replace(
        config,
        stage_steps=config.tune_steps,
        classifier_batch_size=config.tune_batch_size,
        target_batch_size=config.tune_batch_size,
        augment="photos",
        ramp_start=0,
        ramp_end=config.tune_steps // 10,
    )


def recipe(config: Config, kind: Kind) -> Config:
    """Return the settings that a kind of classifier is trained with.

    The bars ``source-only`` and ``target-only`` are the paper's; where the run's own classifier stage is another, the
    augmented bars are trained as that is, without the target's images or with its labels.
    """
    if is_paper_stage(config) or kind == "adapted":
        return config
    if config.backbone:
        return (
            replace(config, classifier_stage="supervised", tune="head") if isinstance(config, StageConfig) else config
        )
    if kind in ("source-only", "target-only"):
        own = {item.name for item in fields(config)}
        return replace(config, **{name: value for name, value in PAPER_BARS.items() if name in own})
    return (
        replace(config, stage_steps=min(config.stage_steps, BAR_STEPS)) if isinstance(config, StageConfig) else config
    )


def tested_images(result: Mapping[str, Any]) -> int:
    """Return how many of the target's test images a result was measured on; those of other classes are not."""
    count: int = result.get("test_images", result["protocol"]["splits"]["target"][2])
    return count


def accuracies(result: Mapping[str, Any], own_kind: str) -> dict[str, Mapping[str, Any]]:
    """Return what was measured on the target's test images, by kind; ``own_kind`` is what the run is about."""
    baselines = result["baselines"]
    measured = {kind: baselines.get(kind.replace("-", "_")) for kind in KINDS} | {own_kind: result["accuracy"]}
    return {kind: part for kind, part in measured.items() if part is not None}
