from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from acclimate.errors import AcclimateError
from acclimate.methods.base import Task
from acclimate.methods.dann.config import DANNConfig
from acclimate.methods.dann.method import DANN, annealed_lr, reversal_strength, reverse_gradient
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, random_data, schedule, watch_updates

TASK = Task(3, 16, ("a", "b", "c"))
X, LABELS, T = batch(1), torch.tensor([0, 1, 2, 0, 1, 2]), batch(2)


def build(preset: str = "paper", **settings: object) -> DANN:
    torch.manual_seed(0)
    return DANN(DANNConfig.preset(preset, **settings), TASK, Engine())


def test_reverse_gradient() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reverse_gradient(x, 0.25)
    assert torch.equal(y, x)
    (y * torch.tensor([3.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [-0.75, -1.25]


def test_schedules_are_the_papers() -> None:
    assert [reversal_strength(p) for p in (0, 0.1, 1)] == pytest.approx([0, 0.4621172, 0.9999092])
    assert [annealed_lr(0.01, p) for p in (0, 0.3, 1.5)] == pytest.approx([0.01, 0.01 / 8**0.5, 0.01 / 8])


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"optimizer": "sgd"}, [0.5, 0.5 / 9**0.75]),
        ({"optimizer": "adam"}, [0.5, 0.5]),
        ({"optimizer": "adam", "lr_decay": "linear"}, [0.5, 0.2]),
    ],
)
@pytest.mark.parametrize("reversal", [1.0, 0.3])
def test_a_phase_follows_its_schedules(settings: dict[str, str], reversal: float, rates: list[float]) -> None:
    handed, followed = schedule(build(batch_size=4, steps=10, lr=0.5, reversal=reversal, **settings), "optimizer", 0, 8)
    assert handed == [(0,), (pytest.approx(reversal * reversal_strength(0.8)),)]
    assert followed == pytest.approx(rates)


def test_one_update_changes_every_parameter() -> None:
    method = build()
    seen = watch_updates(method)
    method.step(X, LABELS, T, 1.0)
    assert seen == [("optimizer", parameters_of(method, "classifier", "domain_classifier"))]


def domain_loss(method: DANN) -> Tensor:
    on_x, on_t = (method.domain_classifier(method.classifier.features(images)).sigmoid() for images in (X, T))
    return -on_x.log().mean() - (1 - on_t).log().mean()


def test_the_losses_are_the_papers() -> None:
    method = build()
    with torch.no_grad():
        domain = domain_loss(method)
        label = -method.classifier(X).softmax(1)[torch.arange(6), LABELS].log().mean()
    logged = method.step(X, LABELS, T, 0.7)
    assert logged["domain"].item() == pytest.approx(domain.item(), rel=1e-4)
    assert logged["label"].item() == pytest.approx(label.item(), rel=1e-4)


def test_the_reversed_gradient_reaches_the_features_only() -> None:
    def gradients(strength: float) -> dict[str, Tensor]:
        method = build()
        method.step(X, LABELS, T, strength)
        return {name: parameter.grad for name, parameter in method.named_parameters()}

    method = build()
    names = [name for name, _ in method.named_parameters()]
    found = torch.autograd.grad(domain_loss(method), list(method.parameters()), allow_unused=True)
    domain = {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}
    none, some = gradients(0.0), gradients(0.4)
    for name in names:
        if name.startswith("classifier.features"):
            assert domain[name].abs().max() > 1e-4
            assert torch.allclose(some[name], none[name] - 0.4 * domain[name], atol=1e-6), name
        elif name.startswith("classifier.head"):
            assert name not in domain
            assert torch.equal(some[name], none[name]), name
        else:  # the domain classifier learns at full weight, whatever lambda
            assert torch.equal(some[name], none[name]), name
            assert torch.allclose(some[name], domain[name], atol=1e-6), name


def test_the_strong_preset_is_the_recipe() -> None:
    config = DANNConfig.preset("strong")
    assert (config.optimizer, config.lr, config.batch_size, config.epochs) == ("adam", 1e-3, 128, 100)
    method = build("strong")
    kinds = [type(layer).__name__ for layer in method.domain_classifier]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in method.classifier.features)


def test_batch_norm_over_both_domains_together() -> None:
    method = build("fast")
    convolution, norm = method.classifier.features[:2]
    with torch.no_grad():
        of_both = convolution(torch.cat([X, T])).mean((0, 2, 3))
    method.step(X, LABELS, T, 0.5)
    assert torch.allclose(norm.running_mean, norm.momentum * of_both, atol=1e-6)


def test_batch_norm_over_each_domain_apart() -> None:
    losses = []
    for target in (T, 3 * T):
        method = build("strong")
        torch.manual_seed(5)  # of dropout
        losses.append(method.step(X, LABELS, target, 0.5)["label"].item())
    assert losses[0] == losses[1]


def test_classifies_through_the_classifier() -> None:
    method = build().eval()
    assert torch.equal(method(T), method.classifier(T))
    assert method(T).shape == (6, 3)


def test_fewer_images_than_a_batch() -> None:
    with pytest.raises(AcclimateError, match="the source has 20 images, fewer than a batch of 64"):
        build().phases(random_data())


@pytest.mark.parametrize("setting", [{"reversal": -0.1}, {"lr_decay": "linear"}])
def test_settings_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(AcclimateError, match=f"--{next(iter(setting)).replace('_', '-')} must be"):
        DANNConfig(**setting)
