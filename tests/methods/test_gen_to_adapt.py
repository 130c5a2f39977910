from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acclimate.errors import AcclimateError
from acclimate.methods.base import Task
from acclimate.methods.gen_to_adapt.config import GenToAdaptConfig
from acclimate.methods.gen_to_adapt.method import GenToAdapt
from acclimate.training.engine import Engine
from helpers import batch, gradients, parameters_of, random_data, watch_updates

TASK = Task(3, 16, ("a", "b", "c"))
X, LABELS, T = batch(1), torch.tensor([0, 1, 2, 0, 1, 2]), batch(2)


def build(**settings: object) -> GenToAdapt:
    torch.manual_seed(0)
    small = {"width": 4, "noise": 5} | settings
    return GenToAdapt(GenToAdaptConfig(**small), TASK, Engine())  # type: ignore[arg-type]


def test_d_g_c_and_f_are_updated_in_turn_each_by_its_own_loss() -> None:
    method = build()
    seen = watch_updates(method)
    method.step(X, LABELS, T)
    assert seen == [(name, parameters_of(method, name)) for name in "DGCF"]


def test_the_losses_are_the_papers() -> None:
    method = build(adversarial_weight=0.2, target_weight=0.5)
    method._set_lr(0.0)  # each loss comes after the steps before it
    torch.manual_seed(3)
    logged = method.step(X, LABELS, T)

    torch.manual_seed(3)
    F, C, G, D = method.F, method.C, method.G, method.D
    of_source, of_target = torch.eye(4)[LABELS], torch.eye(4)[[3] * 6]

    def label(logits: Tensor) -> Tensor:
        return -logits.softmax(1)[torch.arange(6), LABELS].log().mean()

    with torch.no_grad():
        (real, real_class), (on_x, class_x), (on_t, _) = D(X), D(G(F(X), of_source)), D(G(F(T), of_target))
        (_, class_again), (on_t_again, _) = D(G(F(X), of_source)), D(G(F(T), of_target))
        real, on_x, on_t, on_t_again = (logits.sigmoid() for logits in (real, on_x, on_t, on_t_again))
        classified = label(C(F(X)))
    expected = {
        "D": -real.log().mean() - (1 - on_x).log().mean() - (1 - on_t).log().mean() + label(real_class),
        "G": -on_x.log().mean() + label(class_x),
        "C": classified,
        "F": classified + 0.2 * label(class_again) - 0.2 * 0.5 * on_t_again.log().mean(),
    }
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-4), name


@pytest.mark.parametrize("settings", [{"adversarial_weight": 1.0, "target_weight": 0.0}, {"target_weight": 3.0}])
def test_what_g_draws_from_features_of_either_domain_teaches_f(settings: dict[str, float]) -> None:
    found = []
    for one in (settings, dict.fromkeys(settings, 0.0)):
        method = build(**one)
        torch.manual_seed(3)
        method.step(X, LABELS, T)
        found.append(gradients(method, "F"))
    assert (found[0] - found[1]).abs().max() > 1e-5


def test_without_adversarial_weight_the_features_learn_from_the_classifier_alone() -> None:
    method = build(adversarial_weight=0.0)
    method._set_lr(0.0)
    method.step(X, LABELS, T)
    found = {name: parameter.grad.clone() for name, parameter in method.F.named_parameters()}
    loss = torch.nn.functional.cross_entropy(method.C(method.F(X)), LABELS)
    expected = torch.autograd.grad(loss, list(method.F.parameters()))
    for (name, gradient), other in zip(found.items(), expected, strict=True):
        assert torch.allclose(gradient, other, atol=1e-6), name


def test_all_learning_rates_fall_but_the_generators() -> None:
    method = build(batch_size=4, steps=9, lr=0.5, lr_decay=0.25)
    (phase,) = method.phases(random_data(classes=3))
    phase.step(4)
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in method.optimizers.items()}
    assert rates == {"D": 0.25, "G": 0.5, "C": 0.25, "F": 0.25}


def test_classifies_through_features_and_classifier() -> None:
    method = build().eval()
    assert torch.equal(method(T), method.C(method.F(T)))
    assert method(T).shape == (6, 3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"noise": 0}, "--noise must be at least 1"), ({"target_weight": -1.0}, "--target-weight must be 0 or more")],
)
def test_settings_out_of_range(setting: dict[str, float], message: str) -> None:
    with pytest.raises(AcclimateError, match=message):
        build(**setting)
