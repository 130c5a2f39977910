"""Self-ensembling: its losses, who is updated, whose statistics are whose."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from acclimate.data.augmentation import Policy
from acclimate.methods.base import Task
from acclimate.methods.mean_teacher.config import MeanTeacherConfig
from acclimate.methods.mean_teacher.method import MeanTeacher
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, watch_losses, watch_updates

X, T, LABELS = batch(1), batch(2, 8), torch.arange(6) % 3


def build(**settings: object) -> MeanTeacher:
    torch.manual_seed(0)
    config = MeanTeacherConfig(**settings)  # type: ignore[arg-type]
    method = MeanTeacher(config, Task(3, 16, ("a", "b", "c")), Engine())
    method.policy = Policy()
    for layer in method.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    return method


def test_one_update_changes_the_student_and_the_teacher_follows() -> None:
    method = build(threshold=0.0)
    seen = watch_updates(method)
    before = [parameter.clone() for parameter in method.classifier.parameters()]
    method.step(X, LABELS, T)
    assert seen == [("student", parameters_of(method, "student"))]
    after = list(method.classifier.parameters())
    assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    student = list(method.student.parameters())
    for one, other, live in zip(before, after, student, strict=True):
        assert torch.allclose(other, 0.99 * one + 0.01 * live, atol=1e-6)


def test_the_losses_are_the_papers() -> None:
    with torch.no_grad():
        threshold = build().classifier.train()(T).softmax(1).amax(1).median().item()
    method = build(threshold=threshold)
    with torch.no_grad():
        with method.statistics.of_source():
            logits = method.student(X)
        method.student.train()
        method.classifier.train()
        seen, taught = method.student(T).softmax(1), method.classifier(T).softmax(1)
    kept = (taught.amax(1) > threshold).float()
    assert 0 < kept.mean() < 1
    mean = seen.mean(0)
    balance = -(mean.log() / 3 + 2 / 3 * (1 - mean).log()).sum() * kept.mean()
    followed = watch_losses(method)
    logged = method.step(X, LABELS, T)
    config = method.config
    total = logged["source"] + config.consistency_weight * (
        logged["consistency"] + config.balance_weight * logged["balance"]
    )
    assert followed == [("student", pytest.approx(total.item(), rel=1e-4))]
    assert logged["source"].item() == pytest.approx(F.cross_entropy(logits, LABELS).item(), rel=1e-4)
    # student and teacher are the same network as yet, each on its own batch statistics: they agree
    assert logged["consistency"].item() == pytest.approx(0, abs=1e-6)
    assert logged["balance"].item() == pytest.approx(balance.item(), rel=1e-4)
    for parameter in method.classifier.parameters():
        parameter.data += 0.1
    with torch.no_grad():
        seen, taught = method.student(T).softmax(1), method.classifier(T).softmax(1)
    kept = (taught.amax(1) > threshold).float()
    expected = (((seen - taught) ** 2).mean(1) * kept).mean()
    assert method.step(X, LABELS, T)["consistency"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_teachers_statistics_are_the_targets() -> None:
    method = build()
    for _ in range(200):
        method.step(X - 3, LABELS, T)
    norm = next(module for module in method.classifier.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen = {}
    hook = norm.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    with torch.no_grad():
        method.classifier.train()(T)
    hook.remove()
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, seen["x"].mean((0, 2, 3)), atol=0.05)
