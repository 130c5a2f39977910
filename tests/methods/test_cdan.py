"""CDAN: what its domain classifier sees, weights, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from acclimate.methods.base import Task
from acclimate.methods.cdan.config import CDANConfig
from acclimate.methods.cdan.method import CDAN
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, watch_updates


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
    one, other = method.multiplied(features, classes)
    exact = float(features[0] @ features[1]) * float(classes[0] @ classes[1])
    scale = float(features[0].norm() * features[1].norm() * classes[0].norm() * classes[1].norm())
    assert abs(float(one @ other) - exact) < 0.3 * scale


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


def test_without_reversal_the_domains_do_not_move_the_features() -> None:
    moved = []
    for t in (batch(2), batch(3)):
        method = build(entropy=False).eval()
        torch.manual_seed(1)
        for module in method.modules():
            module.training = False
        method.train = lambda mode=True, method=method: method  # type: ignore[method-assign]
        method.step(batch(1), torch.arange(6) % 3, t, 0.0)
        moved.append(torch.cat([p.flatten() for p in method.classifier.parameters()]))
    assert torch.equal(*moved)
