"""The report: its structure, its numbers, its size, and what it says where something is missing."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acclimate import Adaptation, adapt
from acclimate.methods import find_config
from acclimate.reporting import parts
from acclimate.reporting.analysis import Analysis
from acclimate.reporting.curves import Panel
from acclimate.reporting.page import write_report
from acclimate.reporting.page.charts import Group, line_chart, nice_ticks, scatter, thinned
from acclimate.reporting.page.comparison import Comparison
from acclimate.reporting.page.matrices import matrix
from acclimate.reporting.page.sprites import COLUMNS, LARGEST, Sheet
from acclimate.reporting.page.summary import Summary, bars, gap_closed, verdict
from acclimate.training.state import read_json, write_json
from helpers import TINY, tiny

VOID = {"meta", "input", "link", "br", "img"}


class Page(HTMLParser):
    """An HTML file as its elements; unbalanced tags are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} repeats an attribute"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        kind = self._open[-1] if self._open else ""
        {"script": self.scripts, "style": self.styles}.get(kind, self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(finished: Adaptation, analysed: Analysis, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report([finished], tmp_path_factory.mktemp("report") / "report.html").read_text()


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def check_structure(page: Page) -> None:
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert (link["href"] or "").removeprefix("#") in ids
    assert page.all("a")[0]["class"] == "skip"
    for tag, attributes in page.elements:
        if attributes.get("role") == "img":
            assert attributes["aria-label"], tag
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]
        if (attributes.get("class") or "").split()[:1] == ["cell"]:
            assert attributes.get("aria-hidden") == "true" or attributes.get("role") == "img"
        if tag == "section":
            assert attributes["aria-labelledby"] in ids
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("main")) == 1


def check_that_it_loads_nothing(html: str, page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert name not in attributes or (name == "src" and attributes[name].startswith("data:image/")), tag
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    assert set(re.findall(r"url\(([a-z]+:)", html)) == {"data:"}
    assert html.count("url(") <= 2  # the sheets of images
    assert not re.search(r"https?://", html)
    assert not re.search(r"@import|\bfetch\(|XMLHttpRequest|import\(", html)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def test_structure(html: str, page: Page) -> None:
    check_structure(page)
    check_that_it_loads_nothing(html, page)
    titles = [attributes["id"] for attributes in page.all("h2")]
    assert titles == [
        f"{name}-title"
        for name in (
            "result", "seen", "translation", "seen-as", "maps", "confusion", "mistakes", "training", "protocol",
            "settings",
        )
    ]  # fmt: skip


def test_numbers_are_the_results(finished: Adaptation, page: Page) -> None:
    result = finished.run.result
    measured = {
        "Source only": result["baselines"]["source_only"],
        "Adapted": result["accuracy"],
        "Target only": result["baselines"]["target_only"],
    }
    for name, part in measured.items():
        row = page.text[page.text.index(f"{name} ") :]
        assert f"{100 * part['mean']:.1f} ± {100 * part['std']:.1f}" in row
        assert ", ".join(f"{100 * value:.1f}" for value in part["runs"]) in row
    adapted = f"{100 * result['accuracy']['mean']:.1f}"
    assert f"{adapted} % of the target's test images" in page.text
    assert f"Adapted: {adapted} %" in page.text  # the confusion matrix
    for checksum in result["protocol"]["data"].values():
        assert checksum in page.text
    assert "1,197 training, 200 validation, 400 test images" in page.text
    for name in ("translation_noise", "classifier_lr", "cycle_weight"):
        assert name in page.text
    assert f"reach {100 * result['ensemble_accuracy']:.1f} %" in page.text


def test_every_point_and_card_has_its_image(analysed: Analysis, page: Page) -> None:
    cells = int(re.search(r"background-size: .*?\* (\d+)\);", "".join(page.styles))[1]) * COLUMNS
    loaded = [json.loads(text) for text in page.scripts if text.lstrip().startswith(("{", "["))]
    maps = [one for one in loaded if isinstance(one, dict) and "points" in one]
    assert [len(one["points"]) for one in maps] == [120, 80, 80]
    for one in maps:
        for x, y, group, label, cell, seen, sure in one["points"]:
            assert 0 <= x <= 400
            assert 0 <= y <= 400
            assert group < len(one["groups"])
            assert 0 <= label < 10
            assert cell < cells
            assert -1 <= seen < 10
            assert 0 <= sure <= 100
    assert loaded[[isinstance(one, list) for one in loaded].index(True)] == list(analysed.classes)
    cards = [attributes for attributes in page.all("figure") if "card" in (attributes.get("class") or "")]
    assert len(cards) == 30 + 36
    charts = [one for one in loaded if isinstance(one, dict) and "lines" in one]
    assert len(charts) == 8
    assert charts[-1]["unit"] == " %"


def test_names_of_folders_are_text_and_a_target_needs_no_labels(
    make_folder: Callable[..., Path], tmp_path: Path, small_analysis: None
) -> None:
    source = make_folder("<b>renders", ("a<b", "c&'\"d"), 60)
    target = make_folder("photos", ("day",), 40)
    run = adapt(source, target, preset="demo", out=tmp_path / "run", **TINY)
    html = write_report([run], tmp_path / "report.html").read_text()
    page = Page(html)
    check_structure(page)
    check_that_it_loads_nothing(html, page)
    assert not page.all("b")
    assert "<b>renders → photos" in page.text
    assert "a<b, seen as " in page.text
    assert "The target has no labels, so the accuracy there is unknown." in page.text
    assert "Left out of this page The target has no labels." in page.text
    assert not {"confusion-title", "mistakes-title"} & {heading["id"] for heading in page.all("h2")}
    assert "seen as" in page.text
    assert str(tmp_path) not in page.text


@pytest.mark.parametrize("method", ["source-only", "target-only"])
def test_a_run_that_does_not_adapt(method: str, tmp_path: Path, small_analysis: None) -> None:
    settings = tiny("source-only")
    run = adapt("digits", "digits-m", method=method, out=tmp_path / "run", **settings)
    page = Page(write_report([run], tmp_path / "report.html").read_text())
    check_structure(page)
    assert "This run does not adapt." in page.text
    assert "Translation" not in page.text
    assert ("It is the bar that trains on digits-m's own labels." in page.text) == (method == "target-only")
    maps = [svg for svg in page.all("svg") if (svg.get("aria-label") or "").startswith("t-SNE map")]
    assert len(maps) == (1 if method == "source-only" else 2)


def test_a_checkpoint_chosen_without_labels_is_shown(finished: Adaptation, analysed: Analysis, tmp_path: Path) -> None:
    copy = Adaptation(shutil.copytree(finished.run.path, tmp_path / "run"))
    selection = {
        "rule": "least entropy",
        "chosen": 4,
        "scores": {"2": {"entropy": 0.5, "FID": 30.0}, "4": {"entropy": 0.25, "FID": 20.0}, "6": {"entropy": 0.75}},
    }
    (copy.run.path / "selection.json").write_text(json.dumps(selection))
    page = Page(write_report([copy], tmp_path / "report.html").read_text())
    check_structure(page)
    assert "The rule “least entropy” chose step 4" in page.text
    assert "chosen: 4" in page.text
    assert "entropy over 6 steps: entropy from 0.5 to 0.75" in [svg.get("aria-label") for svg in page.all("svg")]


def test_the_forecast_stands_beside_the_accuracy(finished: Adaptation, analysed: Analysis, tmp_path: Path) -> None:
    copy = Adaptation(shutil.copytree(finished.run.path, tmp_path / "run"))
    result = copy.run.result
    result["forecast"] = {"mean": 0.5, "low": 0.4, "high": 0.625}
    result["accuracy"]["mean"] = 0.4
    (copy.run.path / "result.json").write_text(json.dumps(result))
    text = Page(write_report([copy], tmp_path / "report.html").read_text()).text
    assert "Forecast without target labels: 50.0 % , between 40.0 and 62.5 %, which is off by 10.0 points." in text


def test_several_runs_side_by_side(finished: Adaptation, analysed: Analysis, tmp_path: Path) -> None:
    other = shutil.copytree(finished.run.path, tmp_path / "other")
    result = read_json(other / "result.json")
    result["accuracy"] |= {"mean": 0.987654}
    result["protocol"]["data"]["digits"] = "0" * 32
    write_json(other / "result.json", result)
    config = read_json(other / "config.json")
    config["config"]["cycle_weight"] = 5.0
    write_json(other / "config.json", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("acclimate.reporting.page.analyse", lambda _: analysed)
        html = write_report([finished, Adaptation(other)], tmp_path / "comparison.html").read_text()
    page = Page(html)
    check_structure(page)
    check_that_it_loads_nothing(html, page)
    assert "98.8" in page.text
    assert f"{100 * finished.run.result['accuracy']['mean']:.1f} ±" in page.text
    assert "The runs have different copies of digits." in page.text
    assert "cycle_weight 8.0 5.0" in page.text
    assert "Recall of each class" in page.text
    cells = [attributes for attributes in page.all("span") if attributes.get("class") == "cell"]
    assert len(cells) == 2 * 2 * 10


def summary(title: str, **result: Any) -> Any:
    protocol = {"data": {"a": "1", "b": "2"}, "splits": {"source": [1, 2, 3], "target": [4, 5, 6]}, "content": "shared"}
    names = dict(zip(("source_name", "target_name"), title.split(" → "), strict=True))
    return SimpleNamespace(
        title=title,
        path=Path("runs/one"),
        analysis=SimpleNamespace(**names),
        result={"protocol": protocol | result, "device": "CPU", "threads": 2},
    )


@pytest.mark.parametrize(
    ("other", "caveats"),
    [
        (summary("a → b"), []),
        (summary("a → b", data={"a": "9", "b": "2"}), ["The runs have different copies of a."]),
        (summary("a → c", data={"a": "1", "c": "2"}), ["The runs are on different pairs of domains."]),
        (summary("a → b", splits={"source": [1, 2, 3], "target": [4, 5, 7]}), ["The runs split b differently."]),
        (
            summary("a → b", content="disjoint"),
            ["In some runs both domains show the same objects, in others they do not."],
        ),
    ],
)
def test_what_keeps_runs_from_being_compared_is_said(other: Any, caveats: list[str]) -> None:
    comparison = object.__new__(Comparison)
    comparison.runs = [summary("a → b"), other]
    assert comparison.caveats == caveats
    assert comparison.names == ["one (1)", "one (2)"]


def result(source: float, adapted: float | None, target: float | None) -> dict[str, Any]:
    def part(mean: float | None) -> dict[str, Any] | None:
        return None if mean is None else {"mean": mean, "std": 0.0, "runs": [mean]}

    return {"accuracy": part(adapted), "baselines": {"source_only": part(source), "target_only": part(target)}}


@pytest.mark.parametrize(
    ("numbers", "gap", "words"),
    [
        ((0.5, 0.75, 0.9), 62.5, "25.0 points more than without adaptation. That is 62 % of the way to"),
        ((0.5, 0.95, 0.9), 112.5, "That is more than a classifier trained on target labels reached, 90.0 %."),
        ((0.5, 0.4, 0.9), -25.0, "10.0 points fewer than without adaptation."),
        ((0.5, 0.75, None), None, "75.0 % of the target's test images are classified right, 25.0 points more than"),
        ((0.5, 0.75, 0.45), None, "25.0 points more than without adaptation."),
    ],
)
def test_the_verdict(numbers: tuple[float, float, float | None], gap: float | None, words: str) -> None:
    shown = bars(result(*numbers), "adapted")
    assert gap_closed(shown) == (None if gap is None else pytest.approx(gap))
    said = verdict(result(*numbers), "adapted", shown)
    assert words in said
    assert ("of the way" in said) == (gap is not None and 0 < gap <= 100)


def test_the_verdict_of_a_bar() -> None:
    source_only = result(0.5, 0.5, 0.9)
    shown = bars(source_only, "source-only")
    assert [bar.kind for bar in shown] == ["source-only", "target-only"]
    assert verdict(source_only, "source-only", shown).startswith("50.0 % of the target's test images")
    target_only = result(0.5, 0.9, None)
    assert [(bar.kind, bar.mean) for bar in bars(target_only, "target-only")] == [
        ("source-only", 50.0),
        ("target-only", 90.0),
    ]


def test_what_was_seen_is_said_as_it_was(finished: Adaptation, analysed: Analysis) -> None:
    said = {what: seen for what, seen, _ in Summary(finished, analysed).seen}
    assert said == {
        "Target labels, by the method": False,
        "Target labels, by the choice of the checkpoint": False,
        "Target test images, by any training": False,
        "Target labels, by the target-only bar": True,
        "Target labels, by the evaluation and this page": True,
    }
    other = Summary(finished, analysed)
    other.result["selection"]["target_labels_used"] = True
    other.result["protocol"]["transductive"] = True
    assert [seen for _, seen, _ in other.seen][:3] == [False, True, True]
    other.kind = "target-only"
    assert [seen for _, seen, _ in other.seen] == [True, True, True, True]
    unlabelled = Summary(finished, replace(analysed, confusion=None))
    assert unlabelled.seen[-1][:2] == ("Target labels, by the evaluation", False)


def test_settings_that_differ_from_the_preset_are_marked(finished: Adaptation, analysed: Analysis) -> None:
    settings = {name: (value, usual) for name, value, usual in Summary(finished, analysed).settings}
    assert settings["steps"] == ("6", str(find_config("cyclegan").preset("demo").steps))
    assert settings["cycle_weight"] == ("8.0", "")
    assert settings["target_only"] == ("yes", "")


class TestCharts:
    @pytest.mark.parametrize(
        ("low", "high", "ticks"),
        [
            (0, 12.1, [0, 5, 10, 15]),
            (0, 0.72, [0, 0.2, 0.4, 0.6, 0.8]),
            (0, 4500, [0, 2000, 4000, 6000]),
            (94.2, 99.1, [94, 96, 98, 100]),
            (3, 3, [3, 3 + 1e-9]),
        ],
    )
    def test_ticks_are_round_and_enclose(self, low: float, high: float, ticks: list[float]) -> None:
        found = nice_ticks(low, high)
        assert found[0] <= low
        assert found[-1] >= high
        if low < high:
            assert found == pytest.approx(ticks)

    def test_long_curves_are_means_over_stretches(self) -> None:
        steps = torch.arange(1.0, 241.0, dtype=torch.float64)
        thin = thinned(torch.stack([steps, 2 * steps], 1))
        assert len(thin) == 120
        assert thin[0].tolist() == [1.5, 3.0]
        assert thin[-1].tolist() == [240, 2 * 239.5]
        short = torch.tensor([[1.0, 5.0]])
        assert torch.equal(thinned(short), short)

    def test_positions_by_hand(self) -> None:
        points = torch.tensor([[50.0, 0.0], [100.0, 0.8]], dtype=torch.float64)
        chart = line_chart(Panel("loss", {"loss": points}), marked=50)
        assert (chart.last, chart.values) == (100, (0.0, 0.8))
        assert chart.lines[0].path == "M198.0 178.0L350.0 10.0"
        assert chart.lines[0].points == [(50, 0.0), (100, 0.8)]
        assert chart.marked is not None
        assert (chart.marked.position, chart.marked.text) == (198.0, "chosen: 50")
        assert chart.summary == "loss over 100 steps: loss from 0 to 0.8"
        assert chart.table == [("50", ["0"]), ("100", ["0.8"])]

    def test_accuracies_are_in_percent_and_the_band_lies_right(self) -> None:
        points = torch.tensor([[10.0, 0.75]], dtype=torch.float64)
        chart = line_chart(Panel("accuracy", {"D": points}, accuracy=True, band=(0.6, 0.8)))
        assert chart.values == (0, 100)
        assert chart.lines[0].points == [(10, 75)]
        assert chart.band == (pytest.approx(10 + 168 * 0.2), pytest.approx(168 * 0.2), "healthy: 60–80 %")

    def test_curves_of_other_lengths_leave_dashes_in_the_table(self) -> None:
        curves = {"a": torch.tensor([[1.0, 3.0], [2.0, 4.0]]), "b": torch.tensor([[1.0, 5.0]])}
        assert line_chart(Panel("loss", curves)).table == [("1", ["3", "5"]), ("2", ["4", "–"])]


def test_points_of_a_map_by_hand() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    seen = torch.tensor([1]), torch.tensor([0.987])
    groups = [
        Group("x", "source", torch.tensor([0, 1]), range(5, 7)),
        Group("y", "target", torch.tensor([-1]), [9], *seen),
    ]
    drawn = scatter("Pixels", "", points, groups)
    assert drawn.data["points"] == [(10, 390, 0, 0, 5, -1, 0), (390, 10, 0, 1, 6, -1, 0), (200, 200, 1, -1, 9, 1, 99)]
    assert [(cloud.mark, sorted(cloud.paths)) for cloud in drawn.clouds] == [("circle", [0, 1]), ("square", [-1])]
    assert drawn.clouds[0].paths[0].startswith("M10.0 390.0m-3 0a3 3")


def test_many_classes_are_listed_by_their_confusions() -> None:
    classes = [f"c{number}" for number in range(21)]
    counts = torch.eye(21, dtype=torch.int64) * 8
    counts[3, 7], counts[20, 0] = 2, 5
    shown = matrix("Adapted", "true", "predicted", counts, classes)
    assert shown.shares == []
    assert shown.confusions == [("c20", "c0", 5), ("c3", "c7", 2)]
    assert shown.diagonal == pytest.approx(100 * 168 / 175)
    assert (3, 7, 2) in shown.cases
    assert len(shown.cases) == 23
    assert shown.by_recall[:2] == [20, 3]
    with Image.open(io.BytesIO(base64.b64decode(shown.picture.partition(",")[2]))) as picture:
        assert picture.size == (21, 21)
        red = np.asarray(picture)[..., 0]
    assert (red.diagonal() < red[3, 7]).all()
    assert red[3, 7] < red[7, 3]
    few = matrix("Adapted", "true", "predicted", counts[:2, :2], ["cat", "elephant"])
    assert few.shares == [[100, 0], [0, 100]]
    assert (few.picture, few.cases, few.level) == ("", [], False)


class TestSheet:
    def test_cells_are_numbered_as_they_are_added_and_keep_their_pixels(self) -> None:
        sheet = Sheet(8)
        images = torch.randint(0, 256, (COLUMNS + 2, 3, 8, 8), dtype=torch.uint8)
        gray = torch.full((1, 1, 8, 8), 77, dtype=torch.uint8)
        assert (sheet.add(images), sheet.add(gray)) == (range(COLUMNS + 2), range(COLUMNS + 2, COLUMNS + 3))
        assert sheet.rows == 2
        kind, data = sheet.data_uri().split(",")
        assert kind == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape == (16, 8 * COLUMNS, 3)
        assert (pixels[8:, 8:16] == images[COLUMNS + 1].permute(1, 2, 0).numpy()).all()
        assert (pixels[8:, 16:24] == 77).all()

    def test_large_images_are_shrunk(self) -> None:
        sheet = Sheet(200)
        sheet.add(torch.full((1, 3, 200, 200), 9, dtype=torch.uint8))
        assert sheet.cell == LARGEST

    @pytest.mark.parametrize("cell", [32, LARGEST])
    def test_a_report_full_of_noise_stays_below_fifteen_megabytes(self, cell: int) -> None:
        most = 3 * parts.SAMPLE + 2 * parts.NEIGHBOURS_OF + parts.FILM_IMAGES * parts.FILM_FRAMES
        most += 6 * parts.CYCLES + parts.MISTAKES
        sheet = Sheet(cell)
        sheet.add(torch.randint(0, 256, (2 * COLUMNS, 3, cell, cell), dtype=torch.uint8))
        assert len(sheet.data_uri()) / sheet.count * most < 10e6


def luminance(colour: str) -> float:
    colour = "#" + "".join(2 * digit for digit in colour[1:]) if len(colour) == 4 else colour
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_enough_in_light_dark_and_print() -> None:
    style = (files("acclimate.reporting.page") / "templates" / "style.css").read_text()
    schemes = [dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)]
    assert len(schemes) == 3
    for scheme in schemes:
        for text in ("ink", "muted", "accent", "flag"):
            assert contrast(scheme[text], scheme["paper"]) >= 4.5, text
        for ground in ("heat-most", "soft", "band"):
            assert contrast(scheme["ink"], scheme[ground]) >= 4.5, ground
        assert contrast(scheme["muted"], scheme["band"]) >= 4.5
        for shape in ("source", "adapted", "target", *(f"line{number}" for number in range(6))):
            assert contrast(scheme[shape], scheme["paper"]) >= 3, shape
