from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from acclimate.errors import RunError
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.reporting.tables import Result, list_table, matrix_table, preset_of, published, read_results

ROOT = Path(__file__).parents[2]


def result(seed: int, adapted: float, **changes: Any) -> dict[str, Any]:
    part = {"mean": adapted, "std": 0.01, "runs": [adapted] * 3, "spread": "classifier seeds"}
    return {
        "schema": 1,
        "method": "cyclegan",
        "preset": "short",
        "source": "a",
        "target": "b",
        "seed": seed,
        "accuracy": part,
        "baselines": {"source_only": part | {"mean": 0.5}, "target_only": None},
        "config": asdict(CycleGANConfig.preset("short")),
        "seconds": {"total": 60.0},
        "device": "CPU, 2 cores",
        "threads": 2,
    } | changes


def at(*contents: dict[str, Any]) -> list[Result]:
    return [Result(Path(f"runs/{number}.json"), content) for number, content in enumerate(contents)]


def test_one_run_shows_its_classifier_seeds() -> None:
    cells = "| a → b | cyclegan short | 50.0 ± 1.0 | – | **80.0 ± 1.0** | – | – | – | 3 classifier seeds |"
    cells += " 1 on CPU, 2 threads |"
    assert f"{cells} [0](runs/0.json) |" in list_table(at(result(0, 0.8)))


def test_several_runs_show_pipeline_seeds() -> None:
    table = list_table(at(result(0, 0.7), result(1, 0.9)))
    assert "**80.0 ± 10.0** | – | – | – | 2 pipeline seeds" in table
    assert "[0](runs/0.json) [1](runs/1.json)" in table


def test_minutes_are_told_apart_by_machine() -> None:
    slow = {"seconds": {"total": 240.0}, "threads": 1}
    table = list_table(at(result(0, 0.7), result(1, 0.7, **slow), result(2, 0.7, seconds={"total": 180.0})))
    assert "| 4 on CPU, 1 thread; 2 on CPU, 2 threads |" in table


def test_a_single_training_has_no_spread() -> None:
    one = {"mean": 0.8, "std": 0.0, "runs": [0.8], "spread": "classifier seeds"}
    assert "| **80.0** | – | – | – | 1 classifier seed |" in list_table(at(result(0, 0.8, accuracy=one)))


def test_a_preset_goes_by_the_name_that_it_has_now() -> None:
    recorded = json.loads((ROOT / "docs/results/mnist-usps-cyclegan-short-0.json").read_text())
    assert recorded["preset"] == "fast"
    assert preset_of(recorded) == "short"
    assert preset_of(recorded | {"changes": {"steps": 4000}}) == "short"
    changed = recorded | {"config": recorded["config"] | {"steps": 1234}}
    assert preset_of(changed) == "fast of 0.1.0"  # none is like that any more
    assert preset_of(changed | {"changes": {"steps": 1234}}) == "short"
    assert preset_of(recorded | {"method": "somebody's own"}) == "fast"


def test_changed_settings_are_a_row_of_their_own() -> None:
    shorter = result(0, 0.7, changes={"steps": 3000, "lr_decay": "none"})
    table = list_table(at(result(0, 0.8), shorter, shorter | {"seed": 1}))
    assert "| cyclegan short | 50.0 ± 1.0 | – | **80.0 ± 1.0** |" in table
    assert "| cyclegan short, steps 3000, lr decay none | 50.0 ± 0.0 | – | **70.0 ± 0.0** |" in table
    switched = result(0, 0.7, changes={"both_directions": True, "align": False})
    assert "| cyclegan short, both directions, no align |" in list_table(at(switched))


def test_a_self_training_stage_is_told_in_a_word() -> None:
    stage = {"classifier_stage": "self-training", "classifier": "conv7", "augment": "light", "stage_steps": 1200}
    table = list_table(at(result(0, 0.8, changes=stage), result(0, 0.7, changes={"classifier": "conv7"})))
    assert "| cyclegan short, self-trained, augment light, stage steps 1200 |" in table
    assert "| cyclegan short, classifier conv7 |" in table


def pair_results() -> list[Result]:
    known = {"source": "mnist", "target": "usps"}
    return at(
        result(0, 0.8, **known),
        result(0, 0.85, method="dann", **known),
        result(0, 0.6),
        result(0, 0.9, target="usps", source="mnist", preset="short", method="adda", accuracy=None),
    )


def test_the_matrix_has_the_best_in_bold_and_published_numbers_in_brackets() -> None:
    lines = matrix_table(pair_results()).splitlines()
    assert lines[0] == "| method | a → b | mnist → usps |"
    assert "| source-only | 50.0 ± 1.0 | 50.0 ± 0.0 [79.3 ± 3.5, -29.3] |" in lines
    assert "| cyclegan | **60.0 ± 1.0** | 80.0 ± 1.0 [85.4 ± 1.6, -5.4] |" in lines
    assert "| dann | – | **85.0 ± 1.0** [85.1, -0.1] |" in lines
    assert any(line.startswith("| target-only | – | – [95.6 ± 0.4] |") for line in lines)
    assert "- mnist → usps, dann (3 classifier seeds): [0](runs/1.json)" in lines
    folded = matrix_table(pair_results(), folded=True).splitlines()
    assert folded[-1] == "</details>"
    assert folded.index("<details><summary>Seeds and files behind each number</summary>") < folded.index(lines[-1])


def test_a_bar_that_methods_share_counts_once_in_the_matrix() -> None:
    shared = {
        "source_only": {"mean": 0.4, "std": 0.0, "runs": [0.4], "spread": "classifier seeds"},
        "target_only": None,
    }
    own = {"source_only": shared["source_only"] | {"mean": 0.7, "runs": [0.7]}, "target_only": None}
    runs = [result(0, 0.8, baselines=shared), result(0, 0.8, method="dann", baselines=shared)]
    assert "| source-only | 55.0 ± 15.0 |" in matrix_table(at(*runs, result(1, 0.8, baselines=own)))


def test_bars_of_several_networks_stand_in_rows_of_their_own() -> None:
    known = {"source": "mnist", "target": "usps"}
    low = {"source_only": {"mean": 0.4, "std": 0.0, "runs": [0.4], "spread": "classifier seeds"}, "target_only": None}
    other = result(0, 0.9, method="dann", baselines=low, config={"classifier": "dann-bn"}, **known)
    lines = matrix_table(at(result(0, 0.8, **known), other)).splitlines()
    assert "| source-only dann-bn | 40.0 |" in lines
    assert "| source-only gta | 50.0 ± 1.0 [79.3 ± 3.5, -29.3] |" in lines
    assert "| dann | **90.0 ± 1.0** [85.1, +4.9] |" in lines


def test_csv_and_latex() -> None:
    rows = list(csv.DictReader(io.StringIO(list_table(pair_results(), "csv"))))
    assert [row["method"] for row in rows] == ["cyclegan short", "adda short", "cyclegan short", "dann short"]
    assert rows[2]["published"] == "85.4 ± 1.6"
    assert rows[2]["distance"] == "-5.4"
    assert rows[2]["files"] == "runs/0.json"
    latex = matrix_table(pair_results(), "latex")
    assert latex.startswith("\\begin{tabular}{lcc}\n\\toprule\nmethod & a $\\to$ b & mnist $\\to$ usps \\\\\n\\midrule")
    assert "dann & -- & \\textbf{85.0 $\\pm$ 1.0} [85.1, -0.1]" in latex
    assert "→" not in latex.split("\\end{tabular}")[0]


def test_published_numbers_name_their_source() -> None:
    data = json.loads((ROOT / "src" / "acclimate" / "reporting" / "published.json").read_text())
    assert all(one["from"] in data["sources"] and 0 < one["accuracy"] < 1 for one in data["results"])
    assert str(published("mnist", "mnist-m", "cyclegan")) == "83.7 ± 0.4"
    assert published("mnist", "svhn-8k", "cyclegan") == published("mnist", "svhn", "cyclegan") is not None
    assert published("a", "b", "cyclegan") is None


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


def test_the_documents_show_the_committed_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    folder = Path("docs/results")
    shown = [
        file
        for preset in ("short", "fast", "full", "best")
        for pair in ("mnist-mnist-*", "mnist-[su]*")
        for file in sorted(folder.glob(f"{pair}-{preset}-*.json"))
    ]
    matrix = matrix_table(read_results(shown), folded=True)
    assert f"<!-- results -->\n{matrix}\n<!-- /results -->" in Path("README.md").read_text()
    monkeypatch.chdir(folder)
    back = [file for source in ("usps", "mnist-m", "svhn-8k") for file in sorted(Path().glob(f"{source}-mnist-*.json"))]
    matrix = matrix_table(read_results(back), folded=True)
    assert f"<!-- results -->\n{matrix}\n<!-- /results -->" in Path("directions.md").read_text()
    table = list_table(read_results([Path()]))
    assert f"<!-- results -->\n{table}\n<!-- /results -->" in Path("README.md").read_text()


def test_what_brings_what_has_the_tables_numbers() -> None:
    text = (ROOT / "README.md").read_text()
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    table = {row[0]: [cell.split()[0] for cell in row[1:]] for row in rows if len(row) == 4 and row[0] != "method"}
    said = " ".join(text.partition("**What brings what**")[2].split())

    def whole(cells: list[str]) -> str:  # as a pattern: what is shown as 96.5 is 96 or 97
        return " / ".join(f"({math.floor(float(cell) + 0.5)}|{math.ceil(float(cell) - 0.5)})" for cell in cells)

    systems = (
        "source-only gta",
        "cyclegan short",
        "source-only conv7, symbols",
        "self-training fast",
        "self-training best",
        "cyclegan fast",
    )
    for system in systems:
        assert re.search(whole(table[system]), said), system
    assert re.search(f"CycleGAN and {whole(table['pixelda fast, self-trained, stage steps 1200'])} with PixelDA", said)
    alone, both = [], []
    for target, seed in (("mnist-m", 2), ("svhn-8k", 0), ("usps", 2)):
        one = json.loads((ROOT / f"docs/results/mnist-{target}-cyclegan-fast-directions-{seed}.json").read_text())
        alone.append([100 * one["directions"][f"{way}_accuracy"] for way in ("forth", "back")])
        both.append(100 * one["accuracy"]["mean"])
    first, second = ([one[way] for one in alone] for way in range(2))
    told = (" / ".join(f"{one:.{digits}f}" for one in some) for some, digits in ((both, 1), (first, 1), (second, 0)))
    assert "is right on {}, without it on {}, as the second alone reads {} %".format(*told) in said


def test_the_readme_has_the_figures_of_the_forecast() -> None:
    figures = json.loads((ROOT / "docs/results/forecast.json").read_text())["figures"]
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"it is off by {figures['mean_error']:.1f} points on average" in text
    assert f"its interval holds the truth in {100 * figures['held']:.0f} of 100 cases" in text
    assert f"Over {figures['runs']} runs, following the recommendation" in text
    lost = f"cost at most {figures['worst_harm']:.1f} points against the classifier without adaptation"
    assert f"{lost}, and {figures['mean_regret']:.1f} points on average against the better" in text


def test_the_readme_has_the_minutes_to_an_accuracy() -> None:
    rows = json.loads((ROOT / "docs/results/time-to-accuracy.json").read_text())["minutes"]
    fast, textbook = (
        {(row["target"], row["goal"]): row["minutes"] for row in rows if row["method"] == method}
        for method in ("self-training fast", "textbook self-training")
    )
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"83.7 % on mnist-m after {fast['mnist-m', 0.837]:.1f} minutes" in text
    assert f"95 % after {fast['mnist-m', 0.95]:.1f}, 80 % on svhn-8k after {fast['svhn-8k', 0.8]:.1f}" in text
    assert f"a textbook's loop needs {textbook['mnist-m', 0.837]:.1f} for the first and reaches neither" in text
    assert textbook["mnist-m", 0.95] is textbook["svhn-8k", 0.8] is None


def test_committed_results_carry_their_protocol() -> None:
    for one in (result.content for result in read_results([ROOT / "docs" / "results"])):
        assert one["selection"]["target_labels_used"] is False
        assert one["versions"]["torch"]
        assert one["commit"]
        assert one["protocol"]["data"]
