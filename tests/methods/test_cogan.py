from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acclimate.errors import AcclimateError, RunError
from acclimate.methods.base import Task
from acclimate.methods.cogan.config import CoGANConfig
from acclimate.methods.cogan.method import CoGAN
from acclimate.training.engine import Engine
from helpers import batch, parameters_of, random_data, watch_losses, watch_updates

TASK = Task(3, 16, ("a", "b", "c"))
X, LABELS, T = batch(1), torch.tensor([0, 1, 2, 0, 1, 2]), batch(2)


def build(**settings: object) -> CoGAN:
    torch.manual_seed(0)
    small = {"width": 4, "latent": 5} | settings
    return CoGAN(CoGANConfig(**small), TASK, Engine())  # type: ignore[arg-type]


def test_each_loss_updates_its_own_networks_only() -> None:
    method = build(weight_decay=0.0)
    seen = watch_updates(method)
    method.step(X, LABELS, T)
    assert seen == [("discriminators", parameters_of(method, "D")), ("generators", parameters_of(method, "G"))]


def test_the_losses_are_those_of_the_objective() -> None:
    method = build(class_weight=3.0, feature_weight=0.5)
    method._set_lr(0.0)  # the generators' loss comes after the discriminators' step
    followed = watch_losses(method)
    torch.manual_seed(3)
    logged = method.step(X, LABELS, T)

    torch.manual_seed(3)
    D = method.D
    with torch.no_grad():
        drawn_x, drawn_t = method.G(torch.randn(6, 5))
        f_x, f_t = D.features_of_source(drawn_x), D.features_of_target(drawn_t)
        x, t = (X + 1) / 2, (T + 1) / 2
        real, drawn = D(x, t).sigmoid(), D(drawn_x, drawn_t).sigmoid()
        drawn_x, drawn_t = method.G(torch.randn(6, 5))
        again = D(drawn_x, drawn_t).sigmoid()
        chances = D.label(D.features_of_source(x)).softmax(1)
    expected = {
        "D": -real.log().mean() - (1 - drawn).log().mean(),
        "label": -chances[torch.arange(6), LABELS].log().mean(),
        "feature": ((f_x - f_t) ** 2).sum() / 6,
        "G": -again.log().mean(),
    }
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-4), name
    total = expected["D"] + 3 * expected["label"] + 0.5 * expected["feature"]
    given = {"discriminators": total.item(), "generators": expected["G"].item()}
    assert dict(followed) == pytest.approx(given, rel=1e-4)
    assert not torch.allclose(again, drawn)


def test_the_distance_of_a_pair_s_features_teaches_both_first_layers() -> None:
    found = []
    for weight in (0.0, 0.5):
        method = build(feature_weight=weight)
        torch.manual_seed(3)
        method.step(X, LABELS, T)
        found.append([one.weight.grad for one in (method.D.source_layer, method.D.target_layer)])
    for without, with_it in zip(*found, strict=True):
        assert without is not None
        assert with_it is not None
        assert (with_it - without).abs().max() > 1e-5


def test_classes_are_learnt_from_views_and_real_is_told_from_images() -> None:
    def losses(policy: str) -> dict[str, Tensor]:
        method = build(class_augment=policy)
        torch.manual_seed(3)
        return dict(method.step(X, LABELS, T))

    plain, augmented = losses("none"), losses("symbols")
    assert torch.equal(plain["D"], augmented["D"])
    assert torch.equal(plain["feature"], augmented["feature"])
    assert not torch.equal(plain["label"], augmented["label"])


def test_images_are_drawn_and_seen_in_the_unit_interval() -> None:
    method = build().eval()
    drawn = torch.cat(method.G(torch.randn(8, 5)))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    images = torch.rand(6, 3, 16, 16)
    assert torch.allclose(method(2 * images - 1), method.D.label(method.D.features_of_target(images)))


def test_linear_decay_ends_near_zero() -> None:
    method = build(batch_size=4, steps=10, lr_decay="linear", lr=1.0)
    (phase,) = method.phases(random_data())
    rates = []
    for number in range(phase.steps):
        phase.step(number)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in method.optimizers.values()])
    assert rates == [pytest.approx([rate, rate]) for rate in (1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2)]


def test_labels_never_reach_the_targets_own_layer() -> None:
    D = build().D
    loss = torch.nn.functional.cross_entropy(D.label(D.features_of_source(X)), LABELS)
    found = torch.autograd.grad(loss, list(D.parameters()), allow_unused=True)
    reached = {
        name.partition(".")[0] for (name, _), g in zip(D.named_parameters(), found, strict=True) if g is not None
    }
    assert reached == {"source_layer", "shared", "label"}


def test_the_warm_up_learns_the_sources_classes_with_the_same_first_layer() -> None:
    method = build(steps=2, batch_size=4, warmup_steps=3, weight_decay=0.0)
    warm_up, adversarial = method.phases(random_data())
    assert [(phase.name, phase.steps) for phase in (warm_up, adversarial)] == [("warm-up", 3), ("adversarial", 2)]
    before = {name: parameter.clone() for name, parameter in method.named_parameters()}
    method.warm_up(X, LABELS)
    moved = {
        ".".join(name.split(".")[:2])
        for name, parameter in method.named_parameters()
        if not torch.equal(before[name], parameter)
    }
    assert moved == {"D.source_layer", "D.target_layer", "D.shared", "D.label"}
    assert torch.equal(method.D.source_layer.weight, method.D.target_layer.weight)


def test_weights_of_before_its_images_were_in_the_unit_interval_are_refused() -> None:
    method = build()
    weights = method.weights()
    weights["D"] = {name.replace("_layer.", "."): weight for name, weight in weights["D"].items()}
    with pytest.raises(RunError, match="of another version of acclimate: cogan's D is built otherwise now"):
        method.load_weights(weights)


@pytest.mark.parametrize("private_layers", [1, 3, 5])
def test_a_pair_shares_all_layers_but_the_last(private_layers: int) -> None:
    G = build(private_layers=private_layers).G.eval()
    assert (len(G.shared), len(G.to_source), len(G.to_target)) == (5 - private_layers, private_layers, private_layers)
    z = torch.randn(4, 5)
    source, target = G(z)
    assert not torch.allclose(source, target)
    G.to_target.load_state_dict(G.to_source.state_dict())
    assert torch.equal(*G(z))


def test_classifies_through_the_targets_own_layer() -> None:
    method = build().eval()

    def difference(layer: torch.nn.Module) -> Tensor:
        before = method(T)
        torch.nn.init.zeros_(layer.weight)
        return (method(T) - before).abs().max()

    assert method(T).shape == (6, 3)
    assert difference(method.D.source_layer) == 0
    assert difference(method.D.target_layer) > 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"latent": 0}, "--latent must be at least 1"),
        ({"private_layers": 6}, "from 1 to 5"),
        ({"class_weight": -1.0}, "--class-weight must be 0 or more"),
    ],
)
def test_settings_out_of_range(setting: dict[str, float], message: str) -> None:
    with pytest.raises(AcclimateError, match=message):
        build(**setting)
