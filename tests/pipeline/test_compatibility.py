"""What cannot be followed is refused before anything is trained; what can be is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acclimate import adapt
from acclimate.errors import AcclimateError
from acclimate.methods import find_config, find_method
from acclimate.methods.registry import method_names
from acclimate.pipeline.adapt import start
from acclimate.pipeline.compatibility import check_together
from acclimate.pipeline.selection import rules_of, score_snapshots
from helpers import tiny

ON_FEATURES = {"backbone": "efficientnet-lite0", "classifier": "linear", "image_size": 0}


@pytest.mark.parametrize(
    ("method", "preset", "changes", "words"),
    [
        ("dann", "fast", {"select": "kid"}, "kid is no score of dann; it has last, entropy"),
        ("self-training", "fast", {"select": "entropy"}, "no score of self-training; it has last$"),
        ("auto", "fast", {"select": "entropy"}, "no score of auto"),
        ("pixelda", "fast", {"select": "target-cycle"}, "no score of pixelda"),
        ("cycada", "fast", {"select": "discriminator-band"}, "no score of cycada"),
        ("dann", "fast", {"augment": "symbols"}, "dann learns from images as they are: leave out --augment"),
        ("pixelda", "fast", {"augment": "light"}, "leave out --augment, or add --classifier-stage self-training"),
        ("sbada-gan", "fast", {"both_directions": True}, "--both-directions is for methods that redraw both ways"),
        ("dtn", "fast", {"both_directions": True}, "dtn does not"),
        ("self-training", "photos", {"augment": "photos"}, "--tune all augments"),
        ("cyclegan", "photos", {"select": "target-cycle"}, "there is --select last only"),
        ("cyclegan", "photos", {"adapt": "on-the-fly"}, "with a backbone, offline only"),
        ("pixelda", "fast", ON_FEATURES, "pixelda works on images"),
        ("cogan", "fast", ON_FEATURES, "cogan works on images"),
        ("shot", "photos", {"classifier": "linear"}, "linear has no features that could adapt"),
        ("cdan", "photos", {"classifier": "linear"}, "linear has no features that could adapt"),
        ("dann", "photos", {"classifier": "linear"}, "linear has no features that could adapt"),
    ],
)
def test_refused_at_the_start(method: str, preset: str, changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match=words):
        start("digits", "digits-m", method=method, preset=preset, out=tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", method_names())
def test_every_preset_goes_together(method: str) -> None:
    for preset in find_config(method).presets:
        check_together(find_config(method).preset(preset), find_method(method))


def test_what_a_classifier_stage_brings_goes_together() -> None:
    stage = {"classifier_stage": "self-training", "augment": "symbols", "both_directions": True}
    for method in ("cyclegan", "sbada-gan"):
        check_together(find_config(method).preset("fast", **stage), find_method(method))


@pytest.mark.parametrize("method", ["adda", "cogan", "pixelda", "sbada-gan", "cycada"])
def test_the_rules_of_a_method_are_the_scores_that_its_snapshots_get(method: str, tmp_path: Path) -> None:
    settings = tiny(method, repeats=1, target_only=False)
    run = adapt("digits", "digits-m", method=method, out=tmp_path / "run", **settings)
    for row in score_snapshots(run, list(run.run.snapshots())[-1:]).values():
        assert {*row, "last"} == set(rules_of(run.method_class))
