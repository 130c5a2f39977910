"""No target label steers anything: none can be reached by a method, none is read before the measurement."""

from __future__ import annotations

import gc
import types
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from acclimate import Adaptation
from acclimate.data.sets import LabelledImages
from acclimate.methods import find_config, method_names
from acclimate.pipeline import stages
from acclimate.pipeline.adapt import start
from acclimate.pipeline.result import build_result
from acclimate.pipeline.stages import run_stages
from helpers import TINY, tiny


def reachable_tensors(root: object) -> list[Tensor]:
    """Walk everything that can be reached from an object, closures and bound methods included, modules' globals not."""
    seen: dict[int, object] = {}
    stack: list[object] = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen or isinstance(node, types.ModuleType | type):
            continue
        seen[id(node)] = node
        if isinstance(node, types.FunctionType):  # its globals are the module's, where nothing is handed over
            stack += [cell.cell_contents for cell in node.__closure__ or ()]
            stack += [node.__defaults__, node.__kwdefaults__]
        else:
            stack += gc.get_referents(node)
    return [node for node in seen.values() if isinstance(node, Tensor)]


@pytest.mark.parametrize("method", method_names())
def test_no_method_can_reach_a_target_label(method: str, tmp_path: Path) -> None:
    adaptation = start("digits", "digits-m", method=method, out=tmp_path / "run", **tiny(method))
    labels = {split: adaptation.target.labelled(split).labels for split in ("train", "val", "test")}
    own = adaptation.data.source_train.labels.data_ptr(), adaptation.data.source_val.labels.data_ptr()
    built = adaptation.build_method()
    phases = built.phases(adaptation.data)
    found = reachable_tensors((adaptation.data, built, phases))
    assert any(tensor.data_ptr() == own[0] for tensor in found), "the walk does not even find the source's labels"
    for tensor in found:
        if tensor.dtype == torch.int64 and tensor.ndim == 1 and tensor.data_ptr() not in own:
            for split, target in labels.items():
                assert not (len(tensor) == len(target) and torch.equal(tensor, target)), (
                    f"{method} can reach {split} labels"
                )
    assert not hasattr(adaptation.data.target_train, "labels")
    assert vars(adaptation.data.target_train).keys() == {"pixels"}


def test_opening_the_target_for_a_method_reads_no_label_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from acclimate.data.domains import base

    adaptation = start("digits", "digits-m", preset="demo", out=tmp_path / "run", **TINY)
    adaptation.target.prepare()
    read = []
    load = base.map_array
    monkeypatch.setattr(base, "map_array", lambda path: read.append(str(path)) or load(path))
    _ = adaptation.data
    target_folder = str(adaptation.target.prepare())
    assert [Path(path).name for path in read if path.startswith(target_folder)] == ["train.images.npy"]


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("cyclegan", {"select": "entropy", "both_directions": True, "classifier_stage": "self-training"}),
        ("cyclegan", {"select": "target-cycle", "classifier_epochs": 2}),
        ("dann", {"select": "class-balance"}),
        ("self-training", {}),
    ],
)
def test_no_target_label_is_read_before_the_measurement(
    method: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = {"stage_steps": 4, "classifier_batch_size": 16, "target_batch_size": 16}
    known = {field.name for field in fields(find_config(method))}
    settings = tiny(method, repeats=1, target_only=False) | {k: v for k, v in (stage | changes).items() if k in known}
    adaptation = start("digits", "digits-m", method=method, out=tmp_path / "run", **settings)
    labelled, measuring = adaptation.target.labelled, []

    def guarded(split: str) -> LabelledImages:
        assert measuring, f"the target's {split} labels are read"
        return labelled(split)  # type: ignore[arg-type]

    def build(one: Adaptation) -> dict[str, Any]:
        measuring.append(True)
        return build_result(one)

    monkeypatch.setattr(adaptation.target, "labelled", guarded)
    monkeypatch.setattr(stages, "build_result", build)
    assert run_stages(adaptation)["accuracy"]["runs"]
    assert measuring
