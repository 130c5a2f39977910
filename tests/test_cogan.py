from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acclimate.config import CoGANConfig
from acclimate.errors import AcclimateError
from acclimate.methods import CoGAN, Task
from acclimate.training import Engine
from conftest import batch, parameters_of, watch_updates

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
    given = {}
    update = method._update
    method._update = lambda name, loss: (given.update({name: loss.item()}), update(name, loss))[1]  # type: ignore[method-assign]
    torch.manual_seed(3)
    logged = method.step(X, LABELS, T)

    torch.manual_seed(3)
    D = method.D
    with torch.no_grad():
        drawn_x, drawn_t = method.G(torch.randn(6, 5))
        f_x, f_t = D.features_of_source(drawn_x), D.features_of_target(drawn_t)
        real, drawn = D(X, T).sigmoid(), D(drawn_x, drawn_t).sigmoid()
        again = D(*method.G(torch.randn(6, 5))).sigmoid()
        chances = D.label(D.features_of_source(X)).softmax(1)
    expected = {
        "D": -real.log().mean() - (1 - drawn).log().mean(),
        "label": -chances[torch.arange(6), LABELS].log().mean(),
        "feature": ((f_x - f_t) ** 2).sum() / 6,
        "G": -again.log().mean(),
    }
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-4), name
    total = expected["D"] + 3 * expected["label"] + 0.5 * expected["feature"]
    assert given == {"discriminators": pytest.approx(total.item(), rel=1e-4), "generators": logged["G"].item()}
    assert not torch.allclose(again, drawn)


def test_labels_never_reach_the_targets_own_layer() -> None:
    D = build().D
    loss = torch.nn.functional.cross_entropy(D.label(D.features_of_source(X)), LABELS)
    found = torch.autograd.grad(loss, list(D.parameters()), allow_unused=True)
    reached = {
        name.partition(".")[0] for (name, _), g in zip(D.named_parameters(), found, strict=True) if g is not None
    }
    assert reached == {"from_source", "shared", "label"}


def test_a_pair_shares_all_layers_but_the_last() -> None:
    G = build().G.eval()
    own = {name.partition(".")[0] for name, _ in G.named_parameters()} - {"shared"}
    assert own == {"to_source", "to_target"}
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
    assert difference(method.D.from_source) == 0
    assert difference(method.D.from_target) > 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"latent": 0}, "--latent must be at least 1"), ({"class_weight": -1.0}, "--class-weight must be 0 or more")],
)
def test_settings_out_of_range(setting: dict[str, float], message: str) -> None:
    with pytest.raises(AcclimateError, match=message):
        build(**setting)
