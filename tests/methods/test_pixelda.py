from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate import adapt
from acclimate.commands.run import summary_table
from acclimate.errors import AcclimateError
from acclimate.methods.base import Task
from acclimate.methods.pixelda.config import PixelDAConfig
from acclimate.methods.pixelda.method import PixelDA
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, random_data, tiny, watch_updates

TASK = Task(3, 16, ("a", "b", "c"))
X, LABELS, Y = batch(1), torch.tensor([0, 1, 2, 0, 1, 2]), batch(2)
QUIET = {"discriminator_noise": 0.0, "discriminator_dropout": 0.0}


def build(**settings: object) -> PixelDA:
    torch.manual_seed(0)
    small = {"width": 4, "blocks": 1, "discriminator_width": 4, "classifier": "dann", "weight_decay": 0.0}
    return PixelDA(PixelDAConfig(**(small | settings)), TASK, Engine())  # type: ignore[arg-type]


def do_step(method: PixelDA, held: bool = False) -> Mapping[str, Tensor]:
    torch.manual_seed(5)  # the generator's noise
    return method.step(X, LABELS, Y, held)


@pytest.mark.parametrize("held", [False, True])
def test_the_losses_are_the_papers_with_their_weights(held: bool) -> None:
    method = build(**QUIET, discriminator_weight=0.5, adversarial_weight=0.25, task_weight=2.0)
    method._set_lr(0.0, "discriminator")  # the generator's update sees the discriminator and classifier of before
    seen = {}
    update = method._update
    method._update = lambda name, loss, clip: (seen.update({name: loss.item()}), update(name, loss, clip))[1]  # type: ignore[method-assign]
    torch.manual_seed(5)
    noise = torch.rand(6, method.config.noise_size) * 2 - 1
    with torch.no_grad():
        fake = method.G(X, noise)
        on_real, on_fake = method.D(Y), method.D(fake)
        expected = {
            "D": -on_real.sigmoid().log().mean() - (1 - on_fake.sigmoid()).log().mean(),
            "T_source": F.cross_entropy(method.classify_source(X), LABELS),
            "T_fake": F.cross_entropy(method.T(fake), LABELS),
            "G_adversarial": -on_fake.sigmoid().log().mean(),
        }
    logged = do_step(method, held)
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-4), name
    assert logged["G_task"].item() == pytest.approx(expected["T_fake"].item(), rel=1e-4)
    total = 0.5 * expected["D"] + expected["T_source"] + (0.0 if held else expected["T_fake"])
    assert seen["discriminator"] == pytest.approx(total.item(), rel=1e-4)
    total = 0.25 * expected["G_adversarial"] + 2.0 * expected["T_fake"]
    assert seen["generator"] == pytest.approx(total.item(), rel=1e-4)


@pytest.mark.parametrize("private", [True, False])
def test_who_learns_at_which_update(private: bool) -> None:
    method = build(private_layer=private)
    first = ("D", "T", "T_source") if private else ("D", "T")
    seen = watch_updates(method)
    do_step(method)
    assert seen == [("discriminator", parameters_of(method, *first)), ("generator", parameters_of(method, "G"))]


def test_the_generator_learns_from_the_classifier_and_the_discriminator() -> None:
    for weights in ({"adversarial_weight": 0.0}, {"task_weight": 0.0}):
        method = build(**weights)
        do_step(method)
        assert all(parameter.grad.abs().sum() > 0 for parameter in method.G.parameters() if parameter.ndim > 1)
    method = build(adversarial_weight=0.0, task_weight=0.0)
    do_step(method)
    assert all(parameter.grad.abs().sum() == 0 for parameter in method.G.parameters())


def test_source_images_have_a_first_convolution_of_their_own() -> None:
    method = build()
    assert torch.equal(method.classify_source(X), method.T(X))  # they start alike
    with torch.no_grad():
        method.T_source[0].weight.zero_()
    assert not torch.allclose(method.classify_source(X), method.T(X))
    shared = build(private_layer=False)
    with torch.no_grad():
        shared.T_source[0].weight.zero_()
    assert torch.equal(shared.classify_source(X), shared.T(X))


def test_gradients_are_clipped() -> None:
    method = build(gradient_clip=1e-3)
    do_step(method)
    for networks in ((method.G,), (method.D, method.T, method.T_source)):
        gradients = [parameter.grad for network in networks for parameter in network.parameters()]
        assert torch.cat([one.flatten() for one in gradients]).norm() <= 1.001e-3


def test_the_learning_rate_falls_in_stairs() -> None:
    method = build(steps=6, batch_size=4, lr=1.0, lr_decay_rate=0.5, lr_decay_steps=2)
    method.step = lambda *_, held: {}  # type: ignore[method-assign]
    (phase,) = method.phases(random_data())
    rates = []
    for number in range(phase.steps):
        phase.step(number)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in method.optimizers.values()])
    assert rates == [[rate, rate] for rate in (1.0, 1.0, 0.5, 0.5, 0.25, 0.25)]


def test_the_classifier_is_held_for_its_share_of_the_training() -> None:
    method = build(steps=6, batch_size=4, hold=0.5)
    seen = []
    method.step = lambda *_, held: seen.append(held) or {}  # type: ignore[method-assign, func-returns-value]
    (phase,) = method.phases(random_data())
    for number in range(phase.steps):
        phase.step(number)
    assert seen == [True] * 3 + [False] * 3


def test_the_warm_up_copies_and_classifies() -> None:
    method = build(steps=2, batch_size=4, warmup_steps=3)
    warm_up, adversarial = method.phases(random_data())
    assert (warm_up.name, warm_up.steps, warm_up.snapshot_every) == ("warm-up", 3, 0)
    assert (adversarial.name, adversarial.steps) == ("pixelda", 2)
    seen = watch_updates(method)
    torch.manual_seed(5)
    noise = torch.rand(6, method.config.noise_size) * 2 - 1
    with torch.no_grad():
        fake = method.G(X, noise)
        expected = {
            "G_copy": (fake - X).abs().mean(),
            "T_source": F.cross_entropy(method.classify_source(X), LABELS),
            "T_fake": F.cross_entropy(method.T(fake), LABELS),
        }
    torch.manual_seed(5)
    logged = method.warm_up(X, LABELS)
    assert logged.keys() == expected.keys()
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-4), name
    classifier = parameters_of(method, "T", "T_source")
    assert seen == [("generator", parameters_of(method, "G")), ("discriminator", classifier)]


def test_translating_draws_noise_and_classifying_does_not() -> None:
    method = build().eval()
    torch.manual_seed(3)
    first, second = method.translate(X), method.translate(X)
    torch.manual_seed(3)
    assert torch.equal(method.translate(X), first)
    assert not torch.equal(first, second)
    assert first.shape == X.shape
    assert torch.equal(method(X), method(X))


def test_from_start_to_end_with_its_own_classifier(tmp_path: Path) -> None:
    adaptation = adapt(
        "digits", "digits-m", method="pixelda", out=tmp_path / "run", **tiny("pixelda", repeats=1, target_only=False)
    )
    result = adaptation.run.result
    assert len(result["accuracy"]["runs"]) == 1
    assert result["translation"]["images"] == 0  # nobody else is trained on what it draws
    assert (tmp_path / "run" / "figures" / "samples.png").exists()
    shown = summary_table(adaptation)
    assert "pictures" in shown
    assert "translation" not in shown


def test_settings_out_of_range() -> None:
    for setting in ({"blocks": 0}, {"lr_decay_rate": 1.5}, {"discriminator_dropout": 1.0}, {"gradient_clip": 0.0}):
        with pytest.raises(AcclimateError, match=f"--{next(iter(setting)).replace('_', '-')} must be"):
            PixelDAConfig(**setting)  # type: ignore[arg-type]
