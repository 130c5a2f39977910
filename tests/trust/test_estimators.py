"""Each estimator against values computed by hand or by another way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from acclimate.trust import estimators


def binary(confidences: list[float]) -> Tensor:
    top = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([top, 1 - top], 1)


def blobs(centres: Tensor, count: int, seed: int, spread: float = 0.3) -> tuple[Tensor, Tensor]:
    """Return features around a centre a class, and their labels."""
    labels = torch.arange(len(centres)).repeat(count)
    generator = torch.Generator().manual_seed(seed)
    return centres[labels] + spread * torch.randn(len(labels), centres.shape[1], generator=generator), labels


CENTRES = 3 * torch.eye(4)


def test_difference_of_confidences() -> None:
    val, labels = binary([0.9, 0.9, 0.7, 0.7]), torch.tensor([0, 0, 0, 1])
    target = binary([0.8, 0.6, 0.4, 0.6])
    assert estimators.difference_of_confidences(val, labels, target) == pytest.approx(0.75 - 0.8 + 0.65)
    assert estimators.difference_of_confidences(binary([0.9]), torch.tensor([1]), binary([0.6])) == 0


def test_average_thresholded_confidence() -> None:
    val, labels = binary([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 0, 1])  # a quarter is wrong: the threshold is 0.6
    assert estimators.average_thresholded_confidence(val, labels, binary([0.95, 0.59, 0.6, 0.61])) == 0.5
    right = torch.zeros(4, dtype=torch.int64)
    assert estimators.average_thresholded_confidence(val, right, binary([0.51])) == 1


def test_transport_is_the_cheapest_way_to_give_labels_in_the_source_s_shares() -> None:
    target = binary([0.9, 0.8, 0.7, 0.1])
    # two labels of each class: the last takes the second class, and so does the least sure of the others
    assert estimators.transport_accuracy(target, torch.tensor([0.5, 0.5])) == pytest.approx((0.9 + 0.8 + 0.3 + 0.9) / 4)
    assert estimators.transport_accuracy(target, torch.tensor([0.75, 0.25])) == pytest.approx(
        (0.9 + 0.8 + 0.7 + 0.9) / 4
    )
    collapsed = binary([0.99] * 100)
    assert estimators.confidence(collapsed) == pytest.approx(0.99)
    assert estimators.transport_accuracy(collapsed, torch.tensor([0.5, 0.5])) == pytest.approx(0.5)


def test_transport_of_many_images_takes_an_even_part() -> None:
    target = binary([0.9] * 1500 + [0.1] * 1500)
    assert estimators.transport_accuracy(target, torch.tensor([0.5, 0.5])) == pytest.approx(0.9, abs=1e-3)


def test_thresholded_transport() -> None:
    val, labels = binary([0.9, 0.8, 0.3, 0.2]), torch.tensor([0, 0, 1, 0])  # costs 0.1, 0.2, 0.3, 0.2, one wrong
    target = binary([0.95, 0.65, 0.35, 0.05])  # costs 0.05, 0.35, 0.35, 0.05
    prior = torch.tensor([0.5, 0.5])
    assert estimators.thresholded_transport_accuracy(val, labels, target, prior) == 0.5
    right = torch.tensor([0, 0, 1, 1])
    assert estimators.thresholded_transport_accuracy(val, right, target, prior) == 1


def test_nuclear_norm_is_one_for_sure_and_balanced_predictions() -> None:
    assert estimators.nuclear_norm(torch.eye(3).repeat(5, 1)) == pytest.approx(1)
    assert estimators.nuclear_norm(torch.eye(3)[[0] * 15]) == pytest.approx(1 / math.sqrt(3))
    assert estimators.nuclear_norm(torch.full((15, 3), 1 / 3)) == pytest.approx(1 / 3)


def test_the_disagreement_bound_lies_below_what_can_be_known() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (600,), generator=generator)
    sharp = (4 * torch.eye(3)[labels] + torch.randn(600, 3, generator=generator)).softmax(1)
    true = estimators.accuracy(sharp[300:], labels[300:])
    same = estimators.disagreement_bound(sharp[:300], labels[:300], sharp[300:])
    assert true - 0.15 < same <= true + 0.02  # nothing has shifted: hardly any room to disagree
    vague = (1 * torch.eye(3)[labels] + torch.randn(600, 3, generator=generator)).softmax(1)[300:]
    bound = estimators.disagreement_bound(sharp[:300], labels[:300], vague)
    assert bound < estimators.accuracy(vague, labels[300:])


def test_probes_see_classes_that_were_exchanged() -> None:
    source, labels = blobs(CENTRES, 30, 0)
    target, truth = blobs(CENTRES + 5, 30, 1)
    assert estimators.probe_accuracy(target, truth, source, labels) == 1
    swapped = truth.clone()
    swapped[truth == 0], swapped[truth == 1] = 1, 0
    for there in (
        estimators.probe_accuracy(target, swapped, source, labels),
        estimators.probe_accuracy(source, labels, target, swapped),
    ):
        assert there == pytest.approx(0.5, abs=0.02)


def test_neighbour_agreement() -> None:
    features, labels = blobs(CENTRES, 30, 0)
    assert estimators.neighbour_agreement(features, labels) == 1
    generator = torch.Generator().manual_seed(0)
    assert estimators.neighbour_agreement(features, torch.randint(0, 4, (120,), generator=generator)) < 0.5
    assert estimators.neighbour_agreement(features[:1], labels[:1]) == 1


def drawn(shares: list[float], count: int = 4000) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a calibrated classifier of two Gaussians, trained at equal shares, says of images in these shares."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor(shares).multinomial(count, replacement=True, generator=generator)
    x = 2.0 * labels - 1 + 0.8 * torch.randn(count, generator=generator)
    second = (2 * x / 0.8**2).sigmoid()
    return torch.stack([1 - second, second], 1), labels, torch.bincount(labels).double() / count


def test_shifted_shares_are_found() -> None:
    val, _, _ = drawn([0.5, 0.5])
    target, _, true = drawn([0.9, 0.1])
    raw = estimators.class_shares(target)
    found = estimators.shifted_shares(target, torch.tensor([0.5, 0.5]))
    assert found.sum() == pytest.approx(1)
    assert estimators.total_variation(found, true) < 0.02
    assert estimators.total_variation(estimators.shifted_shares(val, torch.tensor([0.5, 0.5])), raw) > 0.3


def test_temperature_and_calibration_error() -> None:
    val, labels, _ = drawn([0.5, 0.5])
    logits = val.clamp(1e-6).log()
    assert estimators.calibration_error(val, labels) < 0.03
    assert torch.equal(estimators.tempered(val, 1), val)
    assert torch.allclose(estimators.tempered((3 * logits).softmax(1), 3), val, atol=1e-3)
    right = estimators.accuracy(val, labels)
    assert estimators.matching_temperature((3 * logits).softmax(1), right) == pytest.approx(3, abs=0.4)
    assert estimators.calibration_error((3 * logits).softmax(1), labels) > 0.05
    assert estimators.calibration_error(binary([0.8, 0.8, 0.8, 0.8]), torch.tensor([0, 0, 1, 1])) == pytest.approx(0.3)
