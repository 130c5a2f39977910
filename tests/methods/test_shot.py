"""SHOT: its labels, its losses, what stays."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from acclimate.data.images import to_float
from acclimate.methods.base import Task
from acclimate.methods.shot.config import SHOTConfig
from acclimate.methods.shot.method import SHOT, nearest_centres
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, random_data, watch_losses, watch_updates, without_dropout


def build(**settings: object) -> SHOT:
    torch.manual_seed(0)
    config = SHOTConfig(**({"classifier": "conv7", "batch_size": 8} | settings))  # type: ignore[arg-type]
    return SHOT(config, Task(3, 16, ("a", "b")), Engine())


def test_the_nearest_centre_overrules_a_wrong_class() -> None:
    features = torch.tensor([[5.0, 0.1], [4.0, 0.0], [6.0, 0.2], [0.1, 5.0], [0.0, 6.0]])
    classes = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.2, 0.8]])
    assert nearest_centres(features, classes).tolist() == [0, 0, 0, 1, 1]


def test_a_class_that_no_image_has_is_given_to_none() -> None:
    features = torch.tensor([[5.0, 0.1], [4.0, 0.0], [0.1, 5.0]])
    classes = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0]])
    assert nearest_centres(features, classes).tolist() == [0, 0, 1]


def test_the_head_stays_on_the_target_and_everything_moves_on_the_source() -> None:
    method = build()
    seen = watch_updates(method)
    method.source_step(batch(1), torch.arange(6) % 2)
    method.target_step(batch(2), torch.arange(6) % 2)
    everything = parameters_of(method, "classifier")
    head = {name for name in everything if ".head." in name}
    assert seen == [("source", everything), ("features", everything - head)]


def test_the_losses_are_the_papers() -> None:
    method = build()
    for layer in method.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    method.classifier.train()
    with torch.no_grad():
        logits = method.classifier(batch(2))
    p = logits.softmax(1)
    labels = torch.tensor([0, 1, 1, 0, 0, 1])
    followed = watch_losses(method)
    logged = method.target_step(batch(2), labels)
    total = logged["entropy"] - logged["diversity"] + method.config.pseudo_weight * logged["pseudo"]
    assert followed == [("features", pytest.approx(total.item(), rel=1e-4))]
    assert logged["entropy"].item() == pytest.approx(float(-(p * p.log()).sum(1).mean()), rel=1e-4)
    assert logged["diversity"].item() == pytest.approx(float(-(p.mean(0) * p.mean(0).log()).sum()), rel=1e-4)
    assert logged["pseudo"].item() == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)


def test_the_source_s_labels_are_smoothed() -> None:
    method = without_dropout(build(smoothing=0.2))
    labels = torch.arange(6) % 2
    with torch.no_grad():
        logits = method.classifier.train()(batch(1))
    expected = 0.8 * F.cross_entropy(logits, labels) - 0.2 * logits.log_softmax(1).mean()
    assert method.source_step(batch(1), labels)["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_each_target_image_gets_its_own_label_drawn_anew_each_epoch() -> None:
    method, seen = build(steps=7, source_steps=1), []
    data = random_data()
    _, target = method.phases(data)
    drawn = iter([torch.arange(24), torch.arange(24) + 100, torch.arange(24) + 200])
    method.label = lambda _: next(drawn)  # type: ignore[method-assign]
    method.target_step = lambda t, labels: seen.append((t, labels)) or {}  # type: ignore[method-assign, func-returns-value]
    for number in range(7):  # three steps an epoch
        target.step(number)
    assert [int(labels[0]) // 100 for _, labels in seen] == [0, 0, 0, 1, 1, 1, 2]
    for t, labels in seen:
        expected = to_float(data.target_train.pixels[labels % 100])
        assert torch.equal(t, expected)


def test_labels_are_drawn_at_each_epoch_and_are_a_part_of_the_state() -> None:
    method = build(steps=4, source_steps=1)
    source, target = method.phases(random_data())
    assert (source.steps, target.steps) == (1, 4)
    source.step(0)
    target.step(0)
    drawn = method.labels.values.clone()
    assert drawn.shape == (24,)
    method.labels.values = torch.zeros_like(drawn)
    target.state["labels"].load_state_dict({"values": drawn})
    target.step(1)
    assert torch.equal(method.labels.values, drawn)
