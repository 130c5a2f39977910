from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from acclimate import adapt
from acclimate.data.domains import DataOptions, open_domain
from acclimate.data.sets import Images, LabelledImages
from acclimate.errors import AcclimateError
from acclimate.methods.base import AdaptationData, Task
from acclimate.methods.pix2pix.config import Pix2PixConfig
from acclimate.methods.pix2pix.method import Pix2Pix
from acclimate.pipeline.adapt import start
from acclimate.training.engine import Engine
from helpers import batch, gradients, parameters_of, tiny, watch_losses, watch_updates

TASK = Task(3, 16, ("a", "b"))
X, Y = batch(1), batch(2)


def build(**settings: Any) -> Pix2Pix:
    torch.manual_seed(0)
    small = {"width": 4, "discriminator_width": 4, "dropout": 0.0, "lr_decay": "none"}
    return Pix2Pix(Pix2PixConfig(**(small | settings)), TASK, Engine())


def data(*, paired: bool) -> AdaptationData:
    pixels = torch.randint(0, 256, (20, 3, 16, 16), dtype=torch.uint8)
    labelled = LabelledImages(pixels, torch.arange(20) % 2)
    return AdaptationData(labelled, labelled, Images(255 - pixels), paired)


def test_the_losses_are_the_papers_with_their_weights() -> None:
    method = build(reconstruction_weight=10.0)
    method._set_lr(0.0, "discriminator")
    followed = watch_losses(method)
    with torch.no_grad():
        fake = method.G(X)
        real_score, fake_score = (method.D(torch.cat([X, output], 1)) for output in (Y, fake))
        D = -real_score.log().mean() - (1 - fake_score).log().mean()
        adversarial, L1 = -fake_score.log().mean(), (fake - Y).abs().mean()
    losses: Mapping[str, Tensor] = method.step(X, Y)
    for name, value in {"D": D, "G_adversarial": adversarial, "L1": L1}.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
    given = {"discriminator": 0.5 * D.item(), "generator": (adversarial + 10 * L1).item()}
    assert dict(followed) == pytest.approx(given, rel=1e-4)


def test_the_distance_teaches_the_generator() -> None:
    found = []
    for weight in (0.0, 10.0):
        method = build(reconstruction_weight=weight)
        torch.manual_seed(3)
        method.step(X, Y)
        found.append(gradients(method, "G"))
    assert (found[1] - found[0]).abs().max() > 1e-4


def test_who_learns_at_which_update() -> None:
    method = build()
    seen = watch_updates(method)
    method.step(X, Y)
    assert seen == [("discriminator", parameters_of(method, "D")), ("generator", parameters_of(method, "G"))]


def test_the_discriminator_sees_the_input() -> None:
    method = build()
    assert not torch.equal(method.D(torch.cat([X, Y], 1)), method.D(torch.cat([X.flip(0), Y], 1)))


def test_a_step_is_given_pairs() -> None:
    method, pairs = build(batch_size=4, steps=5), []
    (phase,) = method.phases(data(paired=True))
    method.step = lambda x, y: pairs.append((x, y)) or {}  # type: ignore[method-assign, func-returns-value]
    for number in range(5):
        phase.step(number)
    assert all(torch.allclose(x, -y, atol=1e-6) for x, y in pairs)  # y is the negative of x
    assert len({x.sum().item() for x, _ in pairs}) == 5


def test_unpaired_data_is_refused_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match="pix2pix learns from pairs") as error:
        build().phases(data(paired=False))
    assert "\n" not in str(error.value)
    with pytest.raises(AcclimateError, match="pix2pix learns from pairs"):
        adapt("digits", "digits-m", method="pix2pix", out=tmp_path / "run", **tiny("pix2pix", disjoint=True))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_which_domains_are_paired(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder, other = str(make_folder("mine")), str(make_folder("other"))
    pairs = {
        ("digits", "digits-m"): True,
        ("digits", "digits"): True,
        (folder, folder): True,
        (folder, other): False,
    }
    for number, ((source, target), paired) in enumerate(pairs.items()):
        adaptation = start(source, target, out=tmp_path / str(number), image_size=8, batch_size=8)
        assert adaptation.data.paired == paired, (source, target)
        if source == target:
            assert torch.equal(adaptation.data.source_train.pixels, adaptation.data.target_train.pixels)
    apart = start("digits", "digits-m", out=tmp_path / "apart", image_size=8, disjoint=True)
    assert not apart.data.paired


def test_a_folder_in_two_orders_is_not_paired(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder("mine")
    adaptation = start(folder, folder, out=tmp_path / "run", image_size=8, batch_size=8)
    order = adaptation.source.names("train")
    assert order is not None
    adaptation.target.names = lambda split: order[::-1]  # type: ignore[method-assign]
    assert not adaptation.data.paired


def edges(pixels: Tensor) -> Tensor:
    """Return where images ``[N, C, H, W]`` change, as unit vectors: a digit's outline shows on any photo."""
    images = pixels.float()
    down = (images[..., 1:, :-1] - images[..., :-1, :-1]).abs()
    right = (images[..., :-1, 1:] - images[..., :-1, :-1]).abs()
    flat = (down + right).sum(1).flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True)


def agreement(source: str, target: str, data_root: Path, count: int = 300) -> float:
    """Return the share of target images whose nearest source image, by edges, has the same index."""
    options = DataOptions(data_root=data_root, download=False)
    x, y = (open_domain(name, options).images("train").pixels[:count] for name in (source, target))
    return ((edges(y) @ edges(x).T).argmax(1) == torch.arange(count)).float().mean().item()


def test_digits_and_digits_m_show_the_same_digits_in_the_same_order(tmp_path: Path) -> None:
    assert agreement("digits", "digits-m", tmp_path) > 0.95


def test_mnist_and_mnist_m_show_the_same_digits_in_the_same_order(real_data: Path) -> None:
    assert agreement("mnist", "mnist-m", real_data) > 0.95


def test_the_average_translates_and_is_what_a_snapshot_holds() -> None:
    method = build(ema=0.5)
    method.step(X, Y)
    assert method.average is not None
    with torch.no_grad():
        expected = method.average.networks[0].eval()(X)
        assert not torch.allclose(method.G.eval()(X), expected)
    assert torch.equal(method.translate(X), expected)
    other = build(ema=0.5)
    other.load_weights(method.weights())
    assert torch.equal(other.translate(X), expected)


def test_the_classifier_is_trained_on_what_it_draws(tmp_path: Path) -> None:
    settings = tiny("pix2pix", repeats=1, target_only=False)
    adaptation = adapt("digits", "digits-m", method="pix2pix", out=tmp_path / "run", **settings)
    assert adaptation.run.result["translation"]["images"] == 256 + 200
    assert (tmp_path / "run" / "models" / "adapted-0.safetensors").exists()
