from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acclimate.errors import RunError
from acclimate.tables import markdown, read_results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


def result(seed: int, adapted: float, **changes: Any) -> dict[str, Any]:
    part = {"mean": adapted, "std": 0.01, "runs": [adapted] * 3, "spread": "classifier seeds"}
    return {
        "schema": 1,
        "method": "cyclegan",
        "preset": "fast",
        "source": "a",
        "target": "b",
        "seed": seed,
        "accuracy": part,
        "baselines": {"source_only": part | {"mean": 0.5}, "target_only": None},
        "seconds": {"total": 60.0},
        "device": "CPU, 2 cores",
        "threads": 2,
    } | changes


def test_one_run_shows_its_classifier_seeds() -> None:
    assert (
        "| a → b | cyclegan `fast` | 50.0 ± 1.0 | **80.0 ± 1.0** | – | 3 classifier seeds | 1 | CPU, 2 threads |"
        in markdown([result(0, 0.8)])
    )


def test_several_runs_show_pipeline_seeds() -> None:
    assert "**80.0 ± 10.0** | – | 2 pipeline seeds" in markdown([result(0, 0.7), result(1, 0.9)])


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(json.dumps(result(0, 0.7)))
    (tmp_path / "run" / "config.json").write_text("{}")
    assert len(read_results([tmp_path])) == 1
    with pytest.raises(RunError, match="is not a result file"):
        read_results([tmp_path / "run" / "config.json"])
    with pytest.raises(RunError, match="cannot read"):
        read_results([tmp_path / "none.json"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="no result file"):
        read_results([tmp_path / "empty"])


def test_the_readme_shows_the_committed_results() -> None:
    table = markdown(read_results([RESULTS])) if any(RESULTS.rglob("*.json")) else ""
    assert f"<!-- results -->\n{table}\n<!-- /results -->" in (ROOT / "README.md").read_text()


def test_committed_results_carry_their_protocol() -> None:
    for one in read_results([RESULTS]) if any(RESULTS.rglob("*.json")) else []:
        assert one["selection"]["target_labels_used"] is False
        assert one["versions"]["torch"]
        assert one["commit"]
        assert one["protocol"]["data"]
