from __future__ import annotations

import math

import pytest
import torch

from acclimate.errors import AcclimateError
from acclimate.methods.adda.config import ADDAConfig
from acclimate.methods.adda.method import ADDA
from acclimate.methods.base import Task
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, random_data, watch_updates

TASK = Task(3, 16, ("a", "b", "c"))
X, LABELS, T = batch(1), torch.tensor([0, 1, 2, 0, 1, 2]), batch(2)


def build(**settings: object) -> ADDA:
    torch.manual_seed(0)
    return ADDA(ADDAConfig(**settings), TASK, Engine())  # type: ignore[arg-type]


def test_each_loss_updates_its_own_network_only() -> None:
    method = build(weight_decay=0.0)
    seen = watch_updates(method)
    method.source_step(X, LABELS)
    method.adversarial_step(X, T)
    assert seen == [
        ("source", parameters_of(method, "source_encoder")),
        ("discriminator", parameters_of(method, "discriminator")),
        ("target", parameters_of(method, "target_encoder")),
    ]


def test_the_losses_are_the_papers() -> None:
    method = build()
    method._set_lr(0.0)  # the target encoder's loss comes after the discriminator's step
    with torch.no_grad():
        logits = method.source_encoder(X)
        on_x = method.discriminator(logits).sigmoid()
        on_t = method.discriminator(method.target_encoder(T)).sigmoid()
    label = -logits.softmax(1)[torch.arange(6), LABELS].log().mean()
    assert method.source_step(X, LABELS)["loss"].item() == pytest.approx(label.item(), rel=1e-4)
    logged = method.adversarial_step(X, T)
    discriminator = -on_x.log().mean() - (1 - on_t).log().mean()
    assert logged["discriminator"].item() == pytest.approx(discriminator.item(), rel=1e-4)
    assert logged["mapping"].item() == pytest.approx(-on_t.log().mean().item(), rel=1e-4)


def test_the_target_encoder_meets_the_new_discriminator() -> None:
    method = build(lr=0.01)
    method._set_lr(0.0, "target")
    logged = method.adversarial_step(X, T)
    with torch.no_grad():
        mapping = -method.discriminator(method.target_encoder(T)).sigmoid().log().mean()
    assert logged["mapping"].item() == pytest.approx(mapping.item(), rel=1e-4)


def test_the_target_encoder_rests_while_the_discriminator_guesses() -> None:
    method = build(discriminator_floor=0.6)
    last = method.discriminator[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    seen = watch_updates(method)
    logged = method.adversarial_step(X, T)
    assert logged["domain_accuracy"] == 0.5
    assert logged["mapping"].item() == pytest.approx(math.log(2), abs=1e-2)
    assert [name for name, _ in seen] == ["discriminator"]
    torch.nn.init.normal_(method.source_encoder.head[-1].bias, std=50)  # any source image from any target image
    for _ in range(200):
        logged = method.adversarial_step(X, T)
        if len(seen) > 1 and seen[-1][0] == "target":
            break
        assert logged["domain_accuracy"] <= 0.6
    assert seen[-1] == ("target", parameters_of(method, "target_encoder"))
    assert logged["domain_accuracy"] > 0.6


def test_the_target_encoder_starts_as_a_copy_of_the_trained_source_encoder() -> None:
    method = build(batch_size=4, source_steps=2, steps=3)
    source, adversarial = method.phases(random_data(classes=3))
    assert (source.steps, adversarial.steps) == (2, 3)
    assert (source.snapshot_every, adversarial.snapshot_every) == (0, 1)
    method._set_lr(0.0, "target")
    for number in range(2):
        source.step(number)

    def difference() -> float:
        return (method.source_encoder(T) - method.target_encoder(T)).abs().max().item()

    assert difference() > 1e-4
    adversarial.step(0)
    assert difference() == 0
    torch.nn.init.zeros_(method.target_encoder.head[-1].weight)
    adversarial.step(1)
    assert difference() > 1e-4


def test_the_adversarial_phase_leaves_the_source_encoder_alone_batch_norm_included() -> None:
    method = build(classifier="dann-bn")
    before = {name: value.clone() for name, value in method.source_encoder.state_dict().items()}
    method.adversarial_step(X, T)
    for name, value in method.source_encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    method.source_step(X, LABELS)
    assert method.source_encoder.training


def test_classifies_through_the_target_encoder() -> None:
    method = build().eval()
    torch.nn.init.zeros_(method.source_encoder.head[-1].weight)
    assert torch.equal(method(T), method.target_encoder(T))
    assert method(T).std() > 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"source_steps": 0}, "--source-steps must be at least 1"), ({"beta1": 1.0}, r"--beta1 must be in \[0, 1\)")],
)
def test_settings_out_of_range(setting: dict[str, float], message: str) -> None:
    with pytest.raises(AcclimateError, match=message):
        build(**setting)
