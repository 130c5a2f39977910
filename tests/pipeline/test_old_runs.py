"""Runs made before the package was laid out in rooms, kept as files: they open, report, measure the same and resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from acclimate import Adaptation, resume
from acclimate.reporting.page import write_report
from acclimate.runs.inference import measure

OLD = Path(__file__).parents[1] / "old_runs"
ONE_IMAGE = 1 / 400
"""Another processor may see one of the 400 test images otherwise."""


@pytest.fixture
def finished_then(tmp_path: Path) -> Path:
    """Return a copy of a finished run of CycleGAN."""
    return Path(shutil.copytree(OLD / "finished", tmp_path / "finished"))


def shape(value: Any) -> Any:
    """Return the names and kinds of everything in a JSON value."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def test_it_measures_as_it_did(finished_then: Path) -> None:
    stored = json.loads((finished_then / "result.json").read_text())
    found = measure(Adaptation(finished_then))["accuracy"]
    assert found["adapted"]["mean"] == pytest.approx(stored["accuracy"]["mean"], abs=ONE_IMAGE)
    for kind in ("source_only", "target_only"):
        mean = stored["baselines"][kind]["mean"]
        assert found[kind.replace("_", "-")]["mean"] == pytest.approx(mean, abs=ONE_IMAGE)


def test_it_reports(finished_then: Path, small_analysis: None) -> None:
    page = write_report([Adaptation(finished_then)], finished_then / "report.html").read_text()
    assert "66.8" in page  # its target-only, in %


def test_a_finished_one_is_left_as_it_is(finished_then: Path) -> None:
    before = {path: path.read_bytes() for path in finished_then.rglob("*") if path.is_file() and path.name != ".lock"}
    resume(finished_then)
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_missing_is_done_again_and_the_result_has_the_same_fields(finished_then: Path) -> None:
    stored = json.loads((finished_then / "result.json").read_text())
    for name in ("result.json", "models/adapted-0.safetensors", "translated/val.json"):
        (finished_then / name).unlink()
    result = resume(finished_then).run.result
    assert {name: value for name, value in result["config"].items() if name in stored["config"]} == stored["config"]
    result["forecast"]["by"] = stored["forecast"]["by"]  # it weighs other evidence now
    known = {name: value for name, value in result.items() if name in stored}  # fields and settings may come to it
    assert shape({**known, "config": stored["config"]}) == shape(stored)
    assert list(known) == list(stored)
    for same in ("changes", "protocol", "selection", "schema"):
        assert result[same] == stored[same]


def test_one_that_was_stopped_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = Path(shutil.copytree(OLD / "unfinished", tmp_path / "unfinished"))
    logged = (path / "metrics.jsonl").read_text()
    run = resume(path).run
    assert (path / "metrics.jsonl").read_text().startswith(logged)
    assert [entry["step"] for entry in run.metrics("adversarial")] == [20, 37, 40]
    assert list(run.snapshots()) == [40]
    assert run.result["method"] == "dann"
