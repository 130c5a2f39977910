from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.data.augmentation import POLICIES
from acclimate.errors import AcclimateError
from acclimate.methods.base import Task
from acclimate.methods.sbada_gan.config import SBADAGANConfig
from acclimate.methods.sbada_gan.method import SBADAGAN
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, random_data, watch_updates

TASK = Task(3, 16, ("a", "b", "c"))
X_S, LABELS, X_T = batch(1), torch.tensor([0, 1, 2, 0, 1, 2]), batch(2)
WEIGHTS = ("adversarial_weight", "target_weight", "source_weight", "consistency_weight")


def build(**settings: Any) -> SBADAGAN:
    torch.manual_seed(0)
    small = {"width": 4, "blocks": 1, "discriminator_width": 4, "classifier": "dann", "weight_decay": 0.0, "pool": 0}
    return SBADAGAN(SBADAGANConfig(**(small | settings)), TASK, Engine())


def do_step(method: SBADAGAN, self_label_weight: float = 1.0, held: bool = False) -> Mapping[str, Tensor]:
    torch.manual_seed(5)  # the generators' noise
    return method.step(X_S, LABELS, X_T, self_label_weight, held)


@pytest.mark.parametrize("held", [False, True])
def test_the_losses_are_the_papers_with_their_weights(held: bool) -> None:
    weights = {"adversarial_weight": 0.5, "target_weight": 3.0, "source_weight": 7.0, "consistency_weight": 11.0}
    method = build(**weights)
    seen = {}
    update = method._update
    method._update = lambda name, loss: (seen.update({name: loss.item()}), update(name, loss))[1]  # type: ignore[method-assign]
    torch.manual_seed(5)
    with torch.no_grad():
        noise = [torch.randn(6, method.config.noise_size) for _ in range(3)]
        fake_t, fake_s = method.G_st(X_S, noise[0]), method.G_ts(X_T, noise[1])
        back_s = method.G_ts(fake_t, noise[2])
        pseudo = method.C_s(fake_s).argmax(1)
        expected = {
            "G_st_adversarial": (method.D_t(fake_t) - 1).square().mean(),
            "G_ts_adversarial": (method.D_s(fake_s) - 1).square().mean(),
            "C_t": F.cross_entropy(method.C_t(fake_t), LABELS),
            "C_s": F.cross_entropy(method.C_s(X_S), LABELS),
            "self_label": F.cross_entropy(method.C_s(fake_s), pseudo),
            "consistency": F.cross_entropy(method.C_s(back_s), LABELS),
            "D_s": (method.D_s(X_S) - 1).square().mean() + method.D_s(fake_s).square().mean(),
            "D_t": (method.D_t(X_T) - 1).square().mean() + method.D_t(fake_t).square().mean(),
        }
        on_source = F.cross_entropy(method.C_t(X_S), LABELS)
    logged = do_step(method, self_label_weight=13.0, held=held)
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-3), name
    total = 0.5 * (expected["G_st_adversarial"] + expected["G_ts_adversarial"]) + 3 * expected["C_t"]
    total = total + 7 * expected["C_s"] + 11 * expected["consistency"] + 13 * expected["self_label"]
    total = total + (3 * on_source if held else 0)
    assert seen["generators"] == pytest.approx(total.item(), rel=1e-3)
    assert seen["discriminators"] == pytest.approx((expected["D_s"] + expected["D_t"]).item(), rel=1e-3)


def test_who_learns_at_which_update() -> None:
    method = build()
    seen = watch_updates(method)
    do_step(method)
    assert seen == [
        ("generators", parameters_of(method, "G_st", "G_ts", "C_s", "C_t")),
        ("discriminators", parameters_of(method, "D_s", "D_t")),
    ]


@pytest.mark.parametrize(
    ("weight", "held", "reached"),
    [
        ("adversarial_weight", False, {"G_st", "G_ts"}),
        ("target_weight", False, {"G_st", "C_t"}),
        ("source_weight", False, {"C_s"}),
        ("consistency_weight", False, {"G_st", "G_ts", "C_s"}),
        ("self_label_weight", False, {"G_ts", "C_s"}),
        ("consistency_weight", True, {"G_st", "G_ts"}),
        ("self_label_weight", True, {"G_ts"}),
    ],
)
def test_whom_each_loss_reaches(weight: str, held: bool, reached: set[str]) -> None:
    method = build(**{name: float(name == weight) for name in WEIGHTS})
    method._update = lambda name, loss: loss.backward() if name == "generators" else None  # type: ignore[method-assign]
    do_step(method, float(weight == "self_label_weight"), held)
    moved = {
        name.split(".")[0] for name, one in method.named_parameters() if one.grad is not None and one.grad.abs().sum()
    }
    assert moved == reached


def test_held_classifiers_learn_from_source_images_alone() -> None:
    method = build(target_weight=3.0)
    expected = torch.autograd.grad(3 * F.cross_entropy(method.C_t(X_S), LABELS), list(method.C_t.parameters()))
    method._update = lambda name, loss: loss.backward() if name == "generators" else None  # type: ignore[method-assign]
    do_step(method, held=True)
    for parameter, gradient in zip(method.C_t.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_classifiers_learn_from_views_of_source_images_and_read_redrawn_ones_as_they_are() -> None:
    method, other = build(), build(class_augment="light")
    assert other.policy == POLICIES["light"]
    other.policy = SimpleNamespace(strong=torch.neg)  # a view that draws nothing, so that the noise is the same
    on_views = F.cross_entropy(method.C_s(-X_S), LABELS)
    plain, viewed = do_step(method), do_step(other)
    assert viewed["C_s"].item() == pytest.approx(on_views.item(), rel=1e-4)
    for name in ("C_t", "self_label", "consistency", "G_st_adversarial", "D_s", "D_t"):
        assert torch.equal(plain[name], viewed[name]), name


def test_the_warm_up_copies_and_classifies() -> None:
    method = build(steps=2, batch_size=4, warmup_steps=3)
    warm_up, adversarial = method.phases(random_data())
    assert [(phase.name, phase.steps) for phase in (warm_up, adversarial)] == [("warm-up", 3), ("sbada-gan", 2)]
    assert warm_up.snapshot_every == 0
    torch.manual_seed(5)
    noise = [torch.randn(6, method.config.noise_size) for _ in range(2)]
    with torch.no_grad():
        fake_t, fake_s = method.G_st(X_S, noise[0]), method.G_ts(X_T, noise[1])
        expected = {
            "G_st_copy": (fake_t - X_S).abs().mean(),
            "G_ts_copy": (fake_s - X_T).abs().mean(),
            "C_t": F.cross_entropy(method.C_t(fake_t), LABELS),
            "C_s": F.cross_entropy(method.C_s(X_S), LABELS),
        }
    seen = watch_updates(method)
    torch.manual_seed(5)
    logged = method.warm_up(X_S, LABELS, X_T)
    assert {name: value.item() for name, value in logged.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=1e-4
    )
    assert seen == [("generators", parameters_of(method, "G_st", "G_ts", "C_s", "C_t"))]


def test_self_labels_count_from_their_start_and_classifiers_are_held_until_theirs() -> None:
    method = build(steps=8, batch_size=4, self_label_start=0.75, self_label_weight=2.0, hold=0.5)
    seen: list[tuple[float, bool]] = []
    method.step = lambda *batch, held: seen.append((batch[-1], held)) or {}  # type: ignore[method-assign, func-returns-value]
    (phase,) = method.phases(random_data())
    for number in range(phase.steps):
        phase.step(number)
    assert [weight for weight, _ in seen] == [0.0] * 6 + [2.0] * 2
    assert [held for _, held in seen] == [True] * 4 + [False] * 4


def test_linear_decay_ends_near_zero() -> None:
    method = build(batch_size=4, steps=10, lr_decay="linear", lr=1.0)
    (phase,) = method.phases(random_data())
    rates = []
    for number in range(10):
        phase.step(number)
        rates += [method.optimizers[name].param_groups[0]["lr"] for name in ("generators", "discriminators")]
    assert rates[::2] == rates[1::2] == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_the_prediction_is_the_weighted_mean_of_both_classifiers() -> None:
    single = {}
    for share in (0.0, 0.25, 1.0):
        method = build(combination=share).eval()
        logits = method(X_S)
        assert torch.equal(method(X_S), logits)  # no noise
        single[share] = logits.softmax(1)
    assert torch.allclose(single[0.0], method.C_t(X_S).softmax(1), atol=1e-5)
    silence = torch.zeros(len(X_S), method.config.noise_size)
    assert torch.allclose(single[1.0], method.C_s(method.G_ts(X_S, silence)).softmax(1), atol=1e-5)
    assert torch.allclose(single[0.25], 0.25 * single[1.0] + 0.75 * single[0.0], atol=1e-5)


def test_no_target_label_chose_the_combination() -> None:
    assert all(SBADAGANConfig.preset(name).combination == 0.5 for name in SBADAGANConfig.presets)


def test_earlier_images_are_shown_again_and_are_part_of_the_state() -> None:
    method = build(pool=12)
    do_step(method)
    assert method.pools["fake_s"].images is not None
    assert method.pools["fake_s"].images.shape == (6, 3, 16, 16)
    (phase,) = method.phases(random_data(40, 40))
    assert {"fake_s", "fake_t", "networks", "generators", "discriminators"} == set(phase.state)


def test_settings_out_of_range() -> None:
    for setting in ({"noise_size": 0}, {"combination": 1.5}, {"self_label_start": -0.1}, {"target_weight": -1.0}):
        with pytest.raises(AcclimateError, match=f"--{next(iter(setting)).replace('_', '-')} must be"):
            SBADAGANConfig(**setting)  # type: ignore[arg-type]
