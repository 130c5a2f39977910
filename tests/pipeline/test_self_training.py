"""Self-training: its labels, its loss, who learns what; collapse seen and undone; resumed to the bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate import Adaptation, adapt, resume
from acclimate.commands.run import summary_table
from acclimate.data.augmentation import POLICIES, Policy
from acclimate.data.domains import DataOptions, open_domain
from acclimate.data.sets import Images, LabelledImages
from acclimate.errors import InterruptedRunError
from acclimate.methods import find_config
from acclimate.methods.base import Task
from acclimate.pipeline import self_training
from acclimate.pipeline.adapt import start
from acclimate.pipeline.self_training import CollapseGuard, SelfTraining
from acclimate.pipeline.stages import _self_training
from acclimate.runs.directory import Run
from acclimate.runs.evaluation import BothDirections, Classifier
from acclimate.training.engine import Engine
from acclimate.training.loop import train
from acclimate.training.state import load_tree
from acclimate.trust.scores import effective_classes
from helpers import tiny

CLASSES = tuple("0123456789")
SHORT: dict[str, Any] = {
    "image_size": 16,
    "precision": "float32",
    "stage_steps": 12,
    "ramp_start": 2,
    "ramp_end": 4,
    "classifier_batch_size": 16,
    "target_batch_size": 16,
    "classifier": "conv7",
    "share_bars": False,
    "target_only": False,
    "repeats": 1,
    "classifier_epochs": 1,
}


def sets(size: int = 16) -> tuple[LabelledImages, Images]:
    source, target = (open_domain(name, DataOptions(image_size=size)) for name in ("digits", "digits-m"))
    return source.labelled("train"), target.images("train")


def stage(redrawn: LabelledImages | None = None, **changes: Any) -> SelfTraining:
    config = find_config("self-training")(**(SHORT | changes))
    source, target = sets(config.image_size)
    return SelfTraining("toy", source, redrawn, target, config, Task(3, config.image_size, CLASSES), Engine(), 0)


class Fixed(torch.nn.Module):
    """A teacher that says what it is told."""

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__()
        self.probabilities = probabilities

    def forward(self, images: Tensor) -> Tensor:
        return self.probabilities.log()


def test_pseudo_labels_are_aligned_with_the_sources_shares() -> None:
    one = stage()
    said = torch.full((4, 10), 0.02)
    said[:, 0], said[:, 1] = 0.5, 0.34
    one.teacher = Fixed(said)
    one.prior = torch.full((10,), 0.1)
    one.predicted = torch.full((10,), 0.02)
    one.predicted[0], one.predicted[1] = 0.8, 0.04  # it says 0 far too often
    labels, confidence = one._pseudo_labels(torch.zeros(4, 3, 16, 16))
    mean = 0.99 * torch.tensor([0.8, 0.04, *[0.02] * 8]) + 0.01 * said[0]
    assert torch.allclose(one.predicted, mean)
    aligned = said[0] * 0.1 / mean
    assert labels.tolist() == [1] * 4  # 0.34 / 0.04 is more than 0.5 / 0.8
    assert confidence[0] == pytest.approx(float(aligned[1] / aligned.sum()), rel=1e-5)

    plain = stage(align=False)
    plain.teacher = Fixed(said)
    labels, confidence = plain._pseudo_labels(torch.zeros(4, 3, 16, 16))
    assert labels.tolist() == [0] * 4
    assert confidence.tolist() == pytest.approx([0.5] * 4)


def losses(one: SelfTraining, confidence: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
    one.source_policy = one.target_policy = Policy()
    one.student.eval()  # no dropout: both calls see the same network
    x, t = (torch.rand(3, 3, 16, 16) * 2 - 1 for _ in range(2))
    labels = torch.tensor([1, 2, 3])
    total, values = one._losses(x, labels, t, (torch.tensor([4, 5, 6]), confidence))
    with torch.no_grad(), one.statistics.of_source():
        on_source = one.student(x)
    with torch.no_grad():
        on_target = one.student(t)
    return total, values, on_source, on_target


def test_the_loss_is_that_of_its_equation() -> None:
    total, values, on_source, on_target = losses(stage(threshold=0.8), torch.tensor([0.9, 0.7, 0.85]))
    assert torch.allclose(total, F.cross_entropy(on_source, torch.tensor([1, 2, 3])))
    each = F.cross_entropy(on_target, torch.tensor([4, 5, 6]), reduction="none")
    assert torch.allclose(values["target"], (each[0] + each[2]) / 3)
    assert values["kept"] == pytest.approx(2 / 3)


def test_a_relative_threshold_follows_the_confidence_on_the_source() -> None:
    one = stage(threshold=0.9, relative_threshold=True)
    _, values, on_source, _ = losses(one, torch.tensor([0.12, 0.01, 0.5]))
    threshold = 0.9 * on_source.softmax(1).amax(1).mean()
    assert 0.01 < threshold < 0.5
    assert values["kept"] == pytest.approx(float((torch.tensor([0.12, 0.01, 0.5]) >= threshold).float().mean()))


def test_the_weight_rises_between_its_two_steps() -> None:
    one = stage(stage_steps=60, ramp_start=10, ramp_end=20, pseudo_weight=2.0)
    assert [one._weight(step) for step in (0, 10, 15, 20, 500)] == [0, 0, 1, 2, 2]


def test_a_short_training_learns_from_the_target_too() -> None:
    one = stage(stage_steps=300, ramp_start=400, ramp_end=900)
    assert [one._weight(step) for step in (100, 225, 299)] == [0, 1, 1]
    assert stage(stage_steps=1200, ramp_start=400, ramp_end=900).ramp == (400, 900)


def test_infomax_by_hand() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    of_each, mean = -(p * p.log()).sum(1).mean(), p.mean(0)
    expected = of_each + (mean * mean.log()).sum()
    assert self_training.infomax(p.log()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_gradient_has_infomax_with_its_weight() -> None:
    found = []
    for weight in (0.0, 2.0):
        one = stage(ramp_start=0, ramp_end=1, infomax_weight=weight)
        one.optimizer.step = lambda: None  # type: ignore[method-assign, assignment, return-value]
        torch.manual_seed(1)
        values = one.step(5)
        found.append((values["loss"].item(), values["infomax"].item()))
    assert found[1][0] - found[0][0] == pytest.approx(2 * found[0][1], rel=1e-3)


def test_after_a_collapse_fewer_labels_count_and_less() -> None:
    one = stage(stage_steps=60, ramp_start=0, ramp_end=1, pseudo_weight=2.0, threshold=0.9)
    _, before, *_ = losses(one, torch.tensor([0.95, 0.96, 0.98]))
    one.guard.strength = 0.3
    assert one._weight(50) == pytest.approx(0.6)
    _, after, *_ = losses(one, torch.tensor([0.95, 0.96, 0.98]))  # the threshold is 1 - 0.1 * 0.3 now
    assert (before["kept"].item(), after["kept"].item()) == (1, pytest.approx(1 / 3))


def test_rate_and_augmentation_fall() -> None:
    one = stage(stage_steps=100, augment="symbols", augment_end=0.35, augment_until=0.6)
    assert [one._lr_factor(step) for step in (0, 24, 50)] == pytest.approx(
        [1 / 25, falling(0.24), falling(0.5)], rel=1e-4
    )
    assert falling(1.0) == pytest.approx(0, abs=1e-6)
    strengths = []
    for step in (0, 30, 60, 99):
        one._set_policies(step)
        strengths.append(one.source_policy)
    assert strengths[0] == POLICIES["symbols"]
    assert strengths[1] == POLICIES["symbols"].scaled(round(32 * (0.35 + 0.65 * falling(0.5))) / 32)
    assert strengths[2] == strengths[3] == POLICIES["symbols"].scaled(round(32 * 0.35) / 32)
    assert one.target_policy == one.source_policy.of_target()


def falling(share: float) -> float:
    """A cosine's fall from 1 to 0."""
    return (1 + math.cos(math.pi * share)) / 2


def test_infomax_has_a_gradient_where_a_class_is_ruled_out() -> None:
    logits = torch.tensor([[200.0, 0.0, 1.0], [200.0, 1.0, 0.0]], requires_grad=True)
    value = self_training.infomax(logits)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_teacher_is_no_part_of_the_gradient_and_moves_towards_the_student() -> None:
    one = stage(ramp_start=0, ramp_end=1, threshold=0.0)
    before = {name: value.clone() for name, value in one.teacher.state_dict().items()}
    for number in range(3):
        values = one.step(number)
    assert values["kept"] == 1
    assert not any(parameter.requires_grad for parameter in one.teacher.parameters())
    for name, value in one.teacher.state_dict().items():
        if value.is_floating_point():
            assert not torch.equal(value, before[name]), name
            assert not torch.equal(value, one.student.state_dict()[name]), name


def test_statistics_stay_apart_unless_they_are_to_be_one() -> None:
    apart, together = stage(), stage(domain_statistics=False)
    for one in (apart, together):
        for number in range(3):
            one.step(number)
    source, target = (one.statistics.buffers()[0] for one in (apart, together))
    own = next(buffer for buffer in apart.student.buffers() if buffer.is_floating_point())
    assert (source - own).abs().max() > 1e-3
    assert torch.equal(target, torch.zeros_like(target))  # never used


def test_a_share_of_the_source_is_redrawn() -> None:
    source, _ = sets()
    white = LabelledImages(torch.full_like(source.pixels, 255), source.labels)
    one = stage(redrawn=white, redrawn_share=0.25)
    pixels, _, *rest = one._feed[0]
    mixed = one._with_redrawn(pixels.float(), pixels, rest)
    assert [bool((image == 1).all()) for image in mixed] == [True] * 4 + [False] * 12
    assert torch.equal(mixed[4:], pixels[4:].float())


def test_without_a_target_it_is_training_on_labels_alone() -> None:
    config = find_config("self-training")(**SHORT)
    source, _ = sets()
    one = SelfTraining("toy", source, None, None, config, Task(3, 16, CLASSES), Engine(), 0)
    values = one.step(0)
    assert values["loss"] == values["source"]
    assert one.check() == ({}, False)


def test_a_set_smaller_than_a_batch_is_a_batch() -> None:
    source, target = sets()
    config = find_config("self-training")(**(SHORT | {"ramp_start": 0, "ramp_end": 1}))
    task = Task(3, 16, CLASSES)
    one = SelfTraining("toy", source.first(5), None, target.first(3), config, task, Engine(), 0)
    for number in range(4):
        assert torch.isfinite(one.step(number)["loss"])


def test_it_learns(tmp_path: Path) -> None:
    one = stage(stage_steps=150, ramp_start=60, ramp_end=80, augment="light")
    test = open_domain("digits-m", DataOptions(image_size=16)).labelled("test")
    (before,) = Classifier([one.teacher], CLASSES, Engine()).accuracies(test)
    train(one.phase, Run.create(tmp_path / "run", {}), Engine(), 0)
    (after,) = Classifier([one.classifier], CLASSES, Engine()).accuracies(test)
    assert after > before + 0.2


def test_effective_classes() -> None:
    assert effective_classes(torch.tensor([5.0, 5, 5, 5])) == pytest.approx(4)
    assert effective_classes(torch.tensor([20.0, 0, 0, 0])) == pytest.approx(1)
    assert 1 < effective_classes(torch.tensor([19.0, 1, 0, 0])) < 2


def test_the_guard_weakens_once_and_ends_at_the_second_collapse() -> None:
    guard = CollapseGuard()
    assert [guard.sees_collapse(classes) for classes in (4.0, 9.0, 7.0, 6.0)] == [False, False, False, True]
    assert guard.weaken()
    assert guard.strength == self_training.WEAKENED
    other = CollapseGuard()
    other.load_state_dict(guard.state_dict())
    assert other.sees_collapse(5.0)
    assert not other.weaken()


@pytest.fixture
def closely_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_training, "CHECK_EVERY", 20)
    monkeypatch.setattr(self_training, "CHECKED", 1000)


COLLAPSING: dict[str, Any] = {
    "stage_steps": 245,
    "align": False,
    "threshold": 0.0,
    "domain_statistics": False,
    "pseudo_weight": 100.0,
    "ramp_start": 80,
    "ramp_end": 81,
    "augment": "light",
    "augment_end": 1.0,
    "classifier_lr": 2e-2,
    "teacher_decay": 0.9,
    "classifier_batch_size": 32,
    "target_batch_size": 32,
}
"""Once the source is learnt, every label is, however unsure, at a hundred times its weight: the classes fall."""


def test_a_collapse_is_seen_without_labels_and_undone(
    tmp_path: Path, closely_watched: None, capsys: pytest.CaptureFixture[str]
) -> None:
    test = open_domain("digits-m", DataOptions(image_size=16)).labelled("test")
    accuracy = {}
    for name, guarded in (("guarded", True), ("free", False)):
        one, run = stage(**COLLAPSING), Run.create(tmp_path / name, {})
        if not guarded:
            one.guard.sees_collapse = lambda classes: False  # type: ignore[method-assign]
        train(one.phase, run, Engine(), 0)
        (accuracy[name],) = Classifier([one.classifier], CLASSES, Engine()).accuracies(test)
        looks = [entry for entry in run.metrics("toy") if "classes" in entry]
        if guarded:
            assert looks[0]["strength"] == 1
            assert looks[-1]["strength"] == self_training.WEAKENED
            said = capsys.readouterr().err
            assert "effective classes, once" in said
            assert "goes on, weaker, from the last good state" in said
        else:
            assert looks[-1]["classes"] < 0.75 * max(look["classes"] for look in looks)
            assert looks[-1]["confidence"] > 0.8  # which tells nothing
    assert accuracy["guarded"] > accuracy["free"] + 0.1


def test_the_last_steps_are_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_training, "CHECK_EVERY", 4)
    run = Run.create(tmp_path / "run", {})
    train(stage(stage_steps=6).phase, run, Engine(), 0)
    assert [entry["step"] for entry in run.metrics("toy") if "classes" in entry] == [4, 6]


def weights(run: Path) -> dict[str, Tensor]:
    adaptation = Adaptation(run)
    return adaptation.classifier("adapted").networks[0].state_dict()


def test_stopped_and_resumed_is_bit_for_bit_unbroken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_training, "CHECK_EVERY", 4)
    settings = SHORT | {"checkpoint_every": 3, "threshold": 0.0}
    whole = adapt("digits", "digits-m", method="self-training", out=tmp_path / "whole", **settings)
    broken = start("digits", "digits-m", method="self-training", out=tmp_path / "broken", **settings)
    step, count = SelfTraining.step, [0]

    def interrupted(self: SelfTraining, number: int) -> Any:
        if self.name == "adapted-0":
            count[0] += 1
            if count[0] in (2, 9):  # before the first checkpoint, and after a look at the classes
                raise InterruptedRunError("stop")
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(SelfTraining, "step", interrupted)
        for _ in range(2):
            with pytest.raises(InterruptedRunError):
                resume(broken.run)
    resumed = resume(broken.run)
    assert any(entry.get("kept", 0) > 0 for entry in whole.run.metrics("adapted-0"))
    state, again = (load_tree(run.run.checkpoints("adapted-0")[-1])["state"] for run in (whole, broken))
    assert torch.equal(state["training"]["predicted"], again["training"]["predicted"])
    assert state["training"]["guard"].keys() == again["training"]["guard"].keys()
    for mine, its in zip(state["statistics"]["source"], again["statistics"]["source"], strict=True):
        assert all(torch.equal(mine[name], its[name]) for name in mine)
    one, other = weights(whole.run.path), weights(broken.run.path)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed.run.result["accuracy"] == whole.run.result["accuracy"]


def test_the_result_has_both_bars(tmp_path: Path) -> None:
    settings = SHORT | {"target_only": True, "stage_steps": 4}
    run = adapt("digits", "digits-m", method="self-training", out=tmp_path / "run", **settings)
    result = run.run.result
    trained = {kind: (one["classifier"], one["augment"]) for kind, one in result["baselines"].items()}
    assert trained == {
        "source_only": ("gta", "none"),
        "source_only_augmented": ("conv7", "symbols"),
        "target_only": ("gta", "none"),
        "target_only_augmented": ("conv7", "symbols"),
    }
    assert result["accuracy"]["classifier"] == "conv7"
    assert result["selection"] == {"rule": "last", "checkpoint": 0, "target_labels_used": False}
    seconds = result["seconds"]
    parts = [seconds[name] for name in ("classifier", *(kind for kind in result["baselines"]))]
    assert seconds["total"] == pytest.approx(sum(parts), abs=0.5)


def test_the_adapted_classifier_alone_sees_the_target(tmp_path: Path) -> None:
    run = start("digits", "digits-m", method="self-training", out=tmp_path / "run", **SHORT)
    target = _self_training(run, "adapted", "adapted-0").target
    assert target is not None
    assert torch.equal(target.pixels, run.target.images("train").pixels)
    for kind in ("source-only-augmented", "target-only-augmented"):
        assert _self_training(run, kind, f"{kind}-0").target is None  # type: ignore[arg-type]


def test_both_directions_are_weighed_without_labels_and_combined(tmp_path: Path) -> None:
    settings = tiny("cyclegan", image_size=16, both_directions=True, classifier_stage="self-training")
    settings |= {"classifier": "conv7", "augment": "light", "stage_steps": 6, "target_only": False}
    run = adapt("digits", "digits-m", preset="demo", out=tmp_path / "run", **settings)
    combined, test = run.classifier(), run.target.labelled("test")
    assert isinstance(combined, BothDirections)
    forth, back = combined.both_probabilities(test.pixels)
    directions = run.run.result["directions"]
    assert 0 <= directions["weight"] <= 1
    assert set(directions["agreement"]) == {"forth", "back"}
    expected = directions["weight"] * forth + (1 - directions["weight"]) * back
    assert torch.allclose(combined.probabilities(test.pixels), expected, atol=1e-6)
    right = {
        name: (one.argmax(1) == test.labels).float().mean().item()
        for name, one in zip("fb", (forth, back), strict=True)
    }
    assert directions["forth_accuracy"] == pytest.approx(right["f"], abs=1e-6)
    assert directions["back_accuracy"] == pytest.approx(right["b"], abs=1e-6)
    accuracy = (expected.argmax(1) == test.labels).float().mean().item()
    assert run.run.result["accuracy"]["runs"] == pytest.approx([accuracy], abs=1e-6)
    # the second one sees the image redrawn by F
    again = run.translator().back(test.pixels)
    assert again.shape == test.pixels.shape
    assert (again.float() - test.pixels.float()).abs().mean() > 1


@pytest.mark.parametrize("augment", ["none", "light"])
def test_both_directions_have_their_second_classifier(augment: str, tmp_path: Path) -> None:
    settings = tiny("cyclegan", both_directions=True, classifier_stage="self-training", augment=augment)
    settings |= {"stage_steps": 4, "target_only": False, "repeats": 1}
    run = adapt("digits", "digits-m", preset="demo", out=tmp_path / "run", **settings)
    assert set(run.run.result["directions"]["agreement"]) == {"forth", "back"}


def test_the_stage_comes_after_a_method_that_decides_too(tmp_path: Path) -> None:
    settings = tiny("pixelda", image_size=16, repeats=1, classifier_stage="self-training", stage_steps=4)
    run = adapt("digits", "digits-m", method="pixelda", out=tmp_path / "run", target_only=False, **settings)
    assert run.run.model("adapted-0").exists()
    assert (run.run.path / "translated" / "train.npy").exists()
    measured = run.classifier().accuracies(run.target.labelled("test"))
    assert run.run.result["accuracy"]["runs"] == pytest.approx(measured, abs=1e-6)
    assert "  translation  offline: " in summary_table(run)
