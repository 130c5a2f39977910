"""What holds for every registered method: a new one is picked up by its name alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from acclimate import Adaptation, adapt
from acclimate.methods import find_config, find_method, method_names
from acclimate.methods.base import Method
from acclimate.pipeline.adapt import start
from acclimate.runs.directory import Run
from acclimate.runs.inference import measure
from acclimate.training.loop import Phase, train
from helpers import tiny


def trains(name: str) -> bool:
    """Whether a method has networks of its own, and does not leave all to the classifier stage."""
    return find_method(name).translates or find_method(name).classifies


def build(run: Run) -> tuple[Method, list[Phase]]:
    """Return the run's method as a new process finds it, with its phases, each four steps long."""
    adaptation = Adaptation(run)
    method = adaptation.build_method()
    phases = method.phases(adaptation.data)
    for phase in phases:
        phase.steps = 4
    return method, phases


def trained(phases: Sequence[Phase], run: Run) -> None:
    adaptation = Adaptation(run)
    for phase in phases:
        train(phase, run, adaptation.engine, adaptation.config.seed)


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal to the bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@pytest.mark.parametrize("name", method_names())
def test_saved_and_resumed_is_bit_for_bit_unbroken(name: str, tmp_path: Path) -> None:
    settings = tiny(name)
    if "pool" in (field.name for field in fields(find_config(name))):
        settings["pool"] = 8  # one step fills it, so that the next ones draw from it
    whole, broken = (
        start("digits", "digits-m", method=name, out=tmp_path / out, **settings).run for out in ("whole", "broken")
    )
    method, phases = build(whole)
    fresh = {key: value.clone() for key, value in method.state_dict().items()}
    trained(phases, whole)

    for stop in range(len(phases)):  # a process a phase: it ends what the last one left half done, and stops half-way
        _, unfinished = build(broken)
        unfinished[stop].steps = 2
        trained(unfinished[: stop + 1], broken)
    resumed, last = build(broken)
    trained(last, broken)

    assert same(method.state_dict(), resumed.state_dict())
    for phase, again in zip(phases, last, strict=True):
        for part in phase.state:
            assert same(phase.state[part].state_dict(), again.state[part].state_dict()), f"{phase.name}: {part}"
    assert bool(phases) == trains(name)
    assert same(fresh, method.state_dict()) == (not phases)


@pytest.mark.parametrize("name", [name for name in method_names() if trains(name)])
def test_a_snapshot_holds_all_that_translates_and_classifies(name: str, tmp_path: Path) -> None:
    adaptation = start("digits", "digits-m", method=name, out=tmp_path / "run", **tiny(name))
    method, phases = build(adaptation.run)
    trained(phases, adaptation.run)
    torch.manual_seed(7)
    other = find_method(name)(adaptation.config, adaptation.task, adaptation.engine)  # with other weights to begin with
    other.load_weights(method.weights())
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1

    def outputs(one: Method) -> list[Tensor]:
        torch.manual_seed(2)  # a translator may draw noise
        with torch.no_grad():
            logits = [one.eval()(images)] if one.classifies else []
            back = [one.translate_back(images)] if one.translates_back else []
            return [*logits, *([one.translate(images)] if one.translates else []), *back]

    shapes = [(4, 10)] * method.classifies + [(4, 3, 8, 8)] * (method.translates + method.translates_back)
    assert [output.shape for output in outputs(other)] == shapes
    assert same(outputs(other), outputs(adaptation.method()))


@pytest.mark.parametrize("name", method_names())
def test_presets(name: str) -> None:
    presets = find_config(name).presets
    assert {"paper", "fast"} <= set(presets)
    assert presets["paper"] == {}
    for preset in presets:
        find_config(name).preset(preset)


def test_a_method_that_classifies_runs_from_start_to_end(tmp_path: Path) -> None:
    settings = tiny("adda", repeats=1, target_only=False)
    adaptation = adapt("digits", "digits-m", method="adda", out=tmp_path / "run", **settings)
    result = adaptation.run.result
    assert len(result["accuracy"]["runs"]) == 1
    assert result["selection"] == {"rule": "last", "checkpoint": settings["steps"], "target_labels_used": False}
    assert list(adaptation.run.snapshots()) == [2, 4, 6]
    assert result["seconds"]["translator"] > 0
    assert measure(adaptation)["accuracy"]["adapted"] == result["accuracy"]
    folders = list((tmp_path / "run" / "checkpoints").iterdir())
    assert folders
    assert all(len(list(folder.iterdir())) == 1 for folder in folders)
