"""What people do to runs and to what they rest on: moved and changed folders, crashes, other machines."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acclimate import adapt
from acclimate.data.domains import DataOptions, open_domain
from acclimate.data.domains.base import _writable
from acclimate.errors import AcclimateError, DataError, InterruptedRunError, RunError
from acclimate.pipeline.export import export
from acclimate.pipeline.resuming import extend, move_data
from acclimate.pipeline.stages import run_stages
from acclimate.pipeline.starting import start
from acclimate.reporting.analysis import analyse
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.directory import Run
from acclimate.runs.inference import measure, predict_files, translate_files
from acclimate.runs.kept import keep_samples
from acclimate.training.locking import LockedError, locked
from acclimate.training.state import load_tree, save_tree
from helpers import TINY, tiny

MakeFolder = Callable[..., Path]
SMALL = TINY | {"repeats": 1, "target_only": False}


@pytest.fixture
def pets(make_folder: MakeFolder) -> tuple[Path, Path]:
    """Return a labelled folder of two classes, and one of the same in another style."""
    source, target = make_folder("src", ("ape", "cat"), 20), make_folder("target", ("ape", "cat"), 20)
    for file in target.rglob("*.png"):
        with Image.open(file) as image:
            Image.fromarray(255 - np.asarray(image)).save(file)
    return source, target


@pytest.fixture
def pets_run(pets: tuple[Path, Path], tmp_path: Path) -> Adaptation:
    return adapt(*pets, preset="demo", out=tmp_path / "run", **SMALL)


def predictions(run: Path, folder: Path) -> dict[str, str]:
    return {file.name: label for file, label, _ in predict_files(Adaptation(run), [folder])}


class TestARunIsWhole:
    """Case 1: what a run needs is in it."""

    def test_a_source_s_folders_may_be_renamed_or_added_to(
        self, pets_run: Adaptation, pets: tuple[Path, Path], make_folder: MakeFolder
    ) -> None:
        images, path = make_folder("new", ("any",), 9), pets_run.run.path
        before = predictions(path, images)
        (pets[0] / "ape").rename(pets[0] / "zebra")
        make_folder("src", ("bee",))
        assert predictions(path, images) == before
        assert Adaptation(path).task.classes == ("ape", "cat")
        assert measure(Adaptation(path), make_folder("other", ("ape", "cat"), 5))["test_images"] == 10

    @pytest.mark.parametrize("cache", ["there", "gone"])
    def test_it_is_used_without_its_folders(
        self,
        pets_run: Adaptation,
        pets: tuple[Path, Path],
        make_folder: MakeFolder,
        tmp_path: Path,
        cache: str,
        monkeypatch: pytest.MonkeyPatch,
        small_analysis: None,
    ) -> None:
        result, path = pets_run.run.result, shutil.move(pets_run.run.path, tmp_path / "elsewhere")
        for folder in pets:
            shutil.rmtree(folder)
        if cache == "gone":
            monkeypatch.setenv("ACCLIMATE_CACHE", str(tmp_path / "cache"))
        run = Adaptation(path)
        assert len(predictions(path, make_folder("new", ("any",), 9))) == 9
        assert translate_files(run, make_folder("more", ("any",), 4), tmp_path / "out") == 4
        assert measure(run)["accuracy"]["adapted"] == result["accuracy"]
        assert analyse(run).classes == ("ape", "cat")
        assert export(run, tmp_path / "exported")["model.onnx"].same_class == 1.0
        assert run.source.sizes() == {"train": 32, "val": 4, "test": 4}

    def test_it_measures_all_images_or_says_that_it_has_not_all(
        self, pets_run: Adaptation, pets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = measure(pets_run)
        for role in ("source", "target"):
            shutil.rmtree(pets_run.run.samples(role))
            with monkeypatch.context() as patch:
                patch.setattr("acclimate.runs.kept.SAMPLES", 3)
                keep_samples(getattr(pets_run, role), pets_run.run.samples(role), labelled=True)
        monkeypatch.setenv("ACCLIMATE_CACHE", str(tmp_path / "cache"))
        assert measure(Adaptation(pets_run.run.path)) == expected
        shutil.rmtree(pets[1])
        shutil.rmtree(tmp_path / "cache")
        with pytest.raises(DataError, match=r"only 3 of the 4 test images of .* are kept: name a domain"):
            measure(Adaptation(pets_run.run.path))
        extend(pets_run.run, {"steps": 9})
        with pytest.raises(DataError, match="is gone, and not in the cache any more"):
            run_stages(Adaptation(pets_run.run.path))

    def test_it_goes_on_where_its_images_have_moved_to(self, pets: tuple[Path, Path], tmp_path: Path) -> None:
        run = start(*pets, preset="demo", out=tmp_path / "run", **SMALL)
        run_stages(run)
        (run.run.path / "result.json").unlink()
        moved = [shutil.move(folder, tmp_path / f"moved-{folder.name}") for folder in pets]
        places = dict(zip(("source", "target"), moved, strict=True))
        move_data(run.run, places)  # type: ignore[arg-type]
        assert Adaptation(run.run.path).source.name == str(moved[0])
        run_stages(Adaptation(run.run.path))
        (Path(moved[1]) / "ape" / "000.png").unlink()
        with pytest.raises(RunError, match=r"the target .* is not what the run began with: 32 train, 4 val, 4 test"):
            move_data(run.run, {"target": moved[1]})


class TestChangedData:
    """Case 14."""

    def test_a_run_does_not_go_on_with_other_images(
        self, pets: tuple[Path, Path], tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object, **__: object) -> None:
            raise InterruptedRunError("stopped")

        run = start(*pets, preset="demo", out=tmp_path / "run", **SMALL)
        with monkeypatch.context() as patch:
            patch.setattr("acclimate.pipeline.stages.train_classifiers", stop)
            with pytest.raises(InterruptedRunError):
                run_stages(run)
        make_folder("target", ("bee",))
        with pytest.raises(RunError, match=r"put it back as it was, or start a new run"):
            run_stages(Adaptation(run.run.path))
        shutil.rmtree(pets[1] / "bee")
        run_stages(Adaptation(run.run.path))


def test_a_folder_for_evaluation_is_measured_whole(pets_run: Adaptation, make_folder: MakeFolder) -> None:
    """Case 5."""
    assert measure(pets_run, make_folder("more", ("ape", "cat"), 15))["test_images"] == 30
    assert measure(pets_run, make_folder("few", ("ape", "cat"), 2))["test_images"] == 4
    with pytest.raises(DataError, match="has no labels of the classes ape, cat: nothing to measure"):
        measure(pets_run, make_folder("none", ("x", "y"), 2))


def test_a_torn_line_of_metrics_is_dropped(pets: tuple[Path, Path], tmp_path: Path) -> None:
    """Case 11, and its neighbours: bytes that are no text, what is no entry."""
    run = adapt(*pets, preset="demo", out=tmp_path / "run", **SMALL)
    entries = list(run.run.metrics())
    file = run.run.path / "metrics.jsonl"
    whole = file.read_bytes()
    file.write_bytes(b'[]\n{"phase": 1}\n\xff\xfe\n\n' + whole + b'{"phase": "translator", "st')
    assert list(run.run.metrics()) == entries


class TestFoldersOfRuns:
    """Case 12."""

    def test_what_can_be_checked_is_checked_before_a_folder_is_made(
        self, pets: tuple[Path, Path], tmp_path: Path
    ) -> None:
        with pytest.raises(
            DataError, match=r"the source has 32 training images, fewer than a batch of 64: see --batch"
        ):
            start(*pets, preset="demo", out=tmp_path / "run", **SMALL | {"batch_size": 64})
        assert not (tmp_path / "run").exists()

    def test_a_run_that_has_trained_nothing_is_begun_anew(self, pets: tuple[Path, Path], tmp_path: Path) -> None:
        start(*pets, preset="demo", out=tmp_path / "run", **SMALL)
        run = start(*pets, preset="demo", out=tmp_path / "run", **SMALL | {"seed": 3})
        assert run.config.seed == 3
        with run.run.lock(), pytest.raises(RunError, match="another process"):
            start(*pets, preset="demo", out=tmp_path / "run", **SMALL)
        run_stages(run)
        with pytest.raises(RunError, match="holds another run"):
            start(*pets, preset="demo", out=tmp_path / "run", **SMALL)


class TestLocks:
    """Cases 15 and 17."""

    @pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
    def test_a_file_system_without_locks_stops_nothing(
        self, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def flock(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)
        with locked(tmp_path / "lock"):
            pass
        assert "files cannot be locked here" in capsys.readouterr().err

    def test_a_lock_is_held_once(self, tmp_path: Path) -> None:
        with locked(tmp_path / "lock"), pytest.raises(LockedError), locked(tmp_path / "lock"):
            pass
        with locked(tmp_path / "lock"):
            pass

    def test_a_system_without_fcntl_and_resource(self, pets: tuple[Path, Path], tmp_path: Path) -> None:
        """As on Windows, whose own locks are stood in for by a module that takes none."""
        script = (
            "import sys, types, subprocess, torch\n"
            "for name in ('fcntl', 'resource'): sys.modules[name] = None\n"
            "sys.modules['msvcrt'] = types.SimpleNamespace(locking=lambda *_: None, LK_NBLCK=1)\n"
            "import os; del os.sysconf\n"
            "from acclimate.commands import main\n"
            f"main({['evaluate', str(adapt(*pets, preset='demo', out=tmp_path / 'run', **SMALL).run.path)]!r})\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["test_images"] == 4


class TestExtension:
    """A run that goes on beyond its end."""

    def test_more_steps(self, pets: tuple[Path, Path], tmp_path: Path) -> None:
        run = adapt(*pets, preset="demo", out=tmp_path / "run", **SMALL | {"steps": 4, "snapshots": 2})
        bars = run.run.model("source-only-0").read_bytes()
        extend(run.run, {"steps": 8})
        assert not (run.run.path / "result.json").exists()
        extend(run.run, {"steps": 8})  # the same command again, before it has come to its end
        longer = Adaptation(run.run.path)
        result = run_stages(longer)
        assert max(longer.run.snapshots()) == 8
        assert 2 in longer.run.snapshots()
        assert longer.config.steps == 8  # type: ignore[attr-defined]
        assert result["extended"] == [{"from": {"steps": 4}, "to": {"steps": 8}}]
        assert result["selection"]["checkpoint"] == 8
        assert run.run.model("source-only-0").read_bytes() == bars
        steps = [entry["step"] for entry in longer.run.metrics("translator")]
        assert steps == sorted(set(steps))

    def test_without_a_schedule_it_is_as_if_it_had_been_longer_from_the_beginning(
        self, pets: tuple[Path, Path], tmp_path: Path
    ) -> None:
        settings = SMALL | {"lr_decay": "none"}
        whole = adapt(*pets, preset="demo", out=tmp_path / "whole", **settings | {"steps": 8})
        run = adapt(*pets, preset="demo", out=tmp_path / "run", **settings | {"steps": 4})
        extend(run.run, {"steps": 8})
        result = run_stages(Adaptation(run.run.path))
        assert result["accuracy"] == whole.run.result["accuracy"]
        last = [(path / "snapshots" / "00000008.safetensors").read_bytes() for path in (run.run.path, whole.run.path)]
        assert last[0] == last[1]

    def test_a_longer_stage(self, pets: tuple[Path, Path], tmp_path: Path) -> None:
        settings = {"image_size": 8, "stage_steps": 6, "classifier_batch_size": 8, "target_batch_size": 8}
        settings |= {"target_only": False, "ramp_start": 1, "ramp_end": 2, "precision": "float32"}
        run = adapt(*pets, method="self-training", preset="demo", out=tmp_path / "run", **settings)
        extend(run.run, {"stage_steps": 9})
        assert run_stages(Adaptation(run.run.path))["config"]["stage_steps"] == 9
        assert max(entry["step"] for entry in run.run.metrics("adapted-0")) == 9
        with pytest.raises(RunError, match="self-training, as it is set here, has no --steps"):
            extend(run.run, {"steps": 9})

    def test_as_it_is_typed(self, pets_run: Adaptation, pets: tuple[Path, Path], tmp_path: Path, run_cli: Any) -> None:
        moved = shutil.move(pets[1], tmp_path / "moved")
        code, _, err = run_cli("run", "--resume", pets_run.run.path, "--steps", 9, "--target", moved)
        assert code == 0, err
        assert "extended: steps from 6 to 9" in err
        assert pets_run.run.result["selection"]["checkpoint"] == 9
        assert pets_run.run.result["target"] == str(moved)
        code, _, err = run_cli("run", "--resume", pets_run.run.path, "--epochs=7")
        assert (code, "counts in steps: extend it with --steps" in err) == (2, True)

    def test_a_method_whose_steps_are_not_its_last_phase(self, pets: tuple[Path, Path], tmp_path: Path) -> None:
        settings = tiny("cycada", repeats=1, target_only=False, batch_size=4)
        with pytest.raises(DataError, match=r"the source has 32 training images, .* 128: see --feature-batch-size"):
            adapt(*pets, method="cycada", preset="paper", out=tmp_path / "run", **settings)
        settings["feature_batch_size"] = 4
        run = adapt(*pets, method="cycada", out=tmp_path / "run", **settings)
        with pytest.raises(RunError, match="cycada cannot be extended: --steps does not set the length"):
            extend(run.run, {"steps": 12})

    def test_a_stage_that_ended_by_itself_is_not_extended(self, pets: tuple[Path, Path], tmp_path: Path) -> None:
        settings = {"image_size": 8, "stage_steps": 6, "classifier_batch_size": 8, "target_batch_size": 8}
        run = adapt(*pets, method="self-training", preset="demo", out=tmp_path / "run", target_only=False, **settings)
        state = run.run.checkpoints("adapted-0")[-1]
        save_tree(state, load_tree(state) | {"stop": True})
        with pytest.raises(RunError, match="ended by itself after 6 steps, to keep from a collapse"):
            extend(run.run, {"stage_steps": 9})
        assert (run.run.path / "result.json").exists()

    def test_images_of_other_classes_are_not_among_those_measured(
        self, pets: tuple[Path, Path], make_folder: MakeFolder, tmp_path: Path, run_cli: Any
    ) -> None:
        make_folder("target", ("bird",), 60)
        run = adapt(*pets, preset="demo", out=tmp_path / "run", **SMALL)
        assert run.run.result["protocol"]["splits"]["target"][2] == 10
        measured = len(run.target.labelled("test"))
        assert 0 < measured < 10
        assert run.run.result["test_images"] == measured
        assert f"accuracy on {measured} target test images" in run_cli("run", "--resume", run.run.path)[1]

    def test_what_cannot_be_extended_is_said(self, pets_run: Adaptation) -> None:
        for lengths, message in (
            ({"steps": 6}, "has --steps 6 already: ask for more"),
            ({"epochs": 6}, "counts in steps: extend it with --steps"),
            ({"stage_steps": 9000}, "has no --stage-steps"),
        ):
            with pytest.raises(RunError, match=message):
                extend(pets_run.run, lengths)
        shutil.rmtree(pets_run.run.path / "checkpoints")
        with pytest.raises(RunError, match="has kept no training state"):
            extend(pets_run.run, {"steps": 9})
        assert (pets_run.run.path / "result.json").exists()


class TestResumption:
    """Cases 9 and 18."""

    @pytest.mark.parametrize(
        ("arguments", "refused"),
        [
            (["--classifier-lr", "0.5", "--seed=7", "--out", "x"], "--classifier-lr, --seed, --out"),
            (["--no-target-only"], "--no-target-only"),
            (["--method", "dann"], "--method"),
            (["digits", "digits-m"], "source and target"),
        ],
    )
    def test_settings_beside_resume_are_refused(
        self, arguments: list[str], refused: str, pets_run: Adaptation, run_cli: Any
    ) -> None:
        code, _, err = run_cli("run", "--resume", pets_run.run.path, *arguments)
        assert code == 2
        assert f"leave out {refused}" in err

    def test_the_threads_are_the_run_s(self, pets: tuple[Path, Path], tmp_path: Path, run_cli: Any) -> None:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            run = start(*pets, preset="demo", out=tmp_path / "run", **SMALL)
            torch.set_num_threads(2)
            code, _, err = run_cli("run", "--resume", run.run.path)
            assert (code, torch.get_num_threads()) == (0, 1)
            assert run.run.result["threads"] == 1
            (run.run.path / "result.json").unlink()
            code, _, err = run_cli("run", "--resume", run.run.path, "--threads", 2)
            assert code == 0
            assert "begun on 1 threads: on 2 its result will not be the same to the byte" in err
        finally:
            torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their names are Unicode")
def test_names_that_are_no_text_go_through_the_whole(
    pets: tuple[Path, Path], tmp_path: Path, run_cli: Any, small_analysis: None
) -> None:
    """Case 8."""
    source, target = pets
    strange = b"caf\xe9.png"
    (target / "ape" / "000.png").rename(os.fsdecode(os.fsencode(target / "ape") + b"/" + strange))
    (source / "ape" / "001.png").rename(os.fsdecode(os.fsencode(source / "ape") + b"/" + strange))
    run = adapt(*pets, preset="demo", out=tmp_path / "run", **SMALL)
    done = subprocess.run(
        [sys.executable, "-m", "acclimate", "predict", run.run.path, target / "ape"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert strange in done.stdout
    rows = list(csv.reader(done.stdout.decode("utf-8", "surrogateescape").splitlines()))
    assert any(Path(row[0]).name == os.fsdecode(strange) and Path(row[0]).is_file() for row in rows)
    code, _, _ = run_cli("predict", run.run.path, target / "ape", "--format", "jsonl")
    assert code == 0
    assert translate_files(run, source, tmp_path / "out") == 40
    assert any(b"caf" in os.fsencode(file) for file in (tmp_path / "out").rglob("*.png"))
    assert run_cli("report", run.run.path)[0] == 0


def test_a_damaged_file_of_a_run_is_named(pets_run: Adaptation) -> None:
    path = pets_run.run.path
    for name in ("config.json", "result.json", "data.json"):
        whole = (path / name).read_bytes()
        for damage in (b"", whole[: len(whole) // 2], b"\xff" * 20, b"[" * 100_000, b"null", b"{}"):
            (path / name).write_bytes(damage)
            with contextlib.suppress(AcclimateError):
                measure(Adaptation(path))
                _ = Run(path).result
        (path / name).write_bytes(whole)


def test_without_a_home_that_can_be_written_to(pets: tuple[Path, Path], tmp_path: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("ACCLIMATE_CACHE", "XDG_CACHE_HOME")
    }
    environment |= {"HOME": "/proc/1/nowhere", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "acclimate", "data", "prepare", pets[0]],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "): the cache is" in done.stderr


def test_a_cache_that_can_only_be_read(
    pets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACCLIMATE_CACHE", str(tmp_path / "shared"))
    there = open_domain(pets[0], DataOptions(image_size=8)).prepare()
    own = tempfile.TemporaryFile

    def refused(*arguments: Any, **options: Any) -> Any:
        if str(options.get("dir")).startswith(str(tmp_path / "shared")):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return own(*arguments, **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _writable.cache_clear()
    before = sorted((tmp_path / "shared").rglob("*"))
    assert open_domain(pets[0], DataOptions(image_size=8)).prepare() == there
    assert "Read-only file system" in capsys.readouterr().err
    run = adapt(*pets, preset="demo", out=tmp_path / "run", **SMALL | {"share_bars": True})
    assert run.run.result["accuracy"]
    assert sorted((tmp_path / "shared").rglob("*")) == before
    _writable.cache_clear()


def test_output_that_nobody_reads_to_its_end(pets_run: Adaptation, pets: tuple[Path, Path]) -> None:
    command = f"{sys.executable} -m acclimate predict {pets_run.run.path} {pets[0]} | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("language", ["C", "POSIX", "C.ISO-8859-1"])
def test_a_locale_that_is_not_utf8(language: str, pets_run: Adaptation, make_folder: MakeFolder) -> None:
    images = make_folder("new", ("élève",), 3)
    environment = os.environ | {"LC_ALL": language, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "40"}
    for arguments in (["predict", str(pets_run.run.path), str(images)], ["data", "list"], ["run", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "acclimate", *arguments], capture_output=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
