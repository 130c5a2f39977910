"""Photos: folders of larger images take a pretrained backbone by themselves, from the command line to the report."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from acclimate import adapt
from acclimate.data.domains.base import cache_root
from acclimate.errors import AcclimateError
from acclimate.networks import Backbone, register_backbone
from acclimate.pipeline.adapt import resume, start
from acclimate.pipeline.choice import choose, typical_side
from acclimate.pipeline.evidence import Evidence
from acclimate.pipeline.stages import _self_training, _train_head, _tuning, train_method
from acclimate.reporting.figures import write_figures
from acclimate.reporting.page import write_report
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.inference import measure, predict_files, translate_files
from acclimate.training.loop import train
from acclimate.training.state import load_tree
from helpers import tiny

SHORT = {
    "stage_steps": 30,
    "classifier_epochs": 3,
    "image_size": 32,
    "classifier_batch_size": 16,
    "target_batch_size": 16,
}


class Blocks(nn.Module):
    """The mean colours of sixteen blocks, behind a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(self.norm(images), 4).flatten(1)


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of folders of discs and bars on a ground of one colour."""

    def make(name: str, ground: tuple[int, int, int], count: int = 20, size: tuple[int, int] = (80, 64)) -> Path:
        random = np.random.default_rng(sum(ground))
        for shape in ("bar", "disc"):
            folder = tmp_path / name / shape
            folder.mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", size, ground)
                x, y = (int(v) for v in random.integers(10, 30, 2))
                draw = ImageDraw.Draw(image)
                box = (x, y, x + 28, y + 28) if shape == "disc" else (x, y, x + 40, y + 6)
                (draw.ellipse if shape == "disc" else draw.rectangle)(box, fill=tuple(255 - v for v in ground))
                image.save(folder / f"{number:02d}.jpg")
        return tmp_path / name

    return make


def test_a_run_of_two_folders_from_the_command_line(photos: Callable[..., Path], tmp_path: Path) -> None:
    source, target = photos("renders", (20, 20, 40)), photos("shots", (200, 180, 90))
    run = [sys.executable, "-m", "acclimate", "run", source, target, "--out", tmp_path / "run", "--stage-steps", "30"]
    done = subprocess.run([*run, "--image-size=32"], capture_output=True, text=True, check=True)
    assert f"preset photos, as {source} has images of about 64 pixels" in done.stderr
    assert "minutes for features" in done.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["method"], result["preset"]) == ("self-training", "photos")
    assert result["config"]["backbone"] == "efficientnet-lite0"
    assert (result["config"]["image_size"], result["config"]["interpolation"]) == (32, "bicubic")
    assert result["changes"] == {"image_size": 32, "stage_steps": 30}
    assert set(result["baselines"]) == {"source_only", "target_only"}
    assert result["seconds"]["features"] > 0
    files = list((target / "disc").glob("*.jpg"))[:3]
    predicted = [sys.executable, "-m", "acclimate", "predict", tmp_path / "run", *files]
    lines = subprocess.run(predicted, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 4


def test_what_is_chosen_for_what(photos: Callable[..., Path], tmp_path: Path) -> None:
    large, small = photos("large", (0, 0, 0)), photos("small", (9, 9, 9), size=(40, 47))
    assert (typical_side(large), typical_side(small), typical_side("digits"), typical_side(tmp_path / "no")) == (
        64,
        40,
        0,
        0,
    )
    named = [(choice.method, choice.preset) for choice in (choose(large), choose(small), choose("mnist"), choose(None))]
    assert named == [("self-training", "photos"), *[("cyclegan", "fast")] * 3]
    assert choose(large, "dann").preset == "photos"
    assert choose(large, "cyclegan").preset == "photos"
    assert choose(large, "cogan").preset == "fast"
    assert choose(large, None, "fast").method == "cyclegan"
    assert choose("mnist", None, "best").method == "self-training"
    assert choose(large, None, "best").preset == "photos"
    assert choose(large, "cyclegan", "best").preset == "best"
    assert choose(large).reason
    assert not choose(large, "dann", "fast").reason


def test_files_that_are_no_images_do_not_keep_it_from_choosing(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (70, 60)).save(tmp_path / "cat" / "a.png")
    unknown = struct.pack("<4s31I", b"DDS ", 124, 0x1007, 8, 8, *[0] * 14, 32, 0x800000, *[0] * 11)
    (tmp_path / "dog" / "b.png").write_bytes(unknown)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "dog" / "c.png").symlink_to(tmp_path / "pipe")
    assert typical_side(tmp_path) == 60


def test_photos_shrunk_by_a_preset_are_warned_of(
    photos: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = photos("renders", (20, 20, 40)), photos("shots", (200, 180, 90))
    start(source, target, preset="fast", out=tmp_path / "shrunk")
    assert "images of about 64 pixels are shrunk to 32, as cyclegan fast asks for" in capsys.readouterr().err
    start(source, target, preset="fast", image_size=64, out=tmp_path / "whole")
    start(source, target, out=tmp_path / "photos")
    assert "are shrunk" not in capsys.readouterr().err


def test_a_stopped_run_goes_on_to_the_byte(photos: Callable[..., Path], tmp_path: Path) -> None:
    register_backbone("blocks", Backbone(Blocks(), 32))
    folders = photos("a", (10, 60, 10)), photos("b", (150, 150, 200))
    settings = {"preset": "photos", "backbone": "blocks", "share_bars": False, "checkpoint_every": 10, **SHORT}
    whole = adapt(*folders, out=tmp_path / "whole", **settings)
    stopped = start(*folders, out=tmp_path / "stopped", **settings)
    train_method(stopped)
    phase = _self_training(stopped, "adapted", "adapted-0").phase
    phase.steps = 20
    train(phase, stopped.run, stopped.engine, stopped.config.seed, checkpoint_every=10)
    gone_on = resume(stopped.run.path)
    assert gone_on.run.result["accuracy"] == whole.run.result["accuracy"]
    for file in (whole.run.path / "models").glob("adapted*"):
        one, other = weights_of(file), weights_of(gone_on.run.path / "models" / file.name)
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def weights_of(file: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_tree(file)["weights"]
    return found


@pytest.mark.parametrize("method", ["dann", "mcc", "cdan", "shot", "source-only", "target-only"])
def test_methods_on_features(method: str, photos: Callable[..., Path], tmp_path: Path) -> None:
    register_backbone("blocks", Backbone(Blocks(), 32))
    folders = photos("a", (10, 60, 10)), photos("b", (150, 150, 200))
    settings = tiny(method, backbone="blocks", classifier="bottleneck", image_size=32, batch_size=16)
    names = {name: value for name, value in settings.items() if name != "width"}
    if method in ("source-only", "target-only"):
        names.pop("batch_size")
    run = adapt(*folders, method=method, preset="photos", out=tmp_path / "run", **names)
    size = 48 if method == "source-only" else 96
    assert run.classifier().networks[0].state_dict()  # it can be built anew and loaded
    assert run.encoder(run.own_kind).size == size  # type: ignore[union-attr]
    assert 0 <= measure(run)["accuracy"][run.own_kind]["mean"] <= 1


def test_a_translator_s_images_are_classified_by_their_features(photos: Callable[..., Path], tmp_path: Path) -> None:
    register_backbone("blocks", Backbone(Blocks(), 16))
    folders = photos("a", (10, 60, 10)), photos("b", (150, 150, 200))
    settings = tiny("cyclegan", backbone="blocks", classifier="linear", image_size=16, batch_size=4)
    run = adapt(*folders, method="cyclegan", preset="fast", out=tmp_path / "run", **settings)
    assert run.run.result["translation"]["images"] > 0
    assert run.classifier("adapted").encode is not None
    assert len(list(predict_files(run, [folders[1] / "disc"]))) == 20


def test_the_report_of_photos(photos: Callable[..., Path], tmp_path: Path, small_analysis: None) -> None:
    folders = photos("a", (10, 60, 10)), photos("b", (150, 150, 200))
    register_backbone("blocks", Backbone(Blocks(), 32))
    settings = SHORT | {"image_size": 80, "ramp_start": 0}
    run = adapt(*folders, preset="photos", backbone="blocks", out=tmp_path / "run", **settings)
    page = write_report([run], tmp_path / "report.html")
    html = page.read_text()
    assert all(word in html for word in ("disc", "bar", "blocks", "least sure", "losses of self-training"))
    assert html.count('class="cell large') >= 2
    assert html.count("url(data:image/webp") == 2  # small pictures and large ones
    assert page.stat().st_size < 15e6
    figures = write_figures(run, tmp_path / "figures", ["png"])["figures"]
    assert "self-training" in figures


def test_evidence_keeps_no_features_of_images_that_will_not_come_again(
    photos: Callable[..., Path], tmp_path: Path
) -> None:
    folders = photos("a", (10, 60, 10)), photos("b", (150, 150, 200))
    register_backbone("blocks", Backbone(Blocks(), 32))
    run = adapt(*folders, preset="photos", backbone="blocks", out=tmp_path / "run", **SHORT)
    kept = set(cache_root().rglob("*.digests.npy"))
    evidence = Evidence(run).of("adapted")
    assert set(cache_root().rglob("*.digests.npy")) == kept
    assert kept
    assert evidence == run.run.result["forecast"]["by"]


def test_settings_that_do_not_go_together_are_said() -> None:
    with pytest.raises(AcclimateError, match="--classifier must be one of linear, bottleneck with a backbone"):
        adapt("digits", "digits-m", preset="fast", backbone="efficientnet-lite0", classifier="gta")
    with pytest.raises(AcclimateError, match="--classifier must be one of linear, bottleneck with a backbone"):
        adapt("digits", "digits-m", preset="fast", classifier="linear")
    with pytest.raises(AcclimateError, match="--channels must be 3 with a backbone"):
        adapt("digits", "digits-m", preset="photos", channels=1)
    with pytest.raises(AcclimateError, match="--image-size must be 8 to 1024 without a backbone"):
        adapt("digits", "digits-m", preset="fast", image_size=0)
    with pytest.raises(AcclimateError, match="cogan works on images"):
        adapt("digits", "digits-m", method="cogan", preset="fast", backbone="efficientnet-lite0", classifier="linear")


def test_a_run_is_opened_again_with_its_backbone(photos: Callable[..., Path], tmp_path: Path) -> None:
    register_backbone("blocks", Backbone(Blocks(), 32))
    run = adapt(
        photos("a", (10, 60, 10)),
        photos("b", (150, 150, 200)),
        preset="photos",
        backbone="blocks",
        out=tmp_path / "run",
        **SHORT,
    )
    pixels = run.target.images("test").pixels
    again = Adaptation(tmp_path / "run")
    assert torch.equal(again.classifier().probabilities(pixels), run.classifier().probabilities(pixels))


def test_photos_are_redrawn_at_their_own_sizes(photos: Callable[..., Path], tmp_path: Path) -> None:
    register_backbone("blocks", Backbone(Blocks(), 40))
    folders = photos("a", (10, 60, 10)), photos("b", (150, 150, 200))
    settings = {"steps": 2, "batch_size": 2, "width": 4, "discriminator_width": 4, "blocks": 1, "crop": 32}
    run = adapt(
        *folders,
        method="cyclegan",
        preset="photos",
        backbone="blocks",
        out=tmp_path / "run",
        **{**SHORT, "image_size": 40},
        **settings,
    )
    given = tmp_path / "given" / "below"
    given.mkdir(parents=True)
    for size in ((227, 227), (64, 48), (600, 50)):
        Image.new("RGB", size, (10, 60, 10)).save(given / f"{size[0]}.jpg")
    (given / "damaged.jpg").write_bytes(b"no image")
    assert translate_files(run, given.parent, tmp_path / "out") == 3
    for size in ((227, 227), (64, 48), (600, 50)):
        with Image.open(tmp_path / "out" / "below" / f"{size[0]}.png") as image:
            assert (image.size, image.mode) == (size, "RGB")


def test_a_whole_backbone_is_tuned_from_its_head_and_goes_on_to_the_byte(
    photos: Callable[..., Path], tmp_path: Path
) -> None:
    register_backbone("blocks", Backbone(Blocks(), 32))
    folders = photos("a", (10, 60, 10)), photos("b", (150, 150, 200))
    settings = {
        "preset": "photos",
        "backbone": "blocks",
        "tune": "all",
        "tune_steps": 12,
        "tune_batch_size": 8,
        "share_bars": False,
        "checkpoint_every": 4,
        **SHORT,
    }
    whole = adapt(*folders, out=tmp_path / "whole", **settings)
    head = load_tree(whole.run.head("adapted-0"))["weights"]
    tuned = weights_of(whole.run.model("adapted-0"))
    assert not torch.equal(tuned["head.weight"], head["head.weight"])
    assert not torch.equal(tuned["features.0.backbone.network.norm.weight"], Blocks().norm.weight)
    assert whole.classifier().encode is None
    assert whole.classifier("source-only").encode is not None

    stopped = start(*folders, out=tmp_path / "stopped", **settings)
    train_method(stopped)
    _train_head(stopped, "adapted-0")
    phase = _tuning(stopped, "adapted", "adapted-0").phase
    phase.steps = 8
    train(phase, stopped.run, stopped.engine, stopped.config.seed, checkpoint_every=4)
    gone_on = weights_of(resume(stopped.run.path).run.model("adapted-0"))
    assert all(torch.equal(value, gone_on[name]) for name, value in tuned.items())
    assert whole.run.result["accuracy"]["augment"] == "photos"  # which the whole backbone has learnt from


def test_the_backbone_learns_at_a_tenth_of_the_rate(photos: Callable[..., Path], tmp_path: Path) -> None:
    register_backbone("blocks", Backbone(Blocks(), 32))
    folders = photos("a", (10, 60, 10)), photos("b", (150, 150, 200))
    run = start(*folders, preset="photos", backbone="blocks", tune="all", out=tmp_path / "run", **SHORT)
    _train_head(run, "adapted-0")
    training = _tuning(run, "adapted", "adapted-0")
    training.step(3)
    head, backbone = training.optimizer.param_groups
    assert backbone["lr"] == pytest.approx(head["lr"] / 10)
    assert len(backbone["params"]) == 2
    assert "rate" not in head  # a checkpoint of before has nothing but AdamW's own
