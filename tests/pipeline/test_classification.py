from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from acclimate.config import Config
from acclimate.data.domains import DataOptions, open_domain
from acclimate.data.sets import LabelledImages
from acclimate.errors import InterruptedRunError
from acclimate.methods.base import Task
from acclimate.pipeline.classification import ClassifierTraining, PlateauStopping
from acclimate.runs.directory import Run
from acclimate.runs.evaluation import Classifier, predict_logits, summary
from acclimate.training.engine import Engine
from acclimate.training.loop import train

DIGITS = tuple("0123456789")


def sets() -> tuple[LabelledImages, LabelledImages]:
    domain = open_domain("digits", DataOptions(image_size=8))
    return domain.labelled("train"), domain.labelled("val")


def training(seed: int = 0, **settings: object) -> ClassifierTraining:
    config = Config(**({"image_size": 8, "classifier_epochs": 3, "precision": "float32"} | settings))  # type: ignore[arg-type]
    return ClassifierTraining("toy", *sets(), config, Task(3, 8, DIGITS), Engine(), seed)


def test_it_learns(tmp_path: Path) -> None:
    one = training(classifier_epochs=8)
    train(one.phase, Run.create(tmp_path / "run", {}), Engine(), 0)
    test = open_domain("digits", DataOptions(image_size=8)).labelled("test")
    (accuracy,) = Classifier([one.classifier], DIGITS, Engine()).accuracies(test)
    assert accuracy > 0.85


def test_its_seed_decides_weights_and_order() -> None:
    first, same, other = training(0), training(0), training(1)
    assert torch.equal(first.classifier.features[0].weight, same.classifier.features[0].weight)
    assert torch.equal(first.batches[0], same.batches[0])
    assert not torch.equal(first.classifier.features[0].weight, other.classifier.features[0].weight)
    assert not torch.equal(first.batches[0], other.batches[0])


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    training()
    assert torch.equal(torch.rand(2), expected)


def test_only_the_first_images_are_trained_on() -> None:
    assert len(training(classifier_images=300).train) == 300
    assert training(classifier_images=300).batches.steps_per_epoch == 2


def test_a_dead_training_starts_again_from_other_weights(tmp_path: Path) -> None:
    one, run = training(classifier_epochs=6), Run.create(tmp_path / "run", {})
    first = one.classifier.features[0].weight.detach().clone()
    for parameter in one.classifier.parameters():
        parameter.data.fill_(-0.1)
    train(one.phase, run, Engine(), 0)
    assert one.restarts == 1
    assert [entry["restarts"] for entry in run.metrics() if "restarts" in entry] == [1]
    assert not torch.equal(one.classifier.features[0].weight, first)
    assert list(run.metrics())[-1]["val_accuracy"] > 0.5


def test_one_image_to_validate_on_tells_no_dead_training() -> None:
    one = training()
    one.val = one.val.first(1)
    one.step(0)
    one.end_epoch()
    assert one.restarts == 0


def test_restarts_end() -> None:
    one = training()
    for expected in (1, 2, 3, 3):
        for parameter in one.classifier.parameters():
            parameter.data.fill_(-0.1)
        one.end_epoch()
        assert one.restarts == expected


def test_plateau_and_stopping_as_in_keras() -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], 1.0)
    stopping = PlateauStopping(optimizer, plateau=3, patience=5)
    rates, stops = [], []
    for loss in (1.0, 0.5, 0.5, 0.49995, 0.6, 0.5, 0.5):
        stops.append(stopping.update(loss))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1])
    assert stops == [False, False, False, False, False, False, True]


def test_stopping_state_round_trip() -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], 1.0)
    stopping = PlateauStopping(optimizer, 2, 3)
    stopping.update(1.0)
    stopping.update(1.0)
    other = PlateauStopping(optimizer, 2, 3)
    other.load_state_dict(stopping.state_dict())
    assert [other.update(1.0), other.update(1.0)] == [False, True]


@pytest.mark.parametrize("stop_at", [2, 7, 14])
def test_stopped_and_resumed_is_bit_for_bit_unbroken(stop_at: int, tmp_path: Path) -> None:
    settings = {
        "classifier_epochs": 4, "classifier_lr": 3e-2, "classifier_plateau": 1, "classifier_patience": 9,
        "classifier_images": 1100, "classifier_batch_size": 256, "augment": "light",
    }  # fmt: skip
    whole, run = training(**settings), Run.create(tmp_path / "broken", {})
    train(whole.phase, Run.create(tmp_path / "whole", {}), Engine(), 0, checkpoint_every=3)
    assert whole.batches.steps_per_epoch == 5

    broken, step = training(**settings), ClassifierTraining.step

    def interrupted(number: int) -> Mapping[str, Tensor]:
        if number == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return step(broken, number)

    broken.step = interrupted  # type: ignore[method-assign]
    with pytest.raises(InterruptedRunError, match=f"after step {stop_at + 1}"):
        train(broken.phase, run, Engine(), 0, checkpoint_every=3)
    resumed = training(**settings)
    train(resumed.phase, run, Engine(), 0, checkpoint_every=3)
    assert list(run.metrics()) == list(Run(tmp_path / "whole").metrics())
    rates = [entry["lr"] for entry in run.metrics() if "lr" in entry]
    assert rates[-1] < rates[0]  # there was a plateau to remember
    for one, other in zip(whole.classifier.parameters(), resumed.classifier.parameters(), strict=True):
        assert torch.equal(one, other)
    assert whole.stopping.state_dict() == resumed.stopping.state_dict()


def test_prediction_does_not_depend_on_the_batch() -> None:
    one = training()
    pixels = sets()[1].pixels
    logits = predict_logits(one.classifier, pixels, Engine())
    assert torch.allclose(predict_logits(one.classifier, pixels[:1], Engine()), logits[:1], atol=1e-5)


def test_probabilities_are_the_mean_over_trainings() -> None:
    networks = [training(seed).classifier for seed in (0, 1)]
    pixels = sets()[1].pixels[:5]
    both = Classifier(networks, DIGITS, Engine()).probabilities(pixels)
    each = [Classifier([network], DIGITS, Engine()).probabilities(pixels) for network in networks]
    assert torch.allclose(both, (each[0] + each[1]) / 2)
    assert torch.allclose(both.sum(1), torch.ones(5))


def test_summary_is_the_papers_population_spread() -> None:
    assert summary([0.8, 0.9]) == {"mean": 0.85, "std": 0.05, "runs": [0.8, 0.9], "spread": "classifier seeds"}
