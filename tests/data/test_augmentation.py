"""Augmentation: shapes, ranges, repeatability, what each change does and what none may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from acclimate.data import augmentation as aug
from acclimate.data.augmentation import OPERATIONS, POLICIES, Policy
from helpers import batch

CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "affine": aug.affine,
    "neighbours": lambda x: aug.affine(x, neighbours=1.0),
    "shift": aug.shift,
    "resized_crop": aug.resized_crop,
    "mirror": aug.mirror,
    "recolour": aug.recolour,
    "negative": aug.negative,
    "intensity": aug.intensity,
    "random_convolution": aug.random_convolution,
    "blur": aug.blur,
    "cutout": aug.cutout,
    "mixup": lambda x: aug.mixup(x)[0],
    "random_operation": aug.random_operation,
    **{name: policy.strong for name, policy in POLICIES.items()},
    **{f"weak {name}": policy.weak for name, policy in POLICIES.items()},
}


def seeded(change: Callable[[Tensor], Tensor], images: Tensor, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    return change(images)


def arrow(size: int = 32) -> Tensor:
    """Return an image that a mirror changes as no rotation, shear or shift of a few pixels does: an L with its foot."""
    image = torch.full((1, 3, size, size), -1.0)
    image[..., size // 8 : -size // 8, size // 3 : size // 3 + size // 8] = 1
    image[..., -size // 4 : -size // 8, size // 3 : -size // 6] = 1
    return image


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (20, 28)])
def test_shape_type_and_finite_values(name: str, channels: int, size: tuple[int, int]) -> None:
    images = torch.rand(7, channels, *size) * 2 - 1
    before = images.clone()
    changed = seeded(CHANGES[name], images)
    assert (changed.shape, changed.dtype) == (images.shape, torch.float32)
    assert torch.isfinite(changed).all()
    assert changed.abs().max() < 4  # intensity and noise leave [-1, 1], but not far
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", CHANGES)
def test_a_seed_repeats_it_and_another_does_not(name: str) -> None:
    images = torch.rand(8, 1, 16, 16).expand(-1, 3, -1, -1) * 2 - 1
    once = seeded(CHANGES[name], images)
    assert torch.equal(once, seeded(CHANGES[name], images))
    if name not in ("none", "weak none"):
        assert not torch.equal(once, seeded(CHANGES[name], images, seed=4))


@pytest.mark.parametrize("name", CHANGES)
def test_a_single_image(name: str) -> None:
    assert seeded(CHANGES[name], batch(1, 1)).shape == (1, 3, 16, 16)


def test_only_photos_are_mirrored() -> None:
    assert [name for name, policy in POLICIES.items() if policy.mirror] == ["photos"]
    image = arrow()
    for name in ("light", "symbols"):
        policy = POLICIES[name]
        geometry = Policy(geometry=policy.geometry, shift=policy.shift)
        for view in (geometry.strong, geometry.weak):
            changed = seeded(view, image.expand(400, -1, -1, -1))
            upright, mirrored = ((changed * one).sum((1, 2, 3)) for one in (image, image.flip(3)))
            # the foot of the L, rightwards of its stem, tells: never is the mirror image nearer by far
            assert (mirrored > 1.25 * upright.clamp(min=1)).float().mean() < 0.05
    flipped = seeded(lambda x: aug.mirror(x), image.expand(100, -1, -1, -1))
    assert 30 < sum(torch.equal(one, image[0].flip(2)) for one in flipped) < 70


def test_photos_keep_to_the_range_and_the_weak_view_to_the_picture() -> None:
    changed = seeded(POLICIES["photos"].strong, torch.rand(64, 3, 16, 16) * 2 - 1)
    assert changed.abs().max() <= 1
    image = arrow().expand(50, -1, -1, -1)
    weak = seeded(POLICIES["symbols"].weak, image)
    near = torch.stack([image.roll((dy, dx), (2, 3)) for dy in range(-2, 3) for dx in range(-2, 3)])
    assert ((weak - near).abs().mean((2, 3, 4)).amin(0) < 0.1).all()  # within two pixels


def test_the_targets_view_is_weaker_and_shows_no_other_image() -> None:
    for policy in POLICIES.values():
        target = policy.of_target()
        assert (target.neighbours, target.mixup) == (0, 0)
        assert target.geometry <= policy.geometry
        assert target.intensity <= policy.intensity


def test_recolouring_leaves_coloured_images_alone() -> None:
    gray = torch.linspace(-1, 1, 16).view(1, 1, 1, 16).expand(2, 3, 16, 16)
    coloured = gray.clone()
    coloured[1, 0] *= 0.5
    changed = seeded(lambda x: aug.recolour(x, 1.0), coloured)
    assert torch.equal(changed[1], coloured[1])
    assert not torch.equal(changed[0], coloured[0])
    assert changed.abs().max() <= 1
    dark, light = changed[0, :, :, 0], changed[0, :, :, -1]  # two colours, shaded a little, and blends of them between
    middle = changed[0, :, :, 7:9].mean(2)
    assert ((dark + light) / 2 - middle).abs().mean() < 0.2


def test_neighbours_bring_other_images_in_at_the_sides_alone() -> None:
    images = torch.full((12, 3, 32, 32), -1.0)
    images[:6] = 1.0
    changed = seeded(lambda x: aug.affine(x, 1e-6, neighbours=1.0), images)
    differs = (changed - images).abs().amax(1) > 1
    columns = differs.any(1).any(0).nonzero()[:, 0].tolist()
    assert columns  # some have a neighbour of the other kind
    assert all(column < 6 or column > 25 for column in columns)
    assert torch.equal(aug.affine(images, 1e-6)[:6] > 0, images[:6] > 0)


def test_the_random_convolution_keeps_the_scale() -> None:
    images = torch.randn(400, 3, 8, 8)
    changed = seeded(lambda x: aug.random_convolution(x, 1.0), images)
    assert 0.6 < changed.std() / images.std() < 1.1


def test_cutout_fills_one_rectangle_of_one_colour_of_limited_size() -> None:
    images = torch.full((200, 3, 20, 20), 5.0)
    changed = seeded(lambda x: aug.cutout(x, 0.5, 1.0), images)
    filled = (changed != 5).any(1)
    assert filled.any(2).sum(1).max() <= 11
    assert filled.any(1).sum(1).max() <= 11
    assert filled.any(2).any(1).float().mean() > 0.8
    one = changed[filled.flatten(1).any(1)][0]
    assert len({tuple(colour) for colour in one[:, (one != 5).any(0)].T.tolist()}) == 1


def test_mixup_blends_images_as_its_loss_shall_blend_labels() -> None:
    images = batch(1, 50)
    torch.manual_seed(1)
    mixed, partner, share = aug.mixup(images, 0.4)
    assert ((share >= 0.5) & (share <= 1)).all()
    assert share.std() > 0.05
    expected = share.view(-1, 1, 1, 1) * images + (1 - share.view(-1, 1, 1, 1)) * images[partner]
    assert torch.allclose(mixed, expected, atol=1e-6)


def test_a_crop_shows_a_part_of_at_least_the_asked_area() -> None:
    ramp = torch.linspace(-1, 1, 64)
    images = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)]).expand(
        300, -1, -1, -1
    )
    cropped = seeded(lambda x: aug.resized_crop(x, 0.25), images)
    width = (cropped[:, 0].amax((1, 2)) - cropped[:, 0].amin((1, 2))) / 2
    height = (cropped[:, 1].amax((1, 2)) - cropped[:, 1].amin((1, 2))) / 2
    area = width * height
    assert area.min() > 0.2
    assert area.max() > 0.8
    assert (width / height).max() < 4 / 3 + 0.05


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_of_no_amount_changes_little(name: str) -> None:
    images, zero = batch(4, 3), torch.zeros(3, 1, 1, 1)
    changed = OPERATIONS[name](images, zero)
    if name in ("autocontrast", "equalize"):  # these know no amount
        assert changed.amin() >= -1.001
        assert changed.amax() <= 1.001
    else:
        assert (changed - images).abs().max() < 0.15


def test_equalize_gives_equal_values_equal_values_spread_over_the_range() -> None:
    values = torch.tensor([-1.0, -1, -1, -0.9, -0.9, 0.3, 0.3, 0.3]).view(1, 1, 2, 4)
    changed = OPERATIONS["equalize"](values, torch.zeros(1, 1, 1, 1)).flatten()
    assert changed.tolist() == pytest.approx([-1, -1, -1, -0.2, -0.2, 1, 1, 1])


def test_policies_are_whole() -> None:
    assert POLICIES["none"] == Policy()
    images = batch(1)
    assert POLICIES["none"].strong(images) is images
    described = Policy.__doc__ or ""
    assert all(f"    {field.name}\n" in described for field in fields(Policy))


def test_a_policy_scales_from_itself_to_next_to_nothing() -> None:
    for policy in POLICIES.values():
        assert policy.scaled(1.0) == policy
        half = policy.scaled(0.5)
        assert half.geometry == policy.geometry / 2
        assert half.crop == pytest.approx(1 - (1 - policy.crop) / 2)
        assert (half.mirror, half.operations, half.shift) == (policy.mirror, policy.operations, policy.shift)
    images = batch(1)
    assert torch.equal(POLICIES["symbols"].scaled(0.0).strong(images), images)


def test_the_blur_is_the_binomial_kernel() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 16
    blurred = aug.blur(image, 1.0)[0, 0]
    assert blurred[1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert blurred.sum() == 16
