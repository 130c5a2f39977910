"""The matrix: what is done is skipped, what failed stops nothing, several processes share it out."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from acclimate.errors import AcclimateError
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.pipeline.benchmark import Matrix, claim, parse_pairs, run_matrix, slurm_script, typed_settings
from acclimate.pipeline.starting import start
from helpers import TINY

SETTINGS = {name: str(value) for name, value in TINY.items()} | {"share_bars": "true", "repeats": "1"}


def matrix(out: Path, *methods: str, **changes: str) -> Matrix:
    return Matrix((("digits", "digits-m"),), methods, 1, "fast", out, SETTINGS | changes, {"threads": "1"})


def test_a_failing_cell_stops_nothing_and_what_is_done_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = matrix(tmp_path / "bench", "cyclegan", "source-only", batch_size="5000")
    failed = run_matrix(wanted)
    assert [cell.method for cell in failed] == ["cyclegan"]
    assert "fewer than a batch of 5000" in next(iter(failed.values()))
    result = tmp_path / "bench" / "digits-digits-m-source-only-0" / "result.json"
    assert json.loads(result.read_text())["method"] == "source-only"
    written = result.stat().st_mtime_ns
    assert list(run_matrix(matrix(tmp_path / "bench", "source-only"))) == []
    assert result.stat().st_mtime_ns == written
    capsys.readouterr()


def test_a_claimed_cell_is_left_to_whoever_is_at_it(tmp_path: Path) -> None:
    wanted = matrix(tmp_path, "source-only")
    (cell,) = wanted.cells()
    with claim(wanted, cell) as ours:
        assert ours
        with claim(wanted, cell) as again:
            assert not again
        assert run_matrix(wanted) == {}
    assert not wanted.is_done(cell)


def test_an_interrupted_matrix_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "acclimate", "bench", "--pairs=digits:digits-m", "--methods=cyclegan", "--seeds=1"]
    command += [f"--out={tmp_path / 'bench'}", "--threads=1", "--no-estimate"]
    command += [f"--set={name}={value}" for name, value in (SETTINGS | {"steps": "100000", "snapshots": "1"}).items()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "bench" / "digits-digits-m-cyclegan-0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    wanted = matrix(tmp_path / "bench", "cyclegan", steps="100000", snapshots="1")
    (cell,) = wanted.cells()
    assert "--resume" in wanted.arguments(cell)
    assert list((metrics.parent / "checkpoints" / "translator").glob("*.safetensors"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_cell_stops_when_the_matrix_is_killed_and_the_next_one_takes_over(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "acclimate", "bench", "--pairs=digits:digits-m", "--methods=cyclegan", "--seeds=1"]
    command += [f"--out={tmp_path / 'bench'}", "--threads=1", "--no-estimate"]
    command += [f"--set={name}={value}" for name, value in (SETTINGS | {"steps": "100000", "snapshots": "1"}).items()]

    def at_work() -> list[str]:
        found = []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found.append((process / "cmdline").read_text())
        return [text for text in found if str(tmp_path) in text]

    def wait(until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not until() and time.monotonic() < deadline:
            time.sleep(0.2)

    metrics = tmp_path / "bench" / "digits-digits-m-cyclegan-0" / "metrics.jsonl"
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    wait(lambda: metrics.exists() and bool(metrics.read_text()))
    process.kill()
    process.communicate()
    steps = len(metrics.read_text())
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait(lambda: len(metrics.read_text()) > 2 * steps)
    assert len([line for line in at_work() if "\0run\0" in line]) == 1
    process.send_signal(signal.SIGTERM)
    assert "the same command goes on" in process.communicate(timeout=120)[1]
    wait(lambda: not at_work())
    assert not at_work()


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_processes_share_a_matrix_out_and_nothing_is_lost_when_one_dies(tmp_path: Path) -> None:
    out, methods = tmp_path / "bench", ("source-only", "target-only", "dann", "adda")
    command = [sys.executable, "-m", "acclimate", "bench", "--pairs=digits:digits-m", "--seeds=1", "--threads=1"]
    command += [f"--methods={','.join(methods)}", f"--out={out}", "--no-estimate"]
    command += [f"--set={name}={value}" for name, value in SETTINGS.items()]

    def started() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    first, second = started(), started()
    deadline = time.monotonic() + 200
    while not list(out.glob("*/config.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.kill()
    first.communicate()
    _, errors = second.communicate(timeout=300)
    third = started()  # takes up what died, if the second had passed it by
    _, more = third.communicate(timeout=300)
    assert (second.returncode, third.returncode) == (0, 0)
    assert sorted(path.parent.name for path in out.glob("*/result.json")) == sorted(
        f"digits-digits-m-{name}-0" for name in methods
    )
    taken = [line.split(", ")[1] for text in (errors, more) for line in text.splitlines() if "log in" in line]
    assert len(taken) == len(set(taken))


def test_cells_come_seed_by_seed() -> None:
    wanted = Matrix(parse_pairs("a:b,a:c"), ("source-only", "cyclegan"), 2, "fast", Path("out"), {}, {})
    assert [cell.seed for cell in wanted.cells()] == [0] * 4 + [1] * 4
    assert all(f"--seed={cell.seed}" in wanted.arguments(cell) for cell in wanted.cells())


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    assert parse_pairs("mnist:usps,a/b:c/d") == (("mnist", "usps"), ("a/b", "c/d"))
    with pytest.raises(AcclimateError, match="SOURCE:TARGET"):
        parse_pairs("mnist-usps")
    with pytest.raises(AcclimateError, match="Did you mean 'cyclegan'"):
        matrix(tmp_path, "cyclegun")
    with pytest.raises(AcclimateError, match="Did you mean 'steps'"):
        matrix(tmp_path, "cyclegan", stepz="3")
    with pytest.raises(AcclimateError, match="dann learns from images as they are"):
        matrix(tmp_path, "cyclegan", "dann", augment="light")
    with pytest.raises(AcclimateError, match="int expected"):
        typed_settings(CycleGANConfig, {"steps": "many"})
    assert typed_settings(CycleGANConfig, {"steps": "3", "strict": "true", "lr": "1e-3"}) == {
        "steps": 3,
        "strict": True,
        "lr": 1e-3,
    }


def test_a_matrix_can_be_handed_to_slurm(tmp_path: Path) -> None:
    script = slurm_script(matrix(tmp_path, "cyclegan"), ["--pairs", "my photos:b", "--no-estimate"], 4)
    assert "#SBATCH --array=0-3" in script
    assert "\nexec acclimate bench --pairs 'my photos:b' --no-estimate  #" in script
    assert "--set 'classes=a->b'" in slurm_script(matrix(tmp_path, "cyclegan"), ["--set", "classes=a->b"], 4)


def test_names_of_cells_tell_them_apart(tmp_path: Path) -> None:
    pairs = parse_pairs("mnist:a,mnist:b,amazon/images:webcam/images,dslr/images:webcam/images")
    cells = Matrix(pairs, ("dann", "mcc"), 2, "fast", tmp_path, {}, {}).cells()
    assert len({cell.name for cell in cells}) == 16
    assert cells[0].name == "mnist-a-dann-0"
    assert cells[4].name == "amazon_images-webcam_images-dann-0"


def test_a_folder_of_other_runs_is_refused(tmp_path: Path) -> None:
    (cell,) = matrix(tmp_path, "source-only").cells()
    start("digits", "digits-m", method="source-only", preset="fast", out=tmp_path / cell.name)
    plain = Matrix((("digits", "digits-m"),), ("source-only",), 1, "fast", tmp_path, {}, {})
    with pytest.raises(AcclimateError, match="choose another --out"):
        matrix(tmp_path, "source-only")  # with other settings
    for changes in ({"preset": "paper"}, {"pairs": ((str(tmp_path / "digits"), "digits-m"),)}):
        with pytest.raises(AcclimateError, match="choose another --out"):
            replace(plain, **changes)
