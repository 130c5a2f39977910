"""Augmentation: random changes that leave a label true, on whole batches, on the device that they lie on.

Every function takes images, float ``[N, C, H, W]`` in [-1, 1], and returns as many of the same shape; what is drawn
comes from torch's generator, so that a seed repeats it. A :class:`Policy` puts them together; :data:`POLICIES` has the
named ones. None mirrors symbols: a mirrored 2 is no 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.config import AugmentName

NATIVE = 32
"""The size in pixels that lengths in pixels are said for; at other sizes they grow with the image."""

FIXED = frozenset({"crop", "mirror", "operations", "shift"})
"""What has no strength that could fall, or falls otherwise."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How strongly images are changed.

    Attributes
    ----------
    geometry
        Strength of the affine map; 1 scales by 0.70 to 1.28, rotates by up to 0.3 rad, shears by up to a quarter and
        shifts by up to a fifth of the image.
    neighbours
        Probability that what the map uncovers to the left and right shows neighbouring images instead of edges.
    crop
        Least share of the area that a random resized crop keeps; 1 for no crop.
    mirror
        Probability of a left-right flip.
    recolour
        Probability that a gray image gets a colour for what is dark and another for what is light.
    negative
        Probability of a change of sign.
    intensity
        Strength of random scale and offset of all channels and of each.
    randconv
        Probability that an image goes through a random convolution.
    operations
        How many of RandAugment's operations are applied, one after the other.
    blur
        Probability of a 3x3 blur.
    noise
        Largest standard deviation of Gaussian noise.
    cutout
        Largest side of a square that is filled with a colour, as a share of the image's; half of the images get one.
    mixup
        Parameter of the Beta distribution that :func:`mixup` draws from, for the source; 0 for none.
    shift
        Pixels, of 32, that the weak view is shifted by at most.
    """

    geometry: float = 0.0
    neighbours: float = 0.0
    crop: float = 1.0
    mirror: float = 0.0
    recolour: float = 0.0
    negative: float = 0.0
    intensity: float = 0.0
    randconv: float = 0.0
    operations: int = 0
    blur: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0
    mixup: float = 0.0
    shift: float = 0.0

    def of_target(self) -> Policy:
        """Return what the target's strong view goes through: the same, weaker, and with no other image's content."""
        return replace(self, geometry=0.7 * self.geometry, intensity=0.7 * self.intensity, neighbours=0.0, mixup=0.0)

    def scaled(self, strength: float) -> Policy:
        """Return the same at a share ``strength``, in [0, 1], of its strength: every amount and every probability."""
        changed = {
            field.name: strength * getattr(self, field.name) for field in fields(self) if field.name not in FIXED
        }
        return replace(self, crop=1 - strength * (1 - self.crop), **changed)

    def strong(self, images: Tensor) -> Tensor:
        """Return the strong view: everything that the policy has. Values may leave [-1, 1] where intensity changes."""
        if self.crop < 1:
            images = resized_crop(images, self.crop)
        if self.geometry:
            images = affine(images, self.geometry, self.neighbours)
        if self.mirror:
            images = mirror(images, self.mirror)
        for _ in range(self.operations):
            images = random_operation(images)
        if self.recolour:
            images = recolour(images, self.recolour)
        if self.negative:
            images = negative(images, self.negative)
        if self.intensity:
            images = intensity(images, self.intensity)
        if self.randconv:
            images = random_convolution(images, self.randconv)
        if self.blur:
            images = blur(images, self.blur)
        if self.noise:
            images = images + torch.randn_like(images) * _uniform(images, 0, self.noise)
        if self.cutout:
            images = cutout(images, self.cutout)
        return images

    def weak(self, images: Tensor) -> Tensor:
        """Return the weak view, which a teacher labels: a shift, and the flip if the policy has one."""
        if self.mirror:
            images = mirror(images, self.mirror)
        return shift(images, self.shift) if self.shift else images


POLICIES: Mapping[AugmentName, Policy] = {
    "none": Policy(),
    "light": Policy(geometry=0.3, intensity=0.3, shift=2),
    "symbols": Policy(
        geometry=0.85,
        neighbours=0.5,
        recolour=0.7,
        negative=0.5,
        intensity=1.0,
        blur=0.3,
        noise=0.15,
        cutout=0.4,
        shift=2,
    ),
    "photos": Policy(crop=0.4, mirror=0.5, operations=2, cutout=0.5, mixup=0.2, shift=2),
}
"""``none``; ``light``: small shifts, turns and changes of brightness, for anything; ``symbols``: digits, letters,
signs, whose colours mean nothing and whose mirror images are others; ``photos``: things that a mirror leaves what they
are."""


def _uniform(images: Tensor, low: float, high: float, channels: int = 1) -> Tensor:
    """Draw a number an image, or one a channel, ``[N, channels, 1, 1]``."""
    return torch.rand(len(images), channels, 1, 1, device=images.device) * (high - low) + low


def _chosen(images: Tensor, probability: float) -> Tensor:
    """Draw which images something happens to, bool ``[N, 1, 1, 1]``."""
    return torch.rand(len(images), 1, 1, 1, device=images.device) < probability


def _sampled(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def affine(images: Tensor, strength: float = 1.0, neighbours: float = 0.0) -> Tensor:
    """Scale, rotate, shear and shift; beyond the edges stands the edge's colour, or other images of the batch.

    Neighbours stand 20 of 32 pixels apart, as digits do in a house number.
    """
    count, device = len(images), images.device

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(count, device=device) * (high - low) + low

    scale_x, scale_y = draw(-0.35 * strength, 0.25 * strength).exp(), draw(-0.25 * strength, 0.25 * strength).exp()
    angle, shear = draw(-0.3 * strength, 0.3 * strength), draw(-0.25 * strength, 0.25 * strength)
    shift_x, shift_y = draw(-0.4 * strength, 0.4 * strength), draw(-0.3 * strength, 0.3 * strength)
    cos, sin = angle.cos(), angle.sin()
    row_x = torch.stack([cos / scale_x, (shear - sin) / scale_x, shift_x], 1)
    row_y = torch.stack([sin / scale_y, cos / scale_y, shift_y], 1)
    grid = F.affine_grid(torch.stack([row_x, row_y], 1), list(images.shape), align_corners=False)
    result = _sampled(images, grid)
    if not neighbours:
        return result
    pitch, half = 2 * 20 / NATIVE, 20 / NATIVE + 0.09  # in the grid's units: the image reaches from -1 to 1
    x = grid[..., 0]
    side = (x > half).float() - (x < -half).float()
    side = side * _chosen(images, neighbours)[:, 0]
    grid[..., 0] = x - side * pitch
    for number in (-1, 1):
        other = _sampled(images[torch.randperm(count, device=device)], grid)
        result = torch.where((side == number).unsqueeze(1), other, result)
    return result


def shift(images: Tensor, pixels: float = 2.0) -> Tensor:
    """Shift by up to so many pixels of 32 each way."""
    identity = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
    identity[:, :, 2] = (torch.rand(len(images), 2, device=images.device) * 2 - 1) * 2 * pixels / NATIVE
    return _sampled(images, F.affine_grid(identity, list(images.shape), align_corners=False))


def resized_crop(images: Tensor, least: float = 0.4) -> Tensor:
    """Cut out a part of at least a share ``least`` of the area, sides as 3:4 to 4:3, and enlarge it to the whole."""
    count, device = len(images), images.device
    area = torch.rand(count, device=device) * (1 - least) + least
    ratio = ((torch.rand(count, device=device) * 2 - 1) * math.log(4 / 3)).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    left, top = (torch.rand(count, device=device) * 2 - 1 for _ in range(2))
    rows = torch.zeros(count, 2, 3, device=device)
    rows[:, 0, 0], rows[:, 1, 1] = width, height
    rows[:, 0, 2], rows[:, 1, 2] = left * (1 - width), top * (1 - height)
    return _sampled(images, F.affine_grid(rows, list(images.shape), align_corners=False))


def mirror(images: Tensor, probability: float = 0.5) -> Tensor:
    """Flip left and right. Not for symbols."""
    return torch.where(_chosen(images, probability), images.flip(3), images)


def recolour(images: Tensor, probability: float = 0.7) -> Tensor:
    """Give gray images a random colour for what is dark and one for what is light, both with weak shading.

    Images that have colours stay as they are.
    """
    gray = (images - images[:, :1]).abs().amax((1, 2, 3), keepdim=True) < 1e-3
    size, channels = list(images.shape[-2:]), images.shape[1]

    def shade() -> Tensor:
        coarse = 0.1 * torch.randn(len(images), channels, 3, 3, device=images.device)
        smooth = F.interpolate(coarse, size, mode="bilinear", align_corners=True)
        return smooth + _uniform(images, 0, 1, channels)

    share = (images + 1) / 2
    coloured = (torch.lerp(shade(), shade(), share)).clamp(0, 1) * 2 - 1
    return torch.where(gray & _chosen(images, probability), coloured, images)


def negative(images: Tensor, probability: float = 0.5) -> Tensor:
    """Change the sign: light becomes dark."""
    return torch.where(_chosen(images, probability), -images, images)


def intensity(images: Tensor, strength: float = 1.0) -> Tensor:
    """Scale by 0.25 to 1.5, a channel by 0.4 to 1.4, and add up to 0.4 to all and half as much to each channel.

    Half of the images are scaled, half of them by channel; all are shifted.
    """
    channels = images.shape[1]
    scale = _uniform(images, math.log(0.25) * strength, math.log(1.5) * strength).exp()
    scale = torch.where(_chosen(images, 0.5), scale, 1.0)
    by_channel = 1 + _uniform(images, -0.6 * strength, 0.4 * strength, channels) * _chosen(images, 0.5)
    offset = _uniform(images, -0.4 * strength, 0.4 * strength)
    return images * (scale * by_channel) + offset + _uniform(images, -0.2 * strength, 0.2 * strength, channels)


def random_convolution(images: Tensor, probability: float = 0.5) -> Tensor:
    """Filter with random 3x3 kernels over all channels, one an image, and blend with the image (Xu et al., RandConv).

    Kernels are drawn from N(0, 1 / (9 C)), so that contrast stays about the same; the shape of things stays, texture
    and colour do not.
    """
    count, channels, height, width = images.shape
    kernels = torch.randn(count * channels, channels, 3, 3, device=images.device) / math.sqrt(9 * channels)
    flat = F.pad(images, (1, 1, 1, 1), mode="replicate").reshape(1, count * channels, height + 2, width + 2)
    filtered = F.conv2d(flat, kernels.to(images.dtype), groups=count).view_as(images)
    return torch.where(_chosen(images, probability), torch.lerp(filtered, images, _uniform(images, 0, 1)), images)


def blur(images: Tensor, probability: float = 0.3) -> Tensor:
    """Blur with the binomial 3x3 kernel."""
    return torch.where(_chosen(images, probability), _smoothed(images), images)


def _smoothed(images: Tensor) -> Tensor:
    """Filter with the outer product of [1, 2, 1] / 4, by sums of slices. Nothing goes to the device."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = torch.add(padded[..., :-2] + padded[..., 2:], padded[..., 1:-1], alpha=2)
    return torch.add(across[..., :-2, :] + across[..., 2:, :], across[..., 1:-1, :], alpha=2) / 16


def cutout(images: Tensor, side: float = 0.4, probability: float = 0.5) -> Tensor:
    """Fill a rectangle, sides drawn up to a share ``side`` of the image's, with a random colour (random erasing)."""
    _, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device).view(1, 1, height, 1) + 0.5
    columns = torch.arange(width, device=images.device).view(1, 1, 1, width) + 0.5
    in_rows = (rows - _uniform(images, 0, height)).abs() < _uniform(images, 0, side * height / 2)
    in_columns = (columns - _uniform(images, 0, width)).abs() < _uniform(images, 0, side * width / 2)
    inside = in_rows & in_columns & _chosen(images, probability)
    return torch.where(inside, _uniform(images, -1, 1, channels), images)


def mixup(images: Tensor, alpha: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """Blend each image with another of the batch (Zhang et al., arXiv:1710.09412, equation 1).

    Returns
    -------
    images
        ``share * images + (1 - share) * images[partner]``.
    partner
        int64 ``[N]``.
    share
        float ``[N]``, drawn from Beta(``alpha``, ``alpha``), at least a half: the larger part keeps its place. The loss
        is blended likewise.
    """
    count, device = len(images), images.device
    partner = torch.randperm(count, device=device)
    # of two gamma variates: their ratio is a beta variate, and torch draws them from its own generator
    gamma = torch._standard_gamma(torch.full((2, count), alpha, device=device)) + 1e-12
    share = gamma[0] / gamma.sum(0)
    share = torch.maximum(share, 1 - share)
    return torch.lerp(images[partner], images, share.view(-1, 1, 1, 1)), partner, share


def _gray(images: Tensor) -> Tensor:
    return images.mean(1, keepdim=True)


def _autocontrast(images: Tensor, _: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-3) * 2 - 1


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    """Spread each channel's values evenly over the range: each becomes the share of pixels that are no lighter."""
    flat = images.flatten(2)
    ranks = torch.searchsorted(flat.sort(2).values, flat, right=True).to(images.dtype)
    least = ranks.amin(2, keepdim=True)
    return ((ranks - least) / (flat.shape[2] - least).clamp(min=1) * 2 - 1).view_as(images)


def _posterize(images: Tensor, amount: Tensor) -> Tensor:
    levels = (8 - 5 * amount.abs()).round()
    return ((images + 1) / 2 * levels).round() / levels * 2 - 1


def _solarize(images: Tensor, amount: Tensor) -> Tensor:
    return torch.where(images > 1 - 1.5 * amount.abs(), -images, images)


def _turned(images: Tensor, matrix: Callable[[Tensor], tuple[Tensor, ...]], amount: Tensor) -> Tensor:
    a, b, c, d, e, f = matrix(amount.flatten())
    rows = torch.stack([torch.stack([a, b, c], 1), torch.stack([d, e, f], 1)], 1)
    return _sampled(images, F.affine_grid(rows, list(images.shape), align_corners=False))


def _geometric(matrix: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]) -> Callable[[Tensor, Tensor], Tensor]:
    def operation(images: Tensor, amount: Tensor) -> Tensor:
        return _turned(images, lambda m: matrix(m, torch.zeros_like(m), torch.ones_like(m)), amount)

    return operation


OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda images, _: images,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "solarize": _solarize,
    "brightness": lambda images, amount: (images + 0.8 * amount).clamp(-1, 1),
    "contrast": lambda images, amount: torch.lerp(images.mean((1, 2, 3), keepdim=True), images, 1 + 0.8 * amount),
    "colour": lambda images, amount: torch.lerp(_gray(images), images, 1 + 0.8 * amount),
    "sharpness": lambda images, amount: torch.lerp(_smoothed(images), images, 1 + 0.9 * amount),
    "rotate": _geometric(
        lambda m, zero, one: ((0.5 * m).cos(), -(0.5 * m).sin(), zero, (0.5 * m).sin(), (0.5 * m).cos(), zero)
    ),
    "shear-x": _geometric(lambda m, zero, one: (one, 0.3 * m, zero, zero, one, zero)),
    "shear-y": _geometric(lambda m, zero, one: (one, zero, zero, 0.3 * m, one, zero)),
    "translate-x": _geometric(lambda m, zero, one: (one, zero, 0.4 * m, zero, one, zero)),
    "translate-y": _geometric(lambda m, zero, one: (one, zero, zero, zero, one, 0.4 * m)),
}
"""RandAugment's operations (Cubuk et al., arXiv:1909.13719), each of images and of an amount in [-1, 1] an image."""


def random_operation(images: Tensor) -> Tensor:
    """Apply to each image one of :data:`OPERATIONS`, by an amount drawn anew.

    Each operation gets as many images of a batch as any other, give or take one, so that nothing waits for a GPU to say
    how many it drew.
    """
    amount = _uniform(images, -1, 1)
    result = torch.empty_like(images)
    operations = [list(OPERATIONS.values())[number] for number in torch.randperm(len(OPERATIONS)).tolist()]
    shuffled = torch.randperm(len(images), device=images.device)
    for operation, chosen in zip(operations, shuffled.tensor_split(len(operations)), strict=True):
        if len(chosen):
            result[chosen] = operation(images[chosen], amount[chosen]).clamp(-1, 1)
    return result
