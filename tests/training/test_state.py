from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from acclimate.errors import AcclimateError, RunError
from acclimate.training.state import load_tree, random_state, save_tree, set_random_state, write_atomic


def test_trees_come_back_as_they_were(tmp_path: Path) -> None:
    tree = {
        "tensor": torch.arange(6).view(2, 3),
        "state": {0: {"step": torch.tensor(3.0)}, 1: {}},
        "groups": [{"betas": (0.5, 0.999), "lr": 2e-4, "fused": True, "name": None}],
        "bits": torch.randn(3).bfloat16(),
        "$strange": "key",
        "infinite": float("inf"),
    }
    save_tree(tmp_path / "state.safetensors", tree)
    loaded = load_tree(tmp_path / "state.safetensors")
    assert torch.equal(loaded.pop("tensor"), tree.pop("tensor"))
    assert torch.equal(loaded.pop("bits"), tree.pop("bits"))
    assert loaded == tree


def test_shared_memory_is_saved_twice_not_refused(tmp_path: Path) -> None:
    base = torch.arange(10)
    save_tree(tmp_path / "a", {"a": base[:5], "b": base, "c": base.view(2, 5).t()})
    loaded = load_tree(tmp_path / "a")
    assert loaded["a"].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(loaded["c"], base.view(2, 5).t())


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="/a/0: object"):
        save_tree(tmp_path / "a", {"a": [object()]})


def test_damaged_files_are_named(tmp_path: Path) -> None:
    save_tree(tmp_path / "a", {"a": torch.zeros(100)})
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-50])
    with pytest.raises(RunError, match="cannot read"):
        load_tree(tmp_path / "a")
    with pytest.raises(RunError, match="cannot read"):
        load_tree(tmp_path / "none")


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AcclimateError, match="no space left on the device"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_random_state_round_trip() -> None:
    state = random_state(torch.device("cpu"))
    first = torch.rand(3)
    set_random_state(state, torch.device("cpu"))
    assert torch.equal(torch.rand(3), first)
