from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.data.sets import Images, LabelledImages
from acclimate.errors import AcclimateError
from acclimate.methods.base import AdaptationData, Task
from acclimate.methods.cycada.config import CyCADAConfig
from acclimate.methods.cycada.method import CyCADA
from acclimate.methods.cyclegan.method import CycleGAN
from acclimate.pipeline.adapt import start
from acclimate.reporting.tables import preset_of
from acclimate.runs.adaptation import Adaptation
from acclimate.training.engine import Engine
from acclimate.training.state import read_json, write_json
from helpers import batch, gradients, parameters_of, watch_updates

TASK = Task(3, 16, ("a", "b", "c"))
X, Y = batch(1), batch(2)


def build(**settings: Any) -> CyCADA:
    torch.manual_seed(0)
    small = {"width": 4, "discriminator_width": 4, "dropout": 0.0, "classifier": "dann", "pool": 0}
    short = {"batch_size": 8, "feature_batch_size": 8, "steps": 6, "classifier_steps": 2, "feature_steps": 4}
    return CyCADA(CyCADAConfig(**(small | short | settings)), TASK, Engine())


def data(count: int = 16) -> AdaptationData:
    pixels = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    labelled = LabelledImages(pixels, torch.arange(count) % 3)
    return AdaptationData(labelled, labelled, Images(pixels.flip(0)))


def test_semantic_consistency_by_hand() -> None:
    method = build(semantic_weight=3.0)
    with torch.no_grad():
        fake_y, fake_x = method.G(X), method.F(Y)
        expected = {
            "semantic_x": 3 * F.cross_entropy(method.f_S(fake_y), method.f_S(X).argmax(1)),
            "semantic_y": 3 * F.cross_entropy(method.f_S(fake_x), method.f_S(Y).argmax(1)),
        }
    logged = method.step(X, Y)
    for name, value in expected.items():
        assert logged[name].item() == pytest.approx(value.item(), rel=1e-4), name
    cycle = {"G_adversarial": 1, "F_adversarial": 1, "cycle_x": 1, "cycle_y": 1, "semantic_x": 1, "semantic_y": 1}
    total = sum(weight * logged[name].item() for name, weight in cycle.items())
    assert logged["generators"].item() == pytest.approx(total, rel=1e-4)


def test_the_consistency_teaches_both_generators() -> None:
    found = {}
    for weight in (0.0, 3.0):
        method = build(semantic_weight=weight)
        method.step(X, Y)
        found[weight] = [gradients(method, name) for name in "GF"]
    for without, with_it in zip(found[0.0], found[3.0], strict=True):
        assert (with_it - without).abs().max() > 1e-5


def test_an_unsure_word_does_not_count() -> None:
    with torch.no_grad():
        sure = build().f_S(torch.cat([X, Y])).softmax(1).amax(1).median().item()
        method, losses = build(sure=sure), []
        for images, drawn in ((X, method.G(X)), (Y, method.F(Y))):
            certain, seen = method.f_S(images).softmax(1).max(1)
            each = F.cross_entropy(method.f_S(drawn), seen, reduction="none")
            losses.append(torch.where(certain >= sure, each, 0.0).mean().item())
            assert (certain < sure).any()
    logged = method.step(X, Y)
    assert [logged[name].item() for name in ("semantic_x", "semantic_y")] == pytest.approx(losses, rel=1e-4)


def test_f_s_may_learn_from_strong_views() -> None:
    seen: dict[str, Tensor] = {}
    for policy in ("none", "symbols"):
        method = build(source_augment=policy)
        method.f_S.register_forward_pre_hook(lambda _, inputs, name=policy: seen.update({name: inputs[0]}))
        method.phases(data())[0].step(0)
    pixels = data().source_train.pixels.float() / 127.5 - 1
    assert all(any(torch.equal(image, one) for one in pixels) for image in seen["none"])
    assert not any(torch.equal(image, one) for image in seen["symbols"] for one in pixels)


def test_g_is_given_the_noise_that_it_draws_from() -> None:
    method = build(training_noise=0.5)
    *_, pixel, _ = method.phases(data())
    seen: list[Tensor] = []
    method.translate = lambda images: seen.append(images) or images  # type: ignore[method-assign, func-returns-value]
    pixel.step(0)
    pixels = data().source_train.pixels.float() / 127.5 - 1
    assert not any(torch.equal(image, one) for image in seen[0] for one in pixels)


def test_without_weight_its_translator_is_cyclegans() -> None:
    method = build(semantic_weight=0.0)
    torch.manual_seed(0)
    plain = CycleGAN(method.config, TASK, Engine())
    plain.load_state_dict({key: value for key, value in method.state_dict().items() if key in plain.state_dict()})
    for _ in range(2):
        mine, its = method.step(X, Y), plain.step(X, Y)
    assert mine["generators"].item() == pytest.approx(its["generators"].item(), rel=1e-6)


def test_who_learns_in_which_phase() -> None:
    method = build(feature_floor=0.0)
    source, translator, pixel, feature = method.phases(data())
    assert [phase.name for phase in (source, translator, pixel, feature)] == [
        "source",
        "translator",
        "pixel",
        "feature",
    ]
    assert [phase.steps for phase in (source, translator, pixel, feature)] == [2, 6, 2, 4]
    seen = watch_updates(method)
    source.step(0)
    translator.step(0)
    assert seen == [
        ("f_S", parameters_of(method, "f_S")),
        ("generators", parameters_of(method, "G", "F")),
        ("discriminators", parameters_of(method, "D_X", "D_Y")),
    ]
    outside = {key: value.clone() for key, value in method.state_dict().items() if not key.startswith("adda.")}
    seen = watch_updates(method.adda)
    pixel.step(0)
    feature.step(1)
    assert seen == [
        ("source", parameters_of(method.adda, "source_encoder")),
        ("discriminator", parameters_of(method.adda, "discriminator")),
        ("target", parameters_of(method.adda, "target_encoder")),
    ]
    assert all(torch.equal(value, method.state_dict()[key]) for key, value in outside.items())


def test_the_feature_phase_starts_from_the_classifier_of_redrawn_images() -> None:
    method = build()
    *_, pixel, feature = method.phases(data())
    pixel.step(0)
    method.adda.adversarial_step = lambda *_: {}  # type: ignore[method-assign]
    feature.step(0)
    for name, value in method.adda.source_encoder.state_dict().items():
        assert torch.equal(value, method.adda.target_encoder.state_dict()[name])


def test_only_the_last_phase_keeps_snapshots_which_hold_generators_and_classifier() -> None:
    method = build(snapshots=2)
    kept = [phase.snapshot is not None and phase.snapshot_every for phase in method.phases(data())]
    assert kept == [False, False, False, 2] or kept == [0, False, 0, 2]
    assert set(method.weights()) == {"G", "F", "classifier"}


def test_the_averaged_generator_redraws_what_the_classifiers_see() -> None:
    method = build(ema=0.5)
    _, translator, pixel, feature = method.phases(data())
    translator.step(0)
    seen = []
    method.adda.source_step = lambda x, labels: seen.append(x) or {}  # type: ignore[method-assign, func-returns-value]
    method.adda.adversarial_step = lambda x, y: seen.append(x) or {}  # type: ignore[method-assign, func-returns-value]
    pixel.step(1)
    feature.step(1)
    assert method.average is not None
    for images in seen:
        assert any(torch.allclose(images[0], one, atol=1e-6) for one in redrawn(method.average.networks[0]))
        assert not any(torch.allclose(images[0], one, atol=1e-6) for one in redrawn(method.G))


def redrawn(generator: torch.nn.Module) -> Tensor:
    pixels = data().source_train.pixels.float() / 127.5 - 1
    with torch.no_grad():
        images: Tensor = generator.eval()(pixels)
    return images


def test_the_target_copy_rests_as_the_authors_does_but_in_fast() -> None:
    assert build().adda.config.discriminator_floor == 0.6
    assert build(feature_floor=0.0).adda.config.discriminator_floor == 0.0
    floors = {name: CyCADAConfig.preset(name).feature_floor for name in CyCADAConfig.presets}
    assert floors == {"paper": 0.6, "fast": 0.0, "full": 0.6}


def test_runs_older_than_the_floor_had_none(tmp_path: Path) -> None:
    run = start("digits", "digits-m", method="cycada", preset="fast", out=tmp_path / "run").run
    stored = read_json(run.path / "config.json")
    assert stored["config"].pop("feature_floor") == 0.0
    result = stored | {"versions": {"acclimate": "0.2.0"}}
    assert preset_of(result) == "fast"
    assert preset_of(result | {"preset": "full"}) == "fast"  # which it is, whatever it was called
    write_json(run.path / "config.json", stored)
    assert Adaptation(run.path).config.feature_floor == 0.0  # type: ignore[attr-defined]


def test_the_target_copy_classifies() -> None:
    method = build().eval()
    assert torch.equal(method(X), method.adda.target_encoder(X))


def test_settings_out_of_range() -> None:
    for setting in (
        {"classifier_steps": 0},
        {"feature_lr": 0.0},
        {"semantic_weight": -1.0},
        {"pool": -1},
        {"sure": 1.5},
    ):
        with pytest.raises(AcclimateError, match=f"--{next(iter(setting)).replace('_', '-')} must be"):
            CyCADAConfig(**setting)  # type: ignore[arg-type]
