"""Which settings a method can follow, so that a run does not find out after hours of training."""

from __future__ import annotations

from acclimate.config import Config, StageConfig, TranslationConfig
from acclimate.errors import AcclimateError
from acclimate.methods.base import Method
from acclimate.pipeline.selection import rules_of
from acclimate.runs.kinds import self_trains


def check_together(config: Config, method: type[Method]) -> None:
    """Refuse settings that the method cannot follow, each by itself or with the others.

    Raises
    ------
    AcclimateError
        One cannot be followed; the message says what can.
    """
    decides = method.classifies and not self_trains(config)
    if config.backbone:
        _check_on_features(config, method, decides=decides)
    if config.select not in (rules := rules_of(method)):
        raise AcclimateError(f"--select {config.select} is no score of {method.name}; it has {', '.join(rules)}")
    if config.augment != "none" and decides and not method.augments:
        instead = ", or add --classifier-stage self-training" if method.translates else ""
        raise AcclimateError(f"{method.name} learns from images as they are: leave out --augment{instead}")
    if isinstance(config, StageConfig) and config.both_directions and (decides or not method.translates_back):
        raise AcclimateError(
            f"--both-directions is for methods that redraw both ways and leave the classes to a classifier stage:"
            f" {method.name} does not"
        )


def _check_on_features(config: Config, method: type[Method], *, decides: bool) -> None:
    """Refuse what a backbone's features do not allow: they are computed once, of whole images."""
    if not method.takes_features and (decides or not method.translates):
        raise AcclimateError(f"{method.name} works on images, not on a backbone's features: leave out --backbone")
    if config.select != "last":
        raise AcclimateError(f"--select {config.select} scores images: with a backbone there is --select last only")
    if config.augment != "none":
        raise AcclimateError(
            f"--augment {config.augment} changes images, and a backbone's features are computed once: leave it out;"
            " --tune all augments"
        )
    if isinstance(config, TranslationConfig) and config.adapt != "offline":
        raise AcclimateError(
            f"--adapt {config.adapt} redraws while the classifier learns: with a backbone, offline only"
        )
