"""CDAN: what its domain classifier sees, weights, gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.methods.base import Task
from acclimate.methods.cdan.config import CDANConfig
from acclimate.methods.cdan.method import CDAN, reversal_strength
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, schedule, watch_updates, without_dropout

X, T, LABELS = batch(1), batch(2), torch.arange(6) % 3


def build(**settings: object) -> CDAN:
    torch.manual_seed(0)
    config = CDANConfig(**({"classifier": "conv7", "hidden": 8} | settings))  # type: ignore[arg-type]
    return CDAN(config, Task(3, 16, ("a", "b", "c")), Engine())


def test_features_and_classes_are_multiplied_out() -> None:
    method = build()
    features, classes = torch.randn(2, 256), torch.rand(2, 3)
    multiplied = method.multiplied(features, classes)
    assert multiplied.shape == (2, 768)
    assert multiplied[1, 256 * 2 + 5].item() == pytest.approx(float(features[1, 5] * classes[1, 2]))


def test_large_products_are_projected_and_keep_inner_products_about() -> None:
    method = build(most=512)
    assert method.domain_classifier[0].in_features == 512
    features, classes = torch.randn(2, 256), torch.rand(2, 3).softmax(1)
    features[1] = features[0]
    one, other = method.multiplied(features, classes)
    exact = float(features[0] @ features[1]) * float(classes[0] @ classes[1])
    assert float(one @ other) == pytest.approx(exact, rel=0.3)


def test_sure_images_weigh_more() -> None:
    weights = build()._weights(torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))
    assert weights[0].item() == pytest.approx(2.0)
    assert weights[1].item() == pytest.approx(1 + 1 / 3)
    assert torch.equal(build(entropy=False)._weights(torch.rand(4, 3)), torch.ones(4))


def test_one_update_changes_everything_and_the_losses_start_at_chance() -> None:
    method = build()
    seen = watch_updates(method)
    logged = method.step(batch(1), torch.arange(6) % 3, batch(2), 1.0)
    assert seen == [("optimizer", parameters_of(method, "classifier", "domain_classifier"))]
    assert logged["domain"].item() == pytest.approx(2 * math.log(2), rel=0.3)


def both(method: CDAN) -> tuple[Tensor, Tensor]:
    """Return the losses of the label and of the domain, by their equations."""
    features = method.classifier.features(torch.cat([X, T]))
    logits = method.classifier.head(features)
    classes = logits.softmax(1).detach()
    domain = method.domain_classifier(method.multiplied(features, classes))[:, 0].sigmoid()
    weights = 1 + (classes * classes.log()).sum(1).exp()
    of_x, of_t = (-weights[:6] * domain[:6].log()).sum(), (-weights[6:] * (1 - domain[6:]).log()).sum()
    return F.cross_entropy(logits[:6], LABELS), of_x / weights[:6].sum() + of_t / weights[6:].sum()


def test_the_losses_are_the_papers_and_the_reversed_gradient_reaches_the_features_only() -> None:
    method = without_dropout(build())
    label, domain = both(method.train())
    names = [name for name, _ in method.named_parameters()]
    parameters = list(method.parameters())
    found = [torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True) for loss in (label, domain)]
    of_label, of_domain = (dict(zip(names, gradients, strict=True)) for gradients in found)
    logged = method.step(X, LABELS, T, 0.4)
    assert logged["label"].item() == pytest.approx(label.item(), rel=1e-4)
    assert logged["domain"].item() == pytest.approx(domain.item(), rel=1e-4)
    for name, parameter in method.named_parameters():
        if name.startswith("classifier.features"):
            assert of_domain[name].abs().max() > 1e-5
            expected = of_label[name] - 0.4 * of_domain[name]
        else:
            expected = of_label[name] if name.startswith("classifier.head") else of_domain[name]
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-6)


def test_a_phase_follows_its_schedules() -> None:
    handed, rates = schedule(build(batch_size=4, steps=10, lr=0.5, reversal=0.3), "optimizer", 0, 8)
    assert handed == [(0,), (pytest.approx(0.3 * reversal_strength(0.8)),)]
    assert rates == pytest.approx([0.5, 0.2])
