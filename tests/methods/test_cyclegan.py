from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.data.images import with_texture_noise
from acclimate.data.sets import Images, LabelledImages
from acclimate.errors import AcclimateError
from acclimate.methods.base import AdaptationData, Task
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.methods.cyclegan.method import JUDGE_LR, CycleGAN, ImagePool
from acclimate.training.engine import Engine
from acclimate.training.losses import lsgan_discriminator, lsgan_generator, reconstruction
from acclimate.training.updates import frozen
from helpers import parameters_of, random_data, watch_updates

TASK = Task(3, 16, ("a", "b"))


def build(**settings: object) -> CycleGAN:
    torch.manual_seed(0)
    small = {"width": 4, "discriminator_width": 4, "dropout": 0.0} | settings
    return CycleGAN(CycleGANConfig(**small), TASK, Engine())  # type: ignore[arg-type]


def batch(seed: int, count: int = 4) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def copies(module: torch.nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def test_the_losses_are_the_papers_equations() -> None:
    method, x, y = build(), batch(1), batch(2)
    G, F_, D_X, D_Y = method.G, method.F, method.D_X, method.D_Y
    with torch.no_grad():
        expected = {
            "G_adversarial": lsgan_generator(D_Y(G(x))),
            "F_adversarial": lsgan_generator(D_X(F_(y))),
            "cycle_x": reconstruction(F_(G(x)), x),
            "cycle_y": reconstruction(G(F_(y)), y),
            "identity_x": reconstruction(F_(x), x),
            "identity_y": reconstruction(G(y), y),
        }
    logged = method.step(x, y)
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-4), name
    total = expected["G_adversarial"] + expected["F_adversarial"]
    total = total + 8 * (expected["cycle_x"] + expected["cycle_y"])
    total = total + 0.8 * (expected["identity_x"] + expected["identity_y"])
    assert logged["generators"].item() == pytest.approx(total.item(), rel=1e-4)


def test_the_discriminators_objective_is_halved() -> None:
    method, x, y = build(), batch(1), batch(2)
    seen = {}
    learn = method._set_gradients
    method._set_gradients = lambda name, loss: (seen.update({name: loss.item()}), learn(name, loss))[1]  # type: ignore[method-assign]
    fakes = method.G(x).detach(), method.F(y).detach()
    with torch.no_grad():
        whole = lsgan_discriminator(method.D_Y(y), method.D_Y(fakes[0])) + lsgan_discriminator(
            method.D_X(x), method.D_X(fakes[1])
        )
    method.step(x, y)
    assert seen["discriminators"] == pytest.approx(0.5 * whole.item(), rel=1e-4)


def test_each_loss_updates_its_own_networks_only() -> None:
    method, x, y = build(), batch(1), batch(2)
    before = {name: copies(getattr(method, name)) for name in ("G", "F", "D_X", "D_Y")}
    snapshots = {}
    descend = method._descend

    def spy(name: str) -> None:
        descend(name)
        snapshots[name] = {key: copies(getattr(method, key)) for key in before}

    method._descend = spy  # type: ignore[method-assign]
    method.step(x, y)

    def changed(old: list[Tensor], new: list[Tensor]) -> bool:
        return any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))

    first, second = snapshots["generators"], snapshots["discriminators"]
    assert {name for name in before if changed(before[name], first[name])} == {"G", "F"}
    assert {name for name in before if changed(first[name], second[name])} == {"D_X", "D_Y"}


def test_every_parameter_gets_a_gradient() -> None:
    method = build()
    method.step(batch(1), batch(2))
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name.endswith("bias"), name


def test_without_identity_its_terms_are_not_computed() -> None:
    logged = build(identity_weight=0).step(batch(1), batch(2))
    assert "identity_x" not in logged


def test_batched_calls_equal_single_ones() -> None:
    method, x, y = build(), batch(1), batch(2)
    with torch.no_grad():
        together = method.G(torch.cat([x, y]))
        assert torch.allclose(together, torch.cat([method.G(x), method.G(y)]), atol=1e-5)


def test_average_follows_the_generators() -> None:
    method = build(ema=0.5)
    first = copies(method.G)
    method.step(batch(3), batch(4))
    averaged = method.weights()["G"]
    for a, b, c in zip(first, copies(method.G), averaged.values(), strict=True):
        assert torch.allclose(c, (a + b) / 2, atol=1e-6)


def test_pool() -> None:
    assert ImagePool(0)(batch(1)).equal(batch(1))
    torch.manual_seed(0)
    pool = ImagePool(6)
    assert pool(batch(1)).equal(batch(1))
    shown = [pool(batch(seed, 8)) for seed in range(2, 30)]
    fresh = [(images == batch(seed, 8)).flatten(1).all(1).float().mean() for seed, images in enumerate(shown, 2)]
    assert 0.4 < torch.stack(fresh[1:]).mean() < 0.6
    other = ImagePool(6)
    other.load_state_dict(pool.state_dict())
    state = torch.get_rng_state()
    first = pool(batch(99))
    torch.set_rng_state(state)
    assert torch.equal(other(batch(99)), first)


def test_frozen_puts_gradients_back_after_an_error() -> None:
    network = torch.nn.Linear(2, 2)
    with pytest.raises(RuntimeError), frozen(network):  # noqa: PT012
        assert not network.weight.requires_grad
        raise RuntimeError
    assert network.weight.requires_grad


def data(source: int = 20, target: int = 24) -> AdaptationData:
    pixels = torch.randint(0, 256, (max(source, target), 3, 16, 16), dtype=torch.uint8)
    labelled = LabelledImages(pixels[:source], torch.arange(source) % 2)
    return AdaptationData(labelled, labelled, Images(pixels[:target]))


def test_phase_length() -> None:
    (phase,) = build(batch_size=4, epochs=3).phases(data())
    assert (phase.steps, phase.steps_per_epoch) == (3 * 6, 6)
    (phase,) = build(batch_size=4, epochs=3, images=8).phases(data())
    assert phase.steps == 3 * 2
    (phase,) = build(batch_size=4, steps=7).phases(data())
    assert phase.steps == 7


def test_notebook_is_the_authors_run_to_the_letter() -> None:
    config = CycleGANConfig.preset("notebook")
    (phase,) = CycleGAN(config, TASK, Engine()).phases(data(5000, 4500))
    assert (phase.steps, phase.steps_per_epoch, phase.snapshot_every) == (128 * 50, 128, 64)
    expected = {
        "images": 4096,
        "batch_size": 32,
        "lr": 2e-4,
        "beta1": 0.5,
        "lr_decay": "none",
        "width": 32,
        "discriminator_width": 64,
        "cycle_weight": 8.0,
        "identity_weight": 0.8,
        "discriminator_weight": 0.5,
        "pool": 0,
        "ema": 0.0,
        "dropout": 0.5,
        "dropout_mode": "alive",
        "translation_noise": 0.0,
        "classifier_images": 0,
        "classifier_lr": 5e-3,
        "classifier_batch_size": 256,
        "classifier_epochs": 30,
        "classifier_patience": 5,
        "classifier_plateau": 3,
        "repeats": 5,
    }
    assert {name: getattr(config, name) for name in expected} == expected


def test_a_discriminator_above_the_ceiling_rests() -> None:
    method = build(discriminator_ceiling=0.75)

    accuracies = iter([torch.tensor(0.9), torch.tensor(0.6)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("acclimate.methods.cyclegan.method.discriminator_accuracy", lambda *_: next(accuracies))
        before = copies(method.D_X), copies(method.D_Y)
        method.step(batch(1), batch(2))
    assert all(torch.equal(a, b) for a, b in zip(before[0], copies(method.D_X), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before[1], copies(method.D_Y), strict=True))


def test_linear_decay_ends_near_zero() -> None:
    method = build(batch_size=4, steps=10, lr_decay="linear")
    (phase,) = method.phases(data())
    rates = []
    for number in range(10):
        phase.step(number)
        rates.append(method.optimizers["generators"].param_groups[0]["lr"] / 2e-4)
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_fewer_images_than_a_batch() -> None:
    with pytest.raises(AcclimateError, match="the target has 24 images, fewer than a batch of 32"):
        build().phases(data(40, 24))


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"lr": 0.0}, "--lr must be above 0"), ({"ema": 1.0}, r"--ema must be in \[0, 1\)"), ({"width": 0}, "--width")],
)
def test_settings_out_of_range(setting: dict[str, float], message: str) -> None:
    with pytest.raises(AcclimateError, match=message):
        CycleGANConfig(**setting)  # type: ignore[arg-type]


def test_presets_and_settings_with_nearest_names() -> None:
    with pytest.raises(AcclimateError, match="Did you mean 'notebook'"):
        CycleGANConfig.preset("notebok")
    with pytest.raises(AcclimateError, match="Did you mean 'cycle_weight'"):
        CycleGANConfig.preset("fast", cycle_wieght=3)


def test_terms_may_be_computed_on_a_share_of_the_batch() -> None:
    method, x, y = build(cycle_share=0.5, identity_share=0.25), batch(1, 8), batch(2, 8)
    with torch.no_grad():
        expected = {
            "cycle_x": reconstruction(method.F(method.G(x[:4])), x[:4]),
            "identity_y": reconstruction(method.G(y[:2]), y[:2]),
            "G_adversarial": lsgan_generator(method.D_Y(method.G(x))),
        }
    logged = method.step(x, y)
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-4), name


def test_training_noise_is_on_what_g_redraws_and_nowhere_else() -> None:
    method, x, y = build(training_noise=0.3), batch(1), batch(2)
    torch.manual_seed(0)
    noisy = with_texture_noise(x, 0.3)
    assert not torch.equal(noisy, x)
    with torch.no_grad():
        expected = {
            "G_adversarial": lsgan_generator(method.D_Y(method.G(noisy))),
            "cycle_x": reconstruction(method.F(method.G(noisy)), x),
            "cycle_y": reconstruction(method.G(method.F(y)), y),
            "identity_x": reconstruction(method.F(x), x),
        }
    torch.manual_seed(0)
    logged = method.step(x, y)
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-4), name


def judged(**settings: Any) -> CycleGAN:
    torch.manual_seed(0)
    config = CycleGANConfig(semantic_weight=0.5, width=4, discriminator_width=4, dropout=0.0, batch_size=6, **settings)
    return CycleGAN(config, Task(3, 16, ("a", "b", "c")), Engine())


def test_the_judge_learns_first_and_then_no_longer_changes() -> None:
    method = judged(judge_steps=3, steps=2)
    phases = method.phases(random_data(classes=3))
    assert [(phase.name, phase.steps) for phase in phases] == [("judge", 3), ("translator", 2)]
    seen = watch_updates(method)
    assert method.optimizers["judge"].param_groups[0]["lr"] == JUDGE_LR
    for number in range(3):
        phases[0].step(number)
    assert method.optimizers["judge"].param_groups[0]["lr"] < JUDGE_LR
    logged = phases[1].step(0)
    judge = parameters_of(method, "judge")
    assert seen[:3] == [("judge", judge)] * 3
    assert [name for name, _ in seen[3:]] == ["generators", "discriminators"]
    assert not any(changed & judge for _, changed in seen[3:])
    assert {"semantic_x", "semantic_y"} <= logged.keys()
    assert [phase.name for phase in build(batch_size=6).phases(random_data())] == ["translator"]


def test_a_redrawn_image_keeps_its_class_in_the_judges_eyes() -> None:
    method = judged()
    assert method.judge is not None
    x, y, labels = batch(1, 6), batch(2, 6), torch.tensor([0, 1, 2, 0, 1, 2])
    for image in y[:3]:
        image.fill_(0.3)
    method.judge.eval()

    def sure_of_some(_module: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return torch.where((inputs[0].flatten(1).std(1) < 0.01)[:, None], torch.tensor([0.0, 9.0, 0.0]), output)

    method.judge.register_forward_hook(sure_of_some)
    fake_x, fake_y = batch(3, 6).requires_grad_(), batch(4, 6).requires_grad_()
    losses = method.extra_losses(x, labels, y, fake_x, fake_y)
    with torch.no_grad():
        on_y, on_x = method.judge(fake_y), method.judge(fake_x)
    assert torch.allclose(losses["semantic_x"], 0.5 * F.cross_entropy(on_y, labels))
    sure = F.cross_entropy(on_x[:3], torch.tensor([1, 1, 1]), reduction="sum") / 6
    assert torch.allclose(losses["semantic_y"], 0.5 * sure)
    sum(losses.values()).backward()
    assert fake_y.grad is not None
    assert fake_x.grad is not None
    assert fake_y.grad.abs().sum() > 0
    assert fake_x.grad[3:].abs().sum() == 0
    assert all(parameter.grad is None for parameter in method.judge.parameters())
