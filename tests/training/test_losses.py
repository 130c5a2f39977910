"""Every loss against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from acclimate.training.losses import (
    bce,
    discriminator_accuracy,
    lsgan_discriminator,
    lsgan_generator,
    reconstruction,
    total_variation,
)


def test_lsgan_generator() -> None:
    assert lsgan_generator(torch.tensor([0.5, 1.0])).item() == pytest.approx((0.25 + 0) / 2)


def test_lsgan_discriminator() -> None:
    real, fake = torch.tensor([0.5, 1.0]), torch.tensor([0.2, 0.4])
    assert lsgan_discriminator(real, fake).item() == pytest.approx((0.25 + 0) / 2 + (0.04 + 0.16) / 2)


def test_bce() -> None:
    logits = torch.tensor([[0.0], [math.log(3)]])  # probabilities 1/2 and 3/4
    assert bce(logits, 1).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert bce(logits, 0).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_reconstruction_is_a_mean_over_pixels() -> None:
    assert reconstruction(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.5, 1.0]])).item() == pytest.approx(1.25)


def test_discriminator_accuracy() -> None:
    real, fake = torch.tensor([0.9, 0.4]), torch.tensor([0.1, 0.2, 0.3, 0.6])
    assert discriminator_accuracy(real, fake).item() == pytest.approx((0.5 + 0.75) / 2)


def test_losses_are_float32_from_bfloat16() -> None:
    scores = torch.tensor([0.5], dtype=torch.bfloat16)
    assert lsgan_generator(scores).dtype == torch.float32
    assert reconstruction(scores, torch.zeros(1)).dtype == torch.float32
    assert bce(scores, 1).dtype == torch.float32


def test_total_variation_is_the_mean_length_of_the_pixel_gradient() -> None:
    images = torch.tensor([[[[0.0, 4.0, 4.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]])
    lengths = [5.0, 4.0, 3.0 * 2**0.5, 0.0]  # (down, right): (3, 4), (-4, 0), (-3, -3), (0, 0)
    assert total_variation(images).item() == pytest.approx(sum(lengths) / 4, abs=1e-3)


def test_total_variation_of_a_plain_image_has_a_gradient() -> None:
    images = torch.zeros(1, 1, 3, 3, requires_grad=True)
    total_variation(images).backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
