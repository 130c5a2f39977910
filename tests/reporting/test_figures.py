"""The figures of a run: every file, what is left out and why, and what the drawings say."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from acclimate import Adaptation, adapt
from acclimate.reporting.analysis import Analysis
from acclimate.reporting.figures import FIGURES, write_figures
from acclimate.reporting.figures.classification import draw_confusion, draw_flips
from acclimate.reporting.figures.images import draw_film, draw_repeats
from acclimate.reporting.figures.maps import draw_source_features
from acclimate.reporting.figures.style import image_rows, strip, styled
from acclimate.reporting.figures.training import draw_training, smoothed
from acclimate.training.state import read_json, write_json
from helpers import tiny


@pytest.fixture(autouse=True)
def _styled() -> Iterator[None]:
    with styled():
        yield


def words(figure: Figure) -> list[str]:
    """Return every text of a figure."""
    texts = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        texts += [text.get_text() for text in axes.texts]
        texts += [axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()]
        legend = axes.get_legend()
        texts += [text.get_text() for text in legend.get_texts()] if legend else []
    return [text for text in texts if text]


def test_every_figure_in_both_formats(finished: Adaptation, analysed: Analysis, tmp_path: Path) -> None:
    record = write_figures(finished, tmp_path)
    assert record["left_out"] == {}
    assert list(record["figures"]) == [name for name in FIGURES if name != "self-training"]
    assert read_json(tmp_path / "figures.json") == record
    for figure in record["figures"].values():
        for name in figure["files"]:
            if name.endswith(".pdf"):
                assert (tmp_path / name).read_bytes().startswith(b"%PDF")
            else:
                with Image.open(tmp_path / name) as picture:
                    assert min(picture.size) > 100, name
                    assert len(np.unique(np.asarray(picture.convert("L")))) > 2, f"{name} is empty"
    with Image.open(tmp_path / "film.webp") as film:
        assert film.n_frames == 3
    for made in record["settings"]["tsne"].values():
        assert {"perplexity", "seed", "points", "kl_divergence"} <= made.keys()


def test_equal_analyses_give_equal_files(finished: Adaptation, analysed: Analysis, tmp_path: Path) -> None:
    write_figures(finished, tmp_path / "a", ["pdf"])
    write_figures(finished, tmp_path / "b", ["pdf"])
    assert not list((tmp_path / "a").glob("*.png"))
    for path in (tmp_path / "a").glob("*.pdf"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_what_makes_no_sense_is_left_out_with_its_reason(
    make_folder: Callable[..., Path], tmp_path: Path, small_analysis: None
) -> None:
    settings = tiny("source-only")
    source, target = make_folder("renders", count=60), make_folder("photos", ("day",), 30)
    run = adapt(source, target, method="source-only", out=tmp_path / "run", **settings)
    record = write_figures(run, tmp_path / "figures", ["png"])
    assert list(record["figures"]) == ["domains", "source-features"]
    translates_not = "the method source-only does not translate images"
    assert record["left_out"] == {
        "training": "the method source-only trains nothing but classifiers",
        "nearest": translates_not,
        "pixels": translates_not,
        "features": "source-only does not adapt",
        "confusion": "the target has no labels",
        "cycles": translates_not,
        "repeats": translates_not,
        "film": translates_not,
        "flips": translates_not,
    }
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == {"domains", "source-features"}


def test_without_anything_random_repetitions_are_left_out(finished: Adaptation, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("acclimate.reporting.parts.SAMPLE", 12)
        copy = shutil.copytree(finished.run.path, tmp_path / "run")
        config = read_json(copy / "config.json")
        config["config"]["dropout_mode"] = "off"
        write_json(copy / "config.json", config)
        record = write_figures(Adaptation(copy), tmp_path / "figures", ["png"])
    assert list(record["left_out"]) == ["repeats"]
    assert "always translated alike" in record["left_out"]["repeats"]


def test_matrices_show_shares_of_rows(analysed: Analysis) -> None:
    counts = torch.tensor([[3, 1], [0, 2]])
    two = replace(analysed, classes=("cat", "dog"), confusion={"adapted": counts}, flips=counts, judge="adapted")
    shown = words(draw_confusion(two))
    assert {"75", "25", "100", "67", "adapted: 83.3 %", "precision", "recall"} <= set(shown)
    assert shown.count("100") == 3  # dog's row, dog's recall, cat's precision
    flips = words(draw_flips(two))
    assert "83.3 % keep their class" in flips
    assert "translated, as the adapted classifier sees it" in flips


def test_many_classes_have_no_numbers(analysed: Analysis) -> None:
    classes = tuple(f"class {number}" for number in range(30))
    many = replace(analysed, classes=classes, confusion={"adapted": torch.eye(30, dtype=torch.int64)})
    assert words(draw_confusion(many)) == ["adapted: 100.0 %", "predicted", "digits-m, true class"]


def test_a_class_that_is_never_predicted_has_no_precision(analysed: Analysis) -> None:
    counts = torch.tensor([[2, 0], [1, 0]])
    assert "–" in words(draw_confusion(replace(analysed, classes=("a", "b"), confusion={"adapted": counts})))


def test_the_healthy_band_is_marked_where_discriminators_are(analysed: Analysis) -> None:
    figure = draw_training(analysed)
    titles = [axes.get_title("left") for axes in figure.axes]
    marked = ["60–80 %" in axes.get_legend_handles_labels()[1] for axes in figure.axes]
    assert marked == [title == "discriminator accuracy" for title in titles]
    assert all(axes.get_xlabel() == "step" and axes.get_ylabel() in ("loss", "accuracy") for axes in figure.axes)


def test_smoothing_by_hand() -> None:
    values = np.arange(200.0)
    assert smoothed(values)[100] == pytest.approx(100)
    assert smoothed(values)[0] == pytest.approx((0 + 0 + 0 + 1 + 2) / 5)
    assert len(smoothed(values)) == 200
    assert smoothed(np.array([3.0, 5.0])).tolist() == [3, 5]


def test_classes_are_named_in_maps_and_missing_labels_said(analysed: Analysis) -> None:
    shown = words(draw_source_features(analysed))
    assert set("0123456789") <= set(shown)
    unlabelled = replace(analysed, target_labels=torch.full_like(analysed.target_labels, -1))
    assert "digits-m (no labels)" in words(draw_source_features(unlabelled))


def test_strips_keep_pixels_and_part_images() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    laid = strip(images)
    assert laid.shape == (1, 6, 12)
    assert laid[0, 1:5, 1:5].eq(0).all()
    assert laid[0, :, 5:7].eq(255).all()


def test_rows_of_gray_images_and_of_fewer_classes_than_images(analysed: Analysis) -> None:
    gray = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    figure = image_rows([("one", gray), ("one", gray[:2])], ["a", "b", "c"])
    assert len(figure.axes) == 2
    assert words(figure) == ["one", "one", "a", "b", "c"]
    two = replace(analysed, classes=("a", "b"), source_labels=torch.arange(len(analysed.source)) % 2)
    assert words(draw_repeats(two))[:6] == ["a", "b"] * 3
    assert words(draw_film(two))[-4:] == ["source", "2", "4", "6"]
