"""A run's directory from what a person asks for: method, preset, settings and domains, checked before anything runs."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from acclimate.config import Config, MethodConfig
from acclimate.data.classes import read_class_rules
from acclimate.data.domains import DOMAINS, DataOptions, Domain, check_classes, open_domain, spec_of
from acclimate.data.domains.base import default_data_root
from acclimate.data.domains.folder import Folder
from acclimate.data.listing import as_path
from acclimate.errors import AcclimateError, DataError
from acclimate.methods import find_config, find_method
from acclimate.methods.unet_config import UNetConfig
from acclimate.networks import open_backbone
from acclimate.pipeline.choice import PHOTO_SIDE, Choice, choose, typical_side
from acclimate.pipeline.compatibility import check_together
from acclimate.pipeline.result import SCHEMA
from acclimate.progress import say
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.directory import Run
from acclimate.training.distributed import processes
from acclimate.training.engine import Engine


def start(
    source: Any,
    target: Any,
    *,
    method: str | None = None,
    preset: str | None = None,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    **settings: Any,
) -> Adaptation:
    """Make the run directory of what :func:`~.adapt.adapt`, with the same parameters, would do, without doing it."""
    choice = choose(source, method, preset)
    if choice.reason:
        say(choice.reason)
    method, preset = choice.method, choice.preset
    config_class = find_config(method)
    asked = config_class.preset(preset, **settings)
    check_together(asked, find_method(method))
    config = with_backbone(asked)
    if config.classes:
        config = replace(config, classes=read_class_rules(config.classes))
    _warn_of_size(source, config, choice)
    if isinstance(config, MethodConfig):
        processes().check_batch(config.batch_size)
    if find_method(method).chooses and not processes().alone:
        raise AcclimateError(f"{method} runs its candidates by itself: start it without torchrun")
    Engine.choose(device, config.precision)
    root = as_path(data_root or default_data_root()).resolve()
    options = DataOptions.of(config, root)
    opened = open_domain(source, options)
    aim = open_domain(target, options, opened.classes)
    check_classes(opened.classes, aim, opened.name)
    _check_apart(opened, aim)
    if method == "target-only" and not aim.has_labels:
        raise DataError(f"{aim.name} has no labels, and target-only trains on them")
    for name, domain in (("source", opened), ("target", aim)):
        processes().first_then_all(domain.prepare)
        _check_trainable(name, domain)
        if isinstance(config, MethodConfig):
            _check_batch(config, name, domain)
    specs = [_spec(value, domain) for value, domain in ((source, opened), (target, aim))]
    names = [*map(_slug, specs), method, preset, str(config.seed)]
    path, group = as_path(out or Path("runs") / "-".join(names)), processes()
    stored = {
        "schema": SCHEMA,
        "source": specs[0],
        "target": specs[1],
        "classes": opened.classes,
        "method": method,
        "preset": preset,
        "changes": asked.changes_from(config_class.preset(preset)),
        "device": device,
        "threads": torch.get_num_threads(),
        "data_root": str(root),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": asdict(config),
    }
    return Adaptation(group.first_then_all(lambda: Run.create(path, stored) if group.first else Run(path)))


def _check_apart(source: Domain, target: Domain) -> None:
    """Refuse a folder above the target's as the source: the target's images would be taken for a class of it."""
    if (
        isinstance(source, Folder)
        and isinstance(target, Folder)
        and source.path.resolve() in target.path.resolve().parents
    ):
        raise DataError(
            f"the target {target.name} lies in the source {source.name}, where each folder is a class:"
            " name the folder that has the source's classes alone"
        )


def _check_trainable(name: str, domain: Domain) -> None:
    if not (sizes := domain.sizes())["train"]:
        found = ", ".join(f"{count:,} {split}" for split, count in sizes.items() if count)
        raise DataError(f"the {name} {domain.name} has no images for training, only {found}: see acclimate data show")
    if sizes["train"] < 2:
        raise DataError(f"the {name} {domain.name} has one image for training; two are the least")


def _check_batch(config: MethodConfig, name: str, domain: Domain) -> None:
    train, own = domain.sizes()["train"], config.images if isinstance(config, UNetConfig) else 0
    sets = {"batch_size": own or train, "feature_batch_size": train}
    for setting, limit in sets.items():
        size, count = getattr(config, setting, 0), min(train, limit)
        if count < size:
            flag = setting.replace("_", "-")
            raise DataError(f"the {name} has {count} training images, fewer than a batch of {size}: see --{flag}")


def _warn_of_size(source: Any, config: Config, choice: Choice) -> None:
    """Say it where settings that a person named make little of photos."""
    side = typical_side(source)
    if not config.backbone and side >= max(PHOTO_SIDE, 2 * config.image_size):
        say(
            f"warning: images of about {side} pixels are shrunk to {config.image_size}, as {choice.method} "
            f"{choice.preset} asks for; for photos leave out --method and --preset, or see --backbone and --image-size"
        )


def with_backbone(config: Config) -> Config:
    """Return the settings with the backbone's own image size, unless they have another, and its interpolation.

    Raises
    ------
    AcclimateError
        There is no such backbone.
    """
    if not config.backbone:
        return config
    backbone = open_backbone(config.backbone, config.weights)
    return replace(config, image_size=config.image_size or backbone.image_size, interpolation=backbone.interpolation)


def _spec(value: Any, domain: Domain) -> str:
    """Return what a run knows a domain by."""
    if isinstance(value, str | Path):
        return spec_of(value)
    domain.prepare()  # it is found in the cache by its name afterwards
    return domain.name


def _slug(spec: str) -> str:
    return spec if spec in DOMAINS else Path(spec).name.replace(":", "-") or "folder"
