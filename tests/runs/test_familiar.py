"""What a run's target looks like to its classifier; images of the source as the classifier sees them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acclimate import Adaptation, adapt
from acclimate.runs.familiar import familiarity
from acclimate.runs.inference import predict_files
from acclimate.runs.last_features import last_features
from acclimate.runs.source_view import as_seen_from_source
from helpers import tiny


def test_it_is_kept_with_the_run_and_read_from_there(finished: Adaptation, tmp_path: Path) -> None:
    run = Adaptation(Path(shutil.copytree(finished.run.path, tmp_path / "run")))
    stored = familiarity(run)
    (run.run.path / "familiar.safetensors").unlink()
    again = familiarity(run)
    assert all(torch.equal(value, vars(again)[name]) for name, value in vars(stored).items())
    assert len(stored.known) == 1000
    assert len(stored.held_out) == 200
    test = last_features(run.classifier(), run.target.images("test").pixels)
    assert 0.35 < stored.unlikeness(test) < 0.65


def test_predict_says_so_where_nothing_is_familiar(
    finished: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        Image.fromarray(np.full((8, 8, 3), 40 * number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr("acclimate.runs.inference.ALIEN", 0.0)
    assert len(list(predict_files(finished, [tmp_path]))) == 6
    assert "look like nothing that the classifier was adapted to" in capsys.readouterr().err
    monkeypatch.setattr("acclimate.runs.inference.ALIEN", 1.01)
    list(predict_files(finished, [tmp_path]))
    assert "look like nothing" not in capsys.readouterr().err


def test_source_images_are_seen_under_the_source_s_statistics(
    tmp_path: Path,
) -> None:
    settings = tiny("self-training", classifier="conv7", image_size=16)
    run = adapt("digits", "digits-m", method="self-training", preset="fast", out=tmp_path / "run", **settings)
    pixels = run.data.source_val.pixels
    plain, view = run.classifier(), as_seen_from_source(run, "adapted", pixels)
    ours, own = plain.networks[0].state_dict(), view.networks[0].state_dict()
    moved = {name for name, value in ours.items() if not torch.equal(value, own[name])}
    assert moved
    assert all(name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked") for name in moved)
    for same in (as_seen_from_source(run, "adapted", pixels[:1]), as_seen_from_source(run, "source-only", pixels)):
        kind = "adapted" if same.networks[0].state_dict().keys() == ours.keys() else "source-only"
        before = run.classifier(kind).networks[0].state_dict()  # one image has no deviation, one domain no other
        assert all(torch.equal(value, before[name]) for name, value in same.networks[0].state_dict().items())
