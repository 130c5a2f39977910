"""The translator as a stage of its own: rounding and noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acclimate.config import Config
from acclimate.images import to_float
from acclimate.methods import Method, Task
from acclimate.training import Engine
from acclimate.translation import Translator


class Same(Method):
    """Redraws images as they are."""

    name = "same"
    translates = True

    def translate(self, images: Tensor) -> Tensor:
        return images


def translator(noise: float) -> Translator:
    return Translator(Same(Config(), Task(3, 8, ("a", "b")), Engine()), Engine(), noise)


def test_without_noise_images_come_back_to_the_byte() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).expand(2, 3, 256).reshape(2, 3, 16, 16)
    assert torch.equal(translator(0.0)(pixels), pixels)


def test_noise_is_added_before_translating() -> None:
    torch.manual_seed(0)
    pixels = torch.full((8, 3, 32, 32), 128, dtype=torch.uint8)
    noise = to_float(translator(0.1)(pixels)) - to_float(pixels)
    assert noise.std().item() == pytest.approx(0.1, rel=0.03)
    assert abs(noise.mean().item()) < 0.01
