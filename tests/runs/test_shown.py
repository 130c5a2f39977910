"""What a notebook shows of a run."""

from __future__ import annotations

import re

from acclimate.pipeline.starting import start
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.shown import as_html
from helpers import TINY


def test_a_finished_run_is_a_table(finished: Adaptation) -> None:
    shown = finished._repr_html_()
    result = finished.run.result
    assert "digits → digits-m" in shown
    for name in ("source-only", "adapted", "target-only", "forecast"):
        assert f"<td>{name}</td>" in shown
    assert f"<td>{100 * result['accuracy']['mean']:.1f} %</td>" in shown
    gain = 100 * (result["accuracy"]["mean"] - result["baselines"]["source_only"]["mean"])
    assert f"<td>{gain:+.1f}</td>" in shown


def test_what_is_unknown_is_said(finished: Adaptation) -> None:
    bare = finished.run.result | {
        "accuracy": None,
        "baselines": dict.fromkeys(finished.run.result["baselines"]),
        "forecast": None,
        "findings": [{"text": "a <b>"}],
        "target": "/some/where/photos/",
    }
    del bare["recommendation"]
    shown = as_html(bare, "adapted")
    assert "accuracy unknown" in shown
    assert "digits → photos" in shown
    assert "a &lt;b&gt;" in shown
    assert not re.search(r"forecast|recommended", shown)


def test_an_unfinished_run_says_so(tmp_path) -> None:  # type: ignore[no-untyped-def]
    adaptation = start("digits", "digits-m", preset="demo", out=tmp_path / "run", **TINY)
    assert "has not finished" in adaptation._repr_html_()
