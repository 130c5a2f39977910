"""AdaMatch: its losses, its labels, who is updated."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from acclimate.data.augmentation import Policy
from acclimate.methods.adamatch.config import AdaMatchConfig
from acclimate.methods.adamatch.method import AdaMatch, RunningMeans
from acclimate.methods.base import Task
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, random_data, watch_losses, watch_updates

X, T, LABELS = batch(1), batch(2, 12), torch.arange(6) % 3


def build(**settings: object) -> AdaMatch:
    torch.manual_seed(0)
    config = AdaMatchConfig(**({"classifier": "conv7", "batch_size": 6, "target_share": 2} | settings))  # type: ignore[arg-type]
    return AdaMatch(config, Task(3, 16, ("a", "b", "c")), Engine())


def test_one_update_changes_the_student_and_the_average_follows() -> None:
    method = build(threshold=0.0)
    seen = watch_updates(method)
    before = {name: value.clone() for name, value in method.classifier.state_dict().items()}
    method.step(X, LABELS, T, 1.0)
    assert seen == [("student", parameters_of(method, "student"))]
    assert not any(parameter.requires_grad for parameter in method.classifier.parameters())
    moved = [name for name, value in method.classifier.state_dict().items() if not torch.equal(value, before[name])]
    assert len(moved) == len([name for name in before if "num_batches" not in name])


def test_the_losses_are_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(threshold=0.5)
    method.policy = Policy()  # weak and strong views are the images
    for layer in method.student.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    mixing = torch.rand(12, 3)
    monkeypatch.setattr(torch, "rand_like", lambda _: mixing)
    with torch.no_grad():
        together = method.student(torch.cat([X, X, T, T]))
        alone = method.student(torch.cat([X, X]))
    mixed = mixing * together[:12] + (1 - mixing) * alone
    source = (F.cross_entropy(mixed[:6], LABELS) + F.cross_entropy(mixed[6:], LABELS)) / 2
    on_source, on_target = mixed[:6].softmax(1), together[12:24].softmax(1)
    means = torch.lerp(torch.full((2, 3), 1 / 3), torch.stack([on_source.mean(0), on_target.mean(0)]), 1 / 128)
    aligned = on_target * means[0] / means[1]
    confidence, chosen = (aligned / aligned.sum(1, keepdim=True)).max(1)
    kept = (confidence >= 0.5 * on_source.amax(1).mean()).float()
    target = (F.cross_entropy(together[24:], chosen, reduction="none") * kept).mean()
    followed = watch_losses(method)
    logged = method.step(X, LABELS, T, 0.7)
    assert followed == [("student", pytest.approx((source + 0.7 * target).item(), rel=1e-4))]
    assert logged["source"].item() == pytest.approx(source.item(), rel=1e-4)
    assert logged["target"].item() == pytest.approx(target.item(), rel=1e-4)
    assert logged["kept"].item() == pytest.approx(kept.mean().item())


def test_weight_and_learning_rate_over_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(steps=8, lr=0.1)
    weights, rates = [], []
    monkeypatch.setattr(
        method,
        "step",
        lambda *_, weight: weights.append(weight) or rates.append(method.optimizers["student"].param_groups[0]["lr"]),
    )
    (phase,) = method.phases(random_data())
    for number in range(8):
        phase.step(number)
    expected = [0, 0.146447, 0.5, 0.853553, 1, 1, 1, 1]
    assert weights == pytest.approx(expected, abs=1e-5)
    assert rates[-1] == pytest.approx(0.1 * math.cos(math.acos(0.25) * 7 / 8))


def test_statistics_are_those_of_batches_of_both_domains() -> None:
    method = build(lr=1e-9)
    method.policy = Policy()
    norm = next(module for module in method.student.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    for _ in range(100):
        method.step(torch.zeros_like(X), LABELS, T, 1.0)
    together, alone = seen[-2:]
    assert (len(together), len(alone)) == (36, 12)
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, together.mean((0, 2, 3)), atol=1e-3)
    assert norm.momentum == 0.1


def test_weights_alone_decay() -> None:
    decaying, others = build().optimizers["student"].param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (1e-3, 0)
    assert {one.ndim for one in decaying["params"]} == {2, 4}
    assert {one.ndim for one in others["params"]} == {1}


def test_the_means_move_slowly() -> None:
    means = RunningMeans(2, 4, Engine())
    source, target = means.update(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    assert source.tolist() == [0.625, 0.375]
    assert target.tolist() == [0.375, 0.625]


def test_the_means_are_part_of_what_is_resumed() -> None:
    method = build()
    (phase,) = method.phases(random_data())
    assert phase.state["means"] is method.means
    method.means.update(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    again = build()
    again.means.load_state_dict(phase.state["means"].state_dict())
    assert torch.equal(again.means.means, method.means.means)
    assert not torch.equal(again.means.means, torch.full((2, 3), 1 / 3))
