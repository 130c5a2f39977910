"""Bars that runs share: the same training is done once, another one is not taken for it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from acclimate import adapt
from acclimate.config import Config
from acclimate.pipeline.adapt import start
from acclimate.pipeline.bars import bar_path
from acclimate.runs.kinds import Kind
from acclimate.training.state import load_tree
from helpers import TINY


def test_runs_share_the_bars_that_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCLIMATE_CACHE", str(tmp_path / "cache"))
    settings = TINY | {"repeats": 1, "share_bars": True}

    def source_only(name: str, **changes: object) -> dict[str, Any]:
        adapt("digits", "digits-m", method="source-only", out=tmp_path / name, **settings_of(Config) | changes)
        return load_tree(tmp_path / name / "models" / "source-only-0.safetensors")

    def settings_of(config: type[Config]) -> dict[str, Any]:
        return {item.name: settings[item.name] for item in fields(config) if item.name in settings}

    first = source_only("first")
    again = adapt("digits", "digits-m", out=tmp_path / "again", **settings)
    bar = load_tree(again.run.model("source-only-0"))
    assert (first["reused"], bar["reused"]) == (False, True)
    assert all(torch.equal(first["weights"][name], bar["weights"][name]) for name in first["weights"])
    assert bar["seconds"] == first["seconds"] > 0
    assert not source_only("another", seed=1)["reused"]
    assert not source_only("longer", classifier_epochs=3)["reused"]


def test_bars_of_other_augmentation_are_not_shared(tmp_path: Path) -> None:
    stage = {"classifier_stage": "self-training", "augment": "symbols"}
    run = start("digits", "digits-m", preset="demo", out=tmp_path / "run", **TINY | stage)
    run.source.prepare()
    config = run.config

    def path_of(kind: Kind, **changes: Any) -> Path:
        run.config = replace(config, **changes)
        return bar_path(run, kind, "0")

    before = path_of("source-only-augmented")
    assert path_of("source-only-augmented", threshold=0.5) == before
    for changed in ({"augment": "light"}, {"augment_end": 0.9}, {"augment_until": 0.9}, {"stage_steps": 2}):
        assert path_of("source-only-augmented", **changed) != before, changed
    supervised = path_of("source-only-augmented", classifier_stage="supervised")
    assert path_of("source-only-augmented", classifier_stage="supervised", augment="light") != supervised
    assert path_of("source-only", augment="light") == path_of("source-only")
