"""The whole pipeline on tiny settings: files, results, unreachable labels, crash and resume, offline and on the fly."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import acclimate
from acclimate import Adaptation, TranslatedImages, adapt
from acclimate.config import Config
from acclimate.data.sets import LabelledImages
from acclimate.errors import AcclimateError, DataError, RunError
from acclimate.methods.base import Task
from acclimate.pipeline.adapt import resume, start
from acclimate.pipeline.classification import ClassifierTraining
from acclimate.pipeline.result import build_result
from acclimate.pipeline.selection import RULES, candidates, choose, score_snapshots
from acclimate.pipeline.stages import train_method
from acclimate.pipeline.study import study
from acclimate.runs.inference import measure, predict_files, translate_files
from acclimate.training.compilation import _has_compiler
from acclimate.training.engine import Engine
from acclimate.training.loop import train
from acclimate.training.state import load_tree
from helpers import FINISHED, TINY, tiny


def weights_digest(run: Path) -> dict[str, str]:
    files = [*(run / "models").glob("*.safetensors"), *(run / "snapshots").glob("*.safetensors")]
    digests = {}
    for path in sorted(files):
        tree = load_tree(path)
        tree = tree.get("weights", tree)
        digest = hashlib.sha256()
        stack = [tree]
        while stack:
            node = stack.pop()
            if isinstance(node, dict):
                stack += [node[key] for key in sorted(node)]
            elif isinstance(node, Tensor):
                digest.update(node.numpy().tobytes())
        digests[path.name] = digest.hexdigest()
    return digests


def test_a_run_leaves_what_it_should(finished: Adaptation) -> None:
    path = finished.run.path
    names = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    expected = {"config.json", "metrics.jsonl", "result.json", "figures/samples.png", "models/method.json"}
    expected |= {f"models/{kind}-{i}.safetensors" for kind in ("source-only", "adapted", "target-only") for i in (0, 1)}
    expected |= {f"snapshots/{step:08d}.safetensors" for step in (2, 4, 6)}
    expected |= {f"translated/{split}.{kind}" for split in ("train", "val") for kind in ("npy", "json")}
    assert expected <= names
    assert {name for name in names if "checkpoints" in name} == {"checkpoints/translator/00000006.safetensors"}
    assert not any(name.endswith(".partial") for name in names)
    with Image.open(path / "figures/samples.png") as picture:
        assert picture.width > picture.height > 100


def test_the_result_carries_its_protocol(finished: Adaptation) -> None:
    result = finished.run.result
    assert result["schema"] == 1
    assert (result["method"], result["preset"], result["source"], result["target"]) == (
        "cyclegan",
        "demo",
        "digits",
        "digits-m",
    )
    for part in (result["accuracy"], *result["baselines"].values()):
        assert len(part["runs"]) == 2
        assert 0 <= part["mean"] <= 1
        assert part["spread"] == "classifier seeds"
    assert result["selection"] == {"rule": "last", "checkpoint": 6, "target_labels_used": False}
    assert result["protocol"]["splits"] == {"source": [1197, 200, 400], "target": [1197, 200, 400]}
    assert result["protocol"]["content"] == "shared"
    assert set(result["protocol"]["data"]) == {"digits", "digits-m"}
    assert result["config"]["steps"] == 6
    assert result["seconds"]["total"] > 0
    assert result["peak_memory_mb"] > 50
    assert result["versions"]["acclimate"] == acclimate.__version__
    for field in ("device", "threads", "commit", "precision"):
        assert field in result


def test_evaluation_repeats_the_result(finished: Adaptation) -> None:
    measured = measure(Adaptation(finished.run.path))
    assert measured["accuracy"]["adapted"] == finished.run.result["accuracy"]
    low, high = measured["interval"]
    assert 0 <= low < measured["accuracy"]["adapted"]["mean"] < high <= 1
    by_class = measured["by_class"].values()
    assert sum(one["images"] for one in by_class) == measured["test_images"]
    test = finished.target.labelled("test")
    right = torch.stack(
        [one.argmax(1) == test.labels for one in finished.classifier().each_logits(test.pixels)]
    ).float()
    for index, one in enumerate(by_class):
        assert one["accuracy"] == pytest.approx(right[:, test.labels == index].mean().item(), abs=1e-5)
    assert measure(Adaptation(finished.run.path), "digits")["domain"] == "digits"
    with pytest.raises(DataError, match="no domain and no folder"):
        measure(finished, "nowhere")


def test_the_classifiers_are_measured_each_and_together(finished: Adaptation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adaptation, "own_kind", "source-only")  # whose two differ after so little training
    result, test = build_result(finished), finished.target.labelled("test")
    one, two = finished.classifier("source-only").each_probabilities(test.pixels)
    right = [(answers.argmax(1) == test.labels).float().mean().item() for answers in (one, two, one + two)]
    assert len(set(right)) == 3
    assert [*result["accuracy"]["runs"], result["ensemble_accuracy"]] == pytest.approx(right, abs=1e-6)


def test_every_snapshot_is_scored_without_labels_and_the_study_goes_on(finished: Adaptation) -> None:
    path = finished.run.path
    table = score_snapshots(finished, candidates(finished.run))
    assert list(table) == [4, 6]
    assert set(table[4]) == set(RULES) - {"last"}
    before = {file.name: file.stat().st_mtime_ns for file in (path / "selection").iterdir()}
    assert list(study(finished)["accuracy"]) == [4, 6]
    found = study(finished, every=True, retrain=True)
    best = found["best"]["step"]
    assert {name: one["step"] for name, one in found["retrained"].items()} == {"last": 6, "best": best}
    with pytest.MonkeyPatch.context() as patch:  # what is measured is not measured again
        patch.setattr("acclimate.pipeline.study._snapshot_classifier", None)
        again = study(finished, every=True, retrain=True)
    assert (again["accuracy"], again["retrained"]) == (found["accuracy"], found["retrained"])
    after = {file.name: file.stat().st_mtime_ns for file in (path / "selection").iterdir()}
    retrained = {f"{step:08d}-retrained.safetensors" for step in (6, best)}
    assert set(after) - retrained == {f"{step:08d}.safetensors" for step in (2, 4, 6)}
    assert before.items() <= after.items()
    assert list(found["accuracy"]) == [2, 4, 6]
    assert found["last"] == found["accuracy"][6]
    assert found["best"]["accuracy"] == max(found["accuracy"].values())
    assert found["scores"] == table
    assert found["protocol"]["target_labels_used"] == "for this study only"
    assert json.loads((path / "snapshot_study.json").read_text())["rules"] == found["rules"]
    assert finished.chosen_snapshot == 6


def test_a_run_of_another_version_is_refused(finished: Adaptation, tmp_path: Path) -> None:
    copy = shutil.copytree(finished.run.path, tmp_path / "run")
    config = json.loads((copy / "config.json").read_text())
    config["config"]["momentum"] = 0.9
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"config\.json is damaged or was edited: without its line sha256"):
        Adaptation(copy)
    del config["sha256"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="another version of acclimate: no setting 'momentum'"):
        Adaptation(copy)


def test_a_rule_chooses_what_translates(tmp_path: Path) -> None:
    run = adapt(
        "digits", "digits-m", preset="demo", out=tmp_path / "run", select="source-cycle", **TINY | {"repeats": 1}
    )
    chosen = json.loads((tmp_path / "run" / "selection.json").read_text())
    assert chosen["chosen"] == choose({int(step): row for step, row in chosen["scores"].items()}, "source-cycle")
    assert run.chosen_snapshot == chosen["chosen"]
    assert run.run.result["selection"] == {
        "rule": "source-cycle",
        "checkpoint": chosen["chosen"],
        "target_labels_used": False,
    }
    assert run.run.result["seconds"]["selection"] > 0


def test_a_finished_run_does_nothing_again(finished: Adaptation) -> None:
    before = (finished.run.path / "result.json").stat().st_mtime_ns
    resume(finished.run.path)
    assert (finished.run.path / "result.json").stat().st_mtime_ns == before


def test_the_same_seed_gives_the_same_bytes(finished: Adaptation, tmp_path: Path) -> None:
    again = adapt("digits", "digits-m", preset="demo", out=tmp_path / "again", **FINISHED)
    assert weights_digest(again.run.path) == weights_digest(finished.run.path)
    other = adapt("digits", "digits-m", preset="demo", out=tmp_path / "other", seed=1, target_only=False, **FINISHED)
    assert (
        weights_digest(other.run.path)["00000006.safetensors"]
        != weights_digest(finished.run.path)["00000006.safetensors"]
    )
    assert other.run.result["baselines"]["target_only"] is None


def test_sets_too_large_for_memory_give_the_same_bytes(
    finished: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acclimate.training.feed.SHARE", 0.0)
    streamed = adapt("digits", "digits-m", preset="demo", out=tmp_path / "run", **FINISHED)
    assert weights_digest(streamed.run.path) == weights_digest(finished.run.path)
    for split in ("train", "val"):
        first, second = ((run.run.path / "translated" / f"{split}.npy").read_bytes() for run in (streamed, finished))
        assert first == second


def test_offline_and_on_the_fly_give_the_same_classifier(finished: Adaptation, tmp_path: Path) -> None:
    settings = TINY | {"dropout_mode": "fixed", "target_only": False, "repeats": 1}
    offline = adapt("digits", "digits-m", preset="demo", out=tmp_path / "offline", **settings)
    fly = adapt("digits", "digits-m", preset="demo", out=tmp_path / "fly", **(settings | {"adapt": "on-the-fly"}))
    first, second = (load_tree(one.run.model("adapted-0"))["weights"] for one in (offline, fly))
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-6), name
    assert offline.run.result["accuracy"] == fly.run.result["accuracy"]
    assert offline.run.result["translation"]["bytes_on_disk"] > 456 * 3 * 64
    assert offline.run.result["translation"]["images"] == 456
    assert fly.run.result["translation"] == {"images": 512, "bytes_on_disk": 0}


def test_what_translation_cost_goes_on_after_a_resume(finished: Adaptation) -> None:
    def training() -> ClassifierTraining:
        adapted = TranslatedImages(finished.source.labelled("train"), finished.translator())
        val = finished.source.labelled("val")
        return ClassifierTraining("mine", adapted, val, finished.config, finished.task, finished.engine, seed=0)

    broken, resumed = training(), training()
    for number in range(2):
        broken.step(number)
    resumed.load_state_dict(broken.state_dict())
    assert resumed.translation() == broken.translation()
    assert resumed.translation()["seconds"] > 0
    resumed.step(2)
    assert resumed.translation()["images"] == broken.translation()["images"] + broken.batches.size(2)


def test_a_training_that_is_over_holds_no_images() -> None:
    images = LabelledImages(torch.zeros(200, 3, 8, 8, dtype=torch.uint8), torch.arange(200) % 10)
    held = weakref.ref(images.pixels)
    task = Task(3, 8, tuple("0123456789"))
    training = ClassifierTraining("mine", images, images, Config(image_size=8), task, Engine(), seed=0)
    training.phase.step(0)
    del training, images
    assert held() is None


def test_alive_dropout_draws_anew_on_the_fly(finished: Adaptation) -> None:
    images = TranslatedImages(finished.source.labelled("train"), finished.translator())
    indices = torch.arange(20)
    first, labels = images.batch(indices)
    assert not torch.equal(first, images.batch(indices)[0])
    assert torch.equal(labels, finished.source.labelled("train").labels[:20])
    image, label = images[3]
    assert image.shape == (3, 8, 8)
    assert label == int(labels[3])


def test_whole_sets_are_translated_the_same_with_the_same_seed(finished: Adaptation) -> None:
    pixels = finished.source.images("val").pixels
    translator = finished.translator()
    assert torch.equal(translator.all(pixels, 1), translator.all(pixels, 1))
    assert not torch.equal(translator.all(pixels, 1), translator.all(pixels, 2))


def test_python_in_a_few_lines(finished: Adaptation, tmp_path: Path) -> None:
    run = start("digits", "digits-m", preset="demo", out=tmp_path / "run", **TINY)
    train_method(run)
    adapted = TranslatedImages(run.source.labelled("train"), run.translator())
    val = TranslatedImages(run.source.labelled("val"), run.translator()).batch(torch.arange(200))
    training = ClassifierTraining("mine", adapted, LabelledImages(*val), run.config, run.task, run.engine, seed=0)
    train(training.phase, run.run, run.engine, seed=0)
    probabilities = acclimate.Classifier([training.classifier], run.source.classes, run.engine).probabilities(
        run.target.images("test").pixels[:7]
    )
    assert probabilities.shape == (7, 10)


def test_disjoint_halves(tmp_path: Path) -> None:
    adaptation = start("digits", "digits-m", preset="demo", out=tmp_path / "run", disjoint=True, **TINY)
    assert (len(adaptation.data.source_train), len(adaptation.data.target_train)) == (599, 598)
    assert adaptation.content == "disjoint"
    whole = adaptation.source.labelled("train")
    assert torch.equal(adaptation.data.source_train.labels, whole.labels[::2])
    assert torch.equal(adaptation.data.target_train.pixels, adaptation.target.images("train").pixels[1::2])
    assert torch.equal(adaptation.data.source_val.labels, adaptation.source.labelled("val").labels[::2])
    assert len(adaptation.data.source_val.pixels) == len(adaptation.data.source_val.labels)


def test_source_only_as_a_method(tmp_path: Path) -> None:
    adaptation = adapt("digits", "digits-m", method="source-only", out=tmp_path / "run", **tiny("source-only"))
    result = adaptation.run.result
    assert result["accuracy"] == result["baselines"]["source_only"]
    with pytest.raises(RunError, match="does not translate"):
        adaptation.translator()


def test_folders_of_ones_own(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    source, target = make_folder("renders", count=40), make_folder("photos", ("day1", "day2", "day3"), 20, ".jpg")
    adaptation = adapt(source, target, preset="demo", out=tmp_path / "run", **TINY)
    result = adaptation.run.result
    assert result["accuracy"] is None
    assert result["baselines"] == {"source_only": None, "target_only": None}
    shutil.copy(next(target.rglob("*.jpg")), tmp_path / "one.jpg")
    rows = list(predict_files(Adaptation(tmp_path / "run"), [tmp_path / "one.jpg", source / "cat"]))
    assert len(rows) == 41
    assert all(name in ("cat", "dog") and 0.5 <= probability <= 1 for _, name, probability in rows)


def test_a_folder_target_with_labels_is_evaluated(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    adaptation = adapt(
        make_folder("a", count=40),
        make_folder("b", count=30),
        preset="demo",
        out=tmp_path / "run",
        **(TINY | {"classifier_epochs": 4}),
    )
    assert adaptation.run.result["protocol"]["splits"]["target"] == [48, 6, 6]
    for accuracy in adaptation.run.result["accuracy"]["runs"]:
        assert accuracy * 6 == pytest.approx(round(accuracy * 6), abs=1e-4)


def test_translated_files_keep_folders_and_names(
    finished: Adaptation, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source = make_folder("mine", ("3", "7"), 5, ".jpg")
    shutil.copy(source / "3" / "000.jpg", source / "3" / "000.bmp")
    count = translate_files(finished, source, tmp_path / "out")
    assert count == 11
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    assert {"3/001.png", "7/004.png", "3/000.png"} <= names
    assert len(names) == 11
    with Image.open(source / "3" / "001.jpg") as before, Image.open(tmp_path / "out" / "3" / "001.png") as after:
        assert after.size == (8, 8)
        plain = np.asarray(before.convert("RGB").resize((8, 8)), dtype=float)
        assert np.abs(np.asarray(after, dtype=float) - plain).mean() > 10  # redrawn by one that has hardly learnt
    with pytest.raises(DataError, match="not empty"):
        translate_files(finished, source, tmp_path / "out")
    translate_files(finished, "digits", tmp_path / "digits", snapshot=2)
    assert len(list((tmp_path / "digits" / "test").rglob("*.png"))) == 400
    assert {path.name for path in (tmp_path / "digits" / "train").iterdir()} == set("0123456789")
    with pytest.raises(RunError, match="no snapshot 3; it has 2, 4, 6"):
        translate_files(finished, source, tmp_path / "never", snapshot=3)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("digits", "nowhere", "no domain and no folder named 'nowhere'"),
        ("pets", "digits", r"has the classes cat, dog; digits has 0, 1"),
    ],
)
def test_pairs_that_cannot_be(
    make_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: str,
    message: str,
) -> None:
    make_folder("pets")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AcclimateError, match=message):
        start(source, target, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_images_for_a_batch_is_said(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match="the target has 5 training images, fewer than a batch of 8"):
        adapt(make_folder("s", count=40), make_folder("t", ("x", "y"), 3), preset="demo", out=tmp_path / "run", **TINY)


def launch(run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "acclimate", "run", "--resume", str(run), "--threads", "1"]
    with open(run / "stderr.txt", "w") as errors:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)


def test_killed_at_random_moments_and_resumed_gives_the_same_bytes(tmp_path: Path) -> None:
    settings = TINY | {"steps": 120, "snapshots": 4, "repeats": 1, "pool": 20, "ema": 0.9, "checkpoint_every": 10}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for path in (whole, broken):
        start("digits", "digits-m", preset="demo", out=path, **settings)
    assert launch(whole).wait(300) == 0, (whole / "stderr.txt").read_text()

    chance = random.Random(int.from_bytes(os.urandom(4), "big"))
    for number in range(3):  # kill once in the translator's beginning, middle and end
        process, wanted = launch(broken), chance.randrange(1 + 40 * number, 40 * (number + 1))
        while not any(int(path.stem) >= wanted for path in (broken / "checkpoints").rglob("*.safetensors")):
            assert process.poll() is None, (broken / "stderr.txt").read_text()
            time.sleep(0.002)
            if (broken / "models" / "method.json").exists():
                break
        time.sleep(0.2 * chance.random())
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert launch(broken).wait(300) == 0, (broken / "stderr.txt").read_text()
    assert weights_digest(broken) == weights_digest(whole)
    first, second = (json.loads((path / "result.json").read_text()) for path in (whole, broken))
    assert first["accuracy"] == second["accuracy"]


@pytest.mark.skipif(not _has_compiler(torch.device("cpu")), reason="no C++ compiler here")
def test_a_compiled_run_killed_and_resumed_gives_the_same_bytes(tmp_path: Path) -> None:
    settings = tiny("dann", steps=12, repeats=1, checkpoint_every=4, compile="on")  # it has the least to compile
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for path in (whole, broken):
        start("digits", "digits-m", method="dann", out=path, **settings)
    assert launch(whole).wait(300) == 0, (whole / "stderr.txt").read_text()
    process = launch(broken)
    while not list((broken / "checkpoints").rglob("*.safetensors")):
        assert process.poll() is None, (broken / "stderr.txt").read_text()
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert launch(broken).wait(300) == 0, (broken / "stderr.txt").read_text()
    assert "compile: yes" in (broken / "stderr.txt").read_text()
    assert weights_digest(broken) == weights_digest(whole)


def test_ctrl_c_says_how_to_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    start("digits", "digits-m", preset="demo", out=run, **(TINY | {"steps": 5000}))
    process = launch(run)
    while not ((run / "metrics.jsonl").exists() and '"translator"' in (run / "metrics.jsonl").read_text()):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert f"go on with: acclimate run --resume {run}" in (run / "stderr.txt").read_text()
    assert list((run / "checkpoints" / "translator").iterdir())


def test_a_target_whose_labels_are_not_in_every_split_is_adapted_to_but_not_measured(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source = make_folder("source", count=20)
    for split, label in (("train", "cat"), ("val", "unknown"), ("test", "unknown")):
        make_folder(f"target/{split}", classes=(label,), count=16)
    run = adapt(source, tmp_path / "target", preset="demo", out=tmp_path / "run", **TINY | {"repeats": 1})
    assert run.run.result["accuracy"] is None
    assert run.run.result["baselines"] == {"source_only": None, "target_only": None}


def test_the_peak_of_memory_is_the_processes_own() -> None:
    """And not what the process held that started it, as getrusage has it."""
    held = torch.ones(2**28)  # 1 GB
    code = "from acclimate.pipeline.environment import environment; from acclimate.training.engine import Engine"
    code += "; print(environment(Engine())['peak_memory_mb'])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert 50 < float(printed) < held.nbytes / 2**20
