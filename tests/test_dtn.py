from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acclimate.config import DTNConfig
from acclimate.domains import Images, LabelledImages
from acclimate.errors import AcclimateError
from acclimate.losses import total_variation
from acclimate.methods import DTN, AdaptationData, Task
from acclimate.training import Engine
from conftest import check_updates, stop_learning

TASK = Task(3, 16, ("a", "b", "c"))


def build(**settings: Any) -> DTN:
    torch.manual_seed(0)
    return DTN(DTNConfig(**({"width": 4, "feature_size": 8} | settings)), TASK, Engine())


def batch(count: int = 6) -> tuple[Tensor, Tensor]:
    images = torch.rand(2, count, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return images[0], images[1]


def data(count: int = 16) -> AdaptationData:
    pixels = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8)
    labelled = LabelledImages(pixels, torch.arange(count) % 3)
    return AdaptationData(labelled, labelled, Images(pixels))


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
    losses = method.step(*batch())
    # drawn from source, drawn from target, real
    assert losses["D"].item() == pytest.approx(-math.log(0.5) - math.log(0.3) - math.log(0.2), rel=1e-5)
    assert losses["G_adversarial"].item() == pytest.approx(-2 * math.log(0.2), rel=1e-5)


def test_the_other_losses_are_the_papers_with_their_weights() -> None:
    method = build(constancy_weight=3.0, identity_weight=5.0, smoothing_weight=7.0)
    x, y = batch()
    stop_learning(method, "discriminator")
    seen = {}
    update = method._update
    method._update = lambda name, loss: (seen.update({name: loss.item()}), update(name, loss))[1]  # type: ignore[method-assign]
    with torch.no_grad():
        method.f.eval()
        features = method.f(torch.cat([x, y]))
        drawn = method.g(features)
        expected = {
            "constancy": (method.f(drawn[:6]) - features[:6]).square().mean(),
            "identity": (drawn[6:] - y).square().mean(),
            "smoothing": total_variation(drawn),
        }
    losses = method.step(x, y)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
    total = losses["G_adversarial"] + 3 * losses["constancy"] + 5 * losses["identity"] + 7 * losses["smoothing"]
    assert seen["generator"] == pytest.approx(total.item(), rel=1e-4)


def test_digits_are_not_smoothed() -> None:
    assert "smoothing" not in build().step(*batch())


def test_who_learns_at_which_update() -> None:
    method = build(batch_size=8, encoder_steps=2)
    encoder, translator = method.phases(data())
    assert (encoder.name, encoder.steps, encoder.snapshot_every) == ("encoder", 2, 0)
    check_updates(method, lambda: encoder.step(0), {"encoder": ("f", "head")})
    check_updates(method, lambda: translator.step(0), {"discriminator": ("D",), "generator": ("g",)})


def test_f_does_not_change_with_the_translator_not_even_its_statistics() -> None:
    method = build()
    before = {name: value.clone() for name, value in method.f.state_dict().items()}
    method.step(*batch())
    assert all(torch.equal(value, before[name]) for name, value in method.f.state_dict().items())


@pytest.mark.parametrize("weight", ["constancy_weight", "identity_weight", "smoothing_weight"])
def test_each_loss_reaches_the_generator(weight: str) -> None:
    zero = dict.fromkeys(("constancy_weight", "identity_weight", "smoothing_weight"), 0.0)
    gradients = []
    for value in (0.0, 1.0):
        method = build(**(zero | {weight: value}))
        stop_learning(method, "discriminator")
        method.step(*batch())
        gradients.append([parameter.grad.clone() for parameter in method.g.parameters() if parameter.ndim > 1])
    assert not any(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_a_discriminator_with_all_chances_equal() -> None:
    method = build()
    for parameter in method.D.layers[-2].parameters():
        nn.init.zeros_(parameter)
    stop_learning(method, "discriminator")
    losses: Mapping[str, Tensor] = method.step(*batch())
    assert losses["D"].item() == pytest.approx(3 * math.log(3), rel=1e-5)
    assert losses["G_adversarial"].item() == pytest.approx(2 * math.log(3), rel=1e-5)


def test_translating_is_g_after_f_and_a_snapshot_has_both() -> None:
    method, (x, _) = build().eval(), batch()
    with torch.no_grad():
        assert torch.equal(method.translate(x), method.g(method.f(x)))
    assert set(method.weights()) == {"f", "g"}


def test_settings_out_of_range() -> None:
    for setting in ({"encoder_steps": 0}, {"identity_weight": -1.0}, {"beta1": 1.0}, {"translation_noise": -0.1}):
        with pytest.raises(AcclimateError, match=f"--{next(iter(setting)).replace('_', '-')} must be"):
            DTNConfig(**setting)  # type: ignore[arg-type]
