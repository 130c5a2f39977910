from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acclimate.errors import AcclimateError
from acclimate.methods.base import Task
from acclimate.methods.dtn.config import DTNConfig
from acclimate.methods.dtn.method import DTN
from acclimate.training.engine import Engine
from acclimate.training.losses import total_variation
from helpers import batch, parameters_of, random_data, watch_updates

TASK = Task(3, 16, ("a", "b", "c"))
X, Y = batch(1), batch(2)


def build(**settings: Any) -> DTN:
    torch.manual_seed(0)
    return DTN(DTNConfig(**({"width": 4, "feature_size": 8} | settings)), TASK, Engine())


class Constant(nn.Module):
    """A discriminator of one opinion."""

    def __init__(self, probabilities: tuple[float, float, float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), 3) + 0 * images.mean()


def test_the_ternary_losses_by_hand() -> None:
    method = build()
    method.D = Constant((0.5, 0.3, 0.2))  # type: ignore[assignment]
    method._update = lambda *_: None  # type: ignore[method-assign]
    losses = method.step(X, Y)
    # drawn from source, drawn from target, real
    assert losses["D"].item() == pytest.approx(-math.log(0.5) - math.log(0.3) - math.log(0.2), rel=1e-5)
    assert losses["G_adversarial"].item() == pytest.approx(-2 * math.log(0.2), rel=1e-5)


def test_the_other_losses_are_the_papers_with_their_weights() -> None:
    method = build(constancy_weight=3.0, identity_weight=5.0, smoothing_weight=7.0)
    method._set_lr(0.0, "discriminator")
    seen = {}
    update = method._update
    method._update = lambda name, loss: (seen.update({name: loss.item()}), update(name, loss))[1]  # type: ignore[method-assign]
    with torch.no_grad():
        method.f.eval()
        features = method.f(torch.cat([X, Y]))
        drawn = method.g(features)
        expected = {
            "constancy": (method.f(drawn[:6]) - features[:6]).square().mean(),
            "identity": (drawn[6:] - Y).square().mean(),
            "smoothing": total_variation(drawn),
        }
    losses = method.step(X, Y)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
    total = losses["G_adversarial"] + 3 * losses["constancy"] + 5 * losses["identity"] + 7 * losses["smoothing"]
    assert seen["generator"] == pytest.approx(total.item(), rel=1e-4)


def test_digits_are_not_smoothed() -> None:
    assert "smoothing" not in build().step(X, Y)


def test_who_learns_at_which_update() -> None:
    method = build(batch_size=8, encoder_steps=2)
    encoder, translator = method.phases(random_data(classes=3))
    assert (encoder.name, encoder.steps, encoder.snapshot_every) == ("encoder", 2, 0)
    seen = watch_updates(method)
    encoder.step(0)
    translator.step(0)
    assert seen == [
        ("encoder", parameters_of(method, "f", "head")),
        ("discriminator", parameters_of(method, "D")),
        ("generator", parameters_of(method, "g")),
    ]


def test_f_may_learn_from_strong_views() -> None:
    seen: dict[str, Tensor] = {}
    images = random_data(classes=3)
    for policy in ("none", "symbols"):
        method = build(batch_size=8, encoder_augment=policy)
        method.f.register_forward_pre_hook(lambda _, inputs, name=policy: seen.update({name: inputs[0]}))
        method.phases(images)[0].step(0)
    pixels = images.source_train.pixels.float() / 127.5 - 1
    assert all(any(torch.equal(image, one) for one in pixels) for image in seen["none"])
    assert not any(torch.equal(image, one) for image in seen["symbols"] for one in pixels)


def test_f_does_not_change_with_the_translator_not_even_its_statistics() -> None:
    method = build()
    before = {name: value.clone() for name, value in method.f.state_dict().items()}
    method.step(X, Y)
    assert all(torch.equal(value, before[name]) for name, value in method.f.state_dict().items())


@pytest.mark.parametrize("weight", ["constancy_weight", "identity_weight", "smoothing_weight"])
def test_each_loss_reaches_the_generator(weight: str) -> None:
    zero = dict.fromkeys(("constancy_weight", "identity_weight", "smoothing_weight"), 0.0)
    gradients = []
    for value in (0.0, 1.0):
        method = build(**(zero | {weight: value}))
        method._set_lr(0.0, "discriminator")
        method.step(X, Y)
        gradients.append([parameter.grad.clone() for parameter in method.g.parameters() if parameter.ndim > 1])
    assert not any(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_a_discriminator_with_all_chances_equal() -> None:
    method = build()
    for parameter in method.D.layers[-2].parameters():
        nn.init.zeros_(parameter)
    method._set_lr(0.0, "discriminator")
    losses: Mapping[str, Tensor] = method.step(X, Y)
    assert losses["D"].item() == pytest.approx(3 * math.log(3), rel=1e-5)
    assert losses["G_adversarial"].item() == pytest.approx(2 * math.log(3), rel=1e-5)


def test_linear_decay_ends_near_zero_and_leaves_the_encoder_alone() -> None:
    method = build(batch_size=4, encoder_steps=2, steps=10, lr_decay="linear", lr=1.0)
    rates: list[float] = []
    for phase in method.phases(random_data(classes=3)):
        for number in range(phase.steps):
            phase.step(number)
            rates.append(method.optimizers["generator"].param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert method.optimizers["discriminator"].param_groups[0]["lr"] == pytest.approx(0.2)
    assert method.optimizers["encoder"].param_groups[0]["lr"] == 1


def test_translating_is_g_after_f_and_a_snapshot_has_both() -> None:
    method = build().eval()
    with torch.no_grad():
        assert torch.equal(method.translate(X), method.g(method.f(X)))
    assert set(method.weights()) == {"f", "g"}


def test_settings_out_of_range() -> None:
    for setting in ({"encoder_steps": 0}, {"identity_weight": -1.0}, {"beta1": 1.0}, {"translation_noise": -0.1}):
        with pytest.raises(AcclimateError, match=f"--{next(iter(setting)).replace('_', '-')} must be"):
            DTNConfig(**setting)  # type: ignore[arg-type]
