"""The harness of ``make torture``, rehearsed: a few files of each kind, and that it would notice."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest
from torture import damage, full_disk, work

from acclimate.errors import DataError
from acclimate.pipeline.adapt import adapt
from acclimate.training.state import load_tree, write_json
from helpers import TINY

SEEDS = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torture")
    settings = TINY | {"repeats": 1}
    return adapt(*work.make_folders(folder), preset="demo", out=folder / "run", **settings).run.path


@pytest.mark.parametrize("kind", damage.COUNTS)
def test_damaged_files_are_read_or_refused(kind: str, run: Path, tmp_path: Path) -> None:
    originals = damage.Originals(tmp_path, run)
    taken = [damage._attempt(originals.case(kind, seed)) for seed in range(SEEDS)]
    assert set(taken) <= {"read", "refused"}, taken


def test_what_escapes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> None:
        raise KeyError("tree")

    def hang() -> None:
        while True:
            pass

    def refuse() -> None:
        raise DataError("no image")

    monkeypatch.setattr(damage, "SECONDS", 1)
    assert damage._attempt(read).startswith("KeyError: 'tree' (test_torture.py")
    assert damage._attempt(hang) == "took more than 1 s"
    assert damage._attempt(refuse) == "refused"
    assert damage._attempt(lambda: None) == "read"


def test_mutations_are_the_same_each_time_and_change_something() -> None:
    data = bytes(range(256)) * 4
    found = [damage.mutate(data, random.Random(seed)) for seed in range(50)]
    assert found == [damage.mutate(data, random.Random(seed)) for seed in range(50)]
    assert sum(one == data for one in found) <= 5


def test_a_disk_is_full_from_a_write_on(tmp_path: Path) -> None:
    disk = full_disk.Disk(2)
    with full_disk.on(disk), open(tmp_path / "a", "w") as file:
        file.write("one")
        with pytest.raises(OSError, match="No space left") as error:
            file.write("two")
        assert error.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "folder").mkdir()
    assert (tmp_path / "a").read_text() == "one"
    (tmp_path / "folder").mkdir()


def test_runs_are_compared_by_what_does_not_tell_of_times(run: Path, tmp_path: Path) -> None:
    before = work.content(run)
    assert {"result.json", "metrics.jsonl", "models/adapted-0.safetensors"} <= before.keys()
    assert "models/method.json" not in before
    stored = load_tree(run / "models" / "adapted-0.safetensors")
    assert stored["seconds"] > 0
    write_json(tmp_path / "a" / "x.json", {"seconds": 1, "value": 2})
    first = work.content(tmp_path / "a")
    write_json(tmp_path / "a" / "x.json", {"seconds": 3, "value": 2})
    assert work.content(tmp_path / "a") == first
    write_json(tmp_path / "a" / "x.json", {"seconds": 3, "value": 4})
    assert work.content(tmp_path / "a") != first
