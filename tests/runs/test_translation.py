"""The translator as a stage of its own: rounding and noise."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from acclimate.config import Config
from acclimate.data.images import texture_noise, to_float
from acclimate.methods.base import Method, Task
from acclimate.runs.translation import OVERLAP, TILE, Translator, tile_starts
from acclimate.training.engine import Engine


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


def test_noise_is_added_before_translating_and_images_stay_in_range() -> None:
    torch.manual_seed(0)
    gray, black = (torch.full((8, 3, 32, 32), value, dtype=torch.uint8) for value in (128, 0))
    noise = to_float(translator(0.1)(gray)) - to_float(gray)
    assert noise.std().item() == pytest.approx(0.1 * texture_noise(torch.zeros(64, 3, 32, 32)).std().item(), rel=0.1)
    assert abs(noise.mean().item()) < 0.02
    assert (to_float(translator(0.3)(black)) == -1).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_texture_noise_is_gray_and_has_three_scales() -> None:
    torch.manual_seed(0)
    noise = texture_noise(torch.zeros(200, 3, 16, 15))
    assert noise.shape == (200, 3, 16, 15)
    assert torch.equal(noise[:, 0], noise[:, 2])
    assert 1 < noise.var().item() < 3  # the finest alone has 1
    near, far = (
        torch.corrcoef(torch.stack([noise[:, 0, 8, 4], noise[:, 0, 8, 4 + shift]]))[0, 1].item() for shift in (1, 8)
    )
    assert near > 0.2
    assert abs(far) < 0.2


@pytest.mark.parametrize("shape", [(30, 40), (512, 100), (513, 700), (1100, 520)])
def test_a_whole_image_is_put_together_from_its_tiles(shape: tuple[int, int]) -> None:
    pixels = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    assert torch.equal(translator(0.0).whole(pixels), pixels)


def test_tiles_cover_a_side_and_are_never_larger() -> None:
    for length in (1, 511, 512, 513, 960, 961, 4000):
        starts = tile_starts(length)
        assert starts[0] == 0
        assert starts[-1] + min(TILE, length) == length
        assert all(0 < after - before <= TILE - OVERLAP for before, after in pairwise(starts))


def test_seams_are_blended_where_tiles_differ() -> None:
    class Mean(Same):
        def translate(self, images: Tensor) -> Tensor:
            return images.mean().expand_as(images)

    method = Mean(Config(), Task(3, 8, ("a", "b")), Engine())
    pixels = torch.zeros(3, 20, 900, dtype=torch.uint8)
    pixels[:, :, 450:] = 200
    redrawn = Translator(method, Engine()).whole(pixels)[0, 0].int()
    assert redrawn[-1] - redrawn[0] > 100
    assert (redrawn.diff().abs() <= 4).all()
