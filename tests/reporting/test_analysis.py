"""What figures and reports are drawn from: curves, neighbours, features, maps, and all of a tiny run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from acclimate import Adaptation, adapt
from acclimate.config import Config
from acclimate.data.images import to_float
from acclimate.errors import RunError
from acclimate.methods import MethodEntry
from acclimate.methods.base import AdaptationData, Method, Task
from acclimate.methods.registry import METHODS
from acclimate.networks import build_classifier
from acclimate.pipeline.adapt import start
from acclimate.reporting import parts
from acclimate.reporting.analysis import Analysis, analyse
from acclimate.reporting.counts import count_pairs, one_of_each, precision_recall
from acclimate.reporting.curves import HEALTHY, classifier_panels, method_panels, read_curves
from acclimate.reporting.vectors import nearest, tsne
from acclimate.runs.evaluation import Classifier
from acclimate.runs.last_features import last_features
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase
from helpers import TINY, tiny


def curve(*values: float) -> Tensor:
    return torch.tensor([(20.0 * (index + 1), value) for index, value in enumerate(values)], dtype=torch.float64)


class TestCurves:
    def test_logged_steps_become_curves(self) -> None:
        metrics = [
            {"phase": "translator", "step": 20, "cycle_x": 3.0, "D_X_accuracy": 0.5},
            {"phase": "translator", "step": 40, "cycle_x": 2.0, "D_X_accuracy": 0.75},
            {"phase": "adapted-0", "step": 7, "val_loss": 1.0},
        ]
        curves = read_curves(metrics)
        assert list(curves) == ["translator", "adapted-0"]
        assert curves["translator"]["cycle_x"].tolist() == [[20, 3], [40, 2]]
        assert curves["adapted-0"]["val_loss"].tolist() == [[7, 1]]

    def test_both_sides_of_a_loss_share_a_panel(self) -> None:
        names = ("generators", "G_adversarial", "F_adversarial", "cycle_x", "cycle_y", "D_X", "D_Y", "D_X_accuracy")
        panels = method_panels({"translator": {name: curve(1, 2) for name in names}})
        assert [(panel.title, list(panel.curves)) for panel in panels] == [
            ("generators", ["generators"]),
            ("adversarial", ["G_adversarial", "F_adversarial"]),
            ("cycle", ["cycle_x", "cycle_y"]),
            ("discriminators", ["D_X", "D_Y"]),
            ("discriminator accuracy", ["D_X_accuracy"]),
        ]
        assert [panel.band for panel in panels] == [None, None, None, None, HEALTHY]
        assert [panel.accuracy for panel in panels] == [False, False, False, False, True]

    def test_any_method_and_several_phases(self) -> None:
        panels = method_panels({"source": {"loss": curve(1)}, "adversarial": {"loss": curve(1), "accuracy": curve(1)}})
        assert [panel.title for panel in panels] == ["source: loss", "adversarial: loss", "adversarial: accuracy"]
        assert all(panel.band is None for panel in panels)

    def test_classifiers(self) -> None:
        panels = classifier_panels({"adapted-0": {"loss": curve(9), "val_loss": curve(1)}, "source-only-0": {}})
        assert [(panel.title, list(panel.curves)) for panel in panels] == [("validation loss", ["adapted"])]


def test_nearest_by_hand() -> None:
    among = torch.tensor([[0, 0], [10, 0], [10, 0], [0, 30]], dtype=torch.uint8)
    queries = torch.tensor([[9, 1], [1, 20], [0, 1]], dtype=torch.uint8)
    assert nearest(queries, among).tolist() == [1, 3, 0]


def test_nearest_looks_at_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acclimate.reporting.vectors.EVALUATION_BATCH", 2)
    among = torch.arange(7.0)[:, None]
    assert nearest(torch.tensor([[0.2], [2.9], [6.4]]), among).tolist() == [0, 3, 6]


def test_pairs_precision_and_recall_by_hand() -> None:
    counts = count_pairs(torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    precision, recall = precision_recall(counts)
    assert precision[:2].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert recall[:2].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert precision[2].isnan()
    assert recall[2].isnan()


def test_one_of_each_class_comes_first() -> None:
    assert one_of_each(torch.tensor([2, 2, 0, 1, 0]), 4).tolist() == [2, 3, 0, 4]
    assert one_of_each(torch.tensor([1]), 4).tolist() == [0]


class TestFeatures:
    pixels = torch.randint(0, 256, (7, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    def test_of_a_classifier_and_of_a_method_that_has_one(self) -> None:
        classifier = build_classifier("dann", 3, 4, 16)
        expected = classifier.features(to_float(self.pixels)).detach()
        assert torch.allclose(last_features(Classifier([classifier], "ab", Engine()), self.pixels), expected, atol=1e-6)

        class Wrapped(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner, self.after = classifier, nn.Linear(4, 4)

            def forward(self, images: Tensor) -> Tensor:
                return self.after(self.inner(images))

        assert torch.allclose(last_features(Classifier([Wrapped()], "ab", Engine()), self.pixels), expected, atol=1e-6)

    def test_of_any_other_network(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 4, 1), nn.Flatten())
        expected = network[:2](to_float(self.pixels)).flatten(1).detach()
        assert torch.allclose(last_features(Classifier([network], "ab", Engine()), self.pixels), expected, atol=1e-6)

    def test_nothing_is_left_behind(self) -> None:
        classifier = build_classifier("gta", 3, 4, 16)
        last_features(Classifier([classifier], "ab", Engine()), self.pixels)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in classifier.modules())


def test_a_map_keeps_neighbours_and_repeats() -> None:
    random = torch.Generator().manual_seed(0)
    vectors = torch.cat([torch.randn(30, 8, generator=random), torch.randn(30, 8, generator=random) + 30])
    points, made = tsne(vectors, 1)
    assert points.shape == (60, 2)
    assert points.min() >= 0
    assert points.max() <= 1
    assert torch.equal(points, tsne(vectors, 1)[0])
    first, second = points[:30], points[30:]
    assert torch.pdist(first).max() < torch.cdist(first, second).min()
    assert made["perplexity"] == pytest.approx(59 / 3, abs=0.01)
    assert (made["points"], made["dimensions"], made["principal_components"], made["seed"]) == (60, 8, 8, 1)


def test_the_parts_of_a_run(finished: Adaptation, analysed: Analysis) -> None:
    assert analysed.missing == {}
    count = len(analysed.source)
    assert torch.equal(analysed.source, finished.data.source_val.pixels[:count])
    assert torch.equal(analysed.target_labels, finished.target.labelled("test").labels[: len(analysed.target)])
    assert analysed.translated is not None
    assert analysed.translated.shape == analysed.source.shape
    assert not torch.equal(analysed.translated, analysed.source)
    assert analysed.nearest is not None
    pool = finished.data.target_train.pixels
    for images in analysed.nearest.values():
        assert all(bool((pool == image).flatten(1).all(1).any()) for image in images)
    assert analysed.repeats is not None
    assert analysed.repeats.shape == (6, 8, 3, 8, 8)
    assert not torch.equal(analysed.repeats[:, 0], analysed.repeats[:, 1])
    assert analysed.film_steps == (2, 4, 6)
    assert analysed.film is not None
    assert analysed.film.shape == (3, 6, 3, 8, 8)
    assert analysed.judge == "target-only"
    assert analysed.flips is not None
    assert int(analysed.flips.sum()) == 200
    maps = (analysed.pixel_map, analysed.before_map, analysed.after_map)
    assert [len(points) for points in maps if points is not None] == [3 * count, 2 * count, 2 * count]


def test_cycles_go_by_both_generators(finished: Adaptation, analysed: Analysis) -> None:
    assert analysed.cycles is not None
    assert list(analysed.cycles) == ["x", "G(x)", "F(G(x))", "y", "F(y)", "G(F(y))"]
    images = list(analysed.cycles.values())
    assert all(one.shape == (10, 3, 8, 8) for one in images)
    assert not any(torch.equal(one, other) for one in images for other in images if one is not other)


def test_class_shares_are_of_labels_and_of_what_is_seen(finished: Adaptation, analysed: Analysis) -> None:
    assert analysed.shares is not None
    seen = finished.classifier().probabilities(finished.data.target_train.pixels).argmax(1)
    for name, labels in (("source", finished.data.source_train.labels), ("given", seen)):
        assert torch.equal(analysed.shares[name], torch.bincount(labels, minlength=10).double() / len(labels))
    assert analysed.shares["true"].sum() == pytest.approx(1)


def test_the_confusion_is_the_results_accuracy(finished: Adaptation, analysed: Analysis) -> None:
    result = finished.run.result
    assert analysed.confusion is not None
    measured = {"source-only": result["baselines"]["source_only"], "adapted": result["accuracy"]}
    for kind, counts in analysed.confusion.items():
        assert counts.sum() == 2 * 400
        assert (counts.diagonal().sum() / counts.sum()).item() == pytest.approx(measured[kind]["mean"], abs=1e-5)


def test_mistakes_are_wrong_and_the_surest_come_first(finished: Adaptation, analysed: Analysis) -> None:
    mistakes = analysed.mistakes
    assert mistakes is not None
    assert bool((mistakes["labels"] != mistakes["predicted"]).all())
    confidence = mistakes["confidence"].tolist()
    assert confidence == sorted(confidence, reverse=True)
    again = finished.calibrated().probabilities(mistakes["images"]).max(1)
    assert torch.equal(again.indices, mistakes["predicted"])
    assert torch.allclose(again.values, mistakes["confidence"], atol=1e-6)


def test_it_is_computed_once_and_anew_when_the_run_changed(
    finished: Adaptation, analysed: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Adaptation(shutil.copytree(finished.run.path, tmp_path / "run"))
    computed = []

    def compute(_: object) -> Mapping[str, object]:
        computed.append(True)
        return vars(analysed)

    monkeypatch.setattr(parts.Parts, "compute", compute)
    again = analyse(copy)
    assert not computed
    assert again.settings == analysed.settings
    assert again.film_steps == analysed.film_steps
    assert torch.equal(again.source, analysed.source)
    shutil.copy(copy.run.model("source-only-0"), copy.run.model("adapted-0"))
    analyse(copy)
    assert len(computed) == 1
    analyse(copy)
    assert len(computed) == 1
    (copy.run.path / "figures" / "analysis.safetensors").write_bytes(b"broken")
    analyse(copy)
    assert len(computed) == 2


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    unfinished = start("digits", "digits-m", preset="demo", out=tmp_path / "run", **TINY)
    with pytest.raises(RunError, match="has not finished"):
        analyse(unfinished)


def test_a_method_that_only_classifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_analysis: None) -> None:
    class Toy(Method):
        classifies = True
        name = "toy"

        def __init__(self, config: Config, task: Task, engine: Engine) -> None:
            super().__init__(config, task, engine)
            self.classifier = task.classifier("gta")

        def phases(self, data: AdaptationData) -> list[Phase]:
            def step(number: int) -> Mapping[str, Tensor]:
                return {"loss": torch.tensor(1.0 / (number + 1)), "domain_accuracy": torch.tensor(0.5)}

            return [Phase("joint", 40, step, {"network": self}, 10, None, self.weights, 20)]

        def forward(self, images: Tensor) -> Tensor:
            return self.classifier(images)

    monkeypatch.setitem(METHODS, "toy", MethodEntry(Config, Toy))
    settings = {
        key: TINY[key] for key in ("image_size", "repeats", "classifier_epochs", "classifier_images", "precision")
    }
    run = adapt("digits", "digits-m", method="toy", out=tmp_path / "run", **settings)
    found = analyse(run)
    assert found.missing == dict.fromkeys(
        ("translated", "nearest", "cycles", "repeats", "film", "flips", "pixel_map"),
        "the method toy does not translate images",
    )
    assert found.after_map is not None
    assert found.confusion is not None
    assert set(found.confusion) == {"source-only", "adapted"}
    assert [panel.title for panel in method_panels(found.method_curves)] == ["loss", "domain accuracy"]


def test_a_run_that_does_not_adapt_and_a_target_without_labels(
    make_folder: Callable[..., Path], tmp_path: Path, small_analysis: None
) -> None:
    settings = tiny("source-only")
    source, target = make_folder("renders", count=40), make_folder("photos", ("day1", "day2"), 20)
    run = adapt(source, target, method="source-only", out=tmp_path / "run", **settings)
    found = analyse(run)
    assert found.missing["training"] == "the method source-only trains nothing but classifiers"
    assert found.missing["after_map"] == "source-only does not adapt"
    assert found.missing["confusion"] == found.missing["mistakes"] == "the target has no labels"
    assert set(found.target_labels.tolist()) == {-1}
    assert not found.has_labels
    assert (found.source_name, found.target_name) == ("renders", "photos")
    assert found.before_map is None or len(found.before_map) == len(found.source) + len(found.target)
