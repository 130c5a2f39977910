"""Exported models say what the run says, without it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from acclimate.commands import main
from acclimate.errors import AcclimateError
from acclimate.networks import Backbone, register_backbone
from acclimate.pipeline import export as exporting
from acclimate.pipeline.adapt import adapt
from acclimate.pipeline.export import export
from acclimate.runs.adaptation import Adaptation
from acclimate.serving.model import ExportedModel

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")


class Means(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images.mean((2, 3)), images.amax((2, 3))], 1)


@pytest.fixture(scope="module")
def exported(finished: Adaptation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    parities = export(finished, out)
    assert all(parity.same_class == 1.0 and parity.largest_difference < 1e-4 for parity in parities.values())
    return out


def test_the_onnx_file_takes_any_number_of_images(exported: Path, finished: Adaptation) -> None:
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"))
    pixels = finished.target.images("test").pixels[:7]
    wanted = finished.calibrated().probabilities(pixels)
    for count in (1, 7):
        found = session.run(None, {"images": pixels[:count].numpy()})[0]
        np.testing.assert_allclose(found, wanted[:count], atol=2e-3)  # the run computes in its own precision
    about = json.loads(session.get_modelmeta().custom_metadata_map["acclimate"])
    assert about["classes"] == list(finished.task.classes)
    assert about["image_size"] == finished.config.image_size


def test_the_program_and_the_weights_open_without_the_run(exported: Path, finished: Adaptation) -> None:
    from safetensors import safe_open

    extra = {"acclimate.json": ""}
    program = torch.export.load(exported / "model.pt2", extra_files=extra).module()
    pixels = finished.target.images("test").pixels[:3]
    assert program(pixels).sum(1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    assert json.loads(extra["acclimate.json"])["what"] == "classifier"
    with safe_open(exported / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["acclimate"])["classes"] == list(finished.task.classes)
        assert any(name.endswith("weight") for name in file.keys())  # noqa: SIM118 (it is no dict)


def test_the_example_says_what_predict_says(
    exported: Path, finished: Adaptation, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder("new", count=3)
    Image.new("L", (30, 20), 90).save(folder / "gray.png")
    Image.fromarray(np.linspace(0, 3000, 600, dtype=np.uint16).reshape(20, 30)).save(folder / "deep.png")
    Image.new("RGBA", (30, 20), (255, 0, 0, 0)).save(folder / "transparent.png")
    files = sorted(folder.rglob("*.png"))
    lines = subprocess.run(
        [sys.executable, exported / "predict.py", *files], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    with pytest.raises(SystemExit) as left:
        main(["predict", str(finished.run.path), *map(str, files)])
    assert left.value.code == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for line, row in zip(lines, rows, strict=True):
        file, label, probability = line.rsplit(maxsplit=2)
        assert (file, label) == (row["file"], row["class"])
        assert float(probability) == pytest.approx(float(row["probability"]), abs=0.01)


def test_deep_images_are_seen_on_the_targets_scale(
    finished: Adaptation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = replace(finished.seen_options, levels=(0.0, 4095.0))
    monkeypatch.setattr(Adaptation, "seen_options", options)
    folder, file = tmp_path / "out", tmp_path / "deep.png"
    export(finished, folder)
    Image.fromarray(np.full((20, 30), 900, np.uint16)).save(file)
    served = ExportedModel(folder)
    seen = served.read(file.read_bytes(), file.name, 1000)
    assert seen.unique().tolist() == [56]
    told = subprocess.run([sys.executable, folder / "predict.py", file], check=True, capture_output=True, text=True)
    assert float(told.stdout.split()[-1]) == pytest.approx(served.probabilities(seen[None]).max().item(), abs=0.001)


def test_others_may_read_an_export(exported: Path) -> None:
    beside = exported.parent / "beside"
    beside.mkdir()
    assert exported.stat().st_mode == beside.stat().st_mode


def test_the_card_tells_numbers_and_limits(exported: Path, finished: Adaptation) -> None:
    text = (exported / "README.md").read_text()
    assert f"{100 * finished.run.result['ensemble_accuracy']:.1f} %" in text
    assert "digits → digits-m" in text
    assert "## Limits" in text


def test_a_translator_redraws_as_the_run_does(finished: Adaptation, tmp_path: Path) -> None:
    parities = export(finished, tmp_path / "out", "translator")
    assert max(parity.largest_difference for parity in parities.values()) <= 1
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    found = session.run(None, {"images": finished.data.source_val.pixels[:2].numpy()})[0]
    assert found.dtype == np.uint8
    assert found.shape == (2, *finished.data.source_val.pixels.shape[1:])


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_smaller_weights_say_what_they_cost(finished: Adaptation, tmp_path: Path, weights: str) -> None:
    parity = export(finished, tmp_path / "out", weights=weights)["model.onnx"]  # type: ignore[arg-type]
    assert 0 < parity.largest_difference < 1
    assert parity.same_class is not None


def test_features_and_their_backbone_are_in_the_file(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    register_backbone("means", Backbone(Means(), 16))
    folders = make_folder("one"), make_folder("other")
    run = adapt(*folders, preset="photos", backbone="means", stage_steps=5, out=tmp_path / "run")
    parities = export(run, tmp_path / "out")
    assert parities["model.onnx"].same_class == 1.0


def test_what_differs_from_the_run_is_an_error(
    finished: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = exporting.Parity(10, 0.9, 0.3)
    monkeypatch.setattr(exporting, "_parity", lambda *_: wrong)
    with pytest.raises(AcclimateError, match=r"says something else than the run: 10 images, 90.0 % the same class"):
        export(finished, tmp_path / "out")


def test_nothing_is_overwritten_and_a_missing_extra_is_named(
    finished: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(AcclimateError, match="is not empty"):
        export(finished, tmp_path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(AcclimateError, match=r"pip install 'acclimate\[export\]'"):
        export(finished, tmp_path / "out")
