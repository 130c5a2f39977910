"""Discriminators that judge whole images: PixelDA's, with noise and dropout, and SBADA-GAN's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acclimate.networks.chain import Chain

SMALLEST_MAP = 4
"""Height and width at which the strided convolutions stop."""


class GaussianNoise(nn.Module):
    """Adds N(0, ``std``) while training."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        # a contiguous draw laid out as x is eight times faster than one in channels last
        noise = torch.randn(x.numel(), device=x.device).as_strided(x.shape, x.stride())
        return x + self.std * noise.to(x.dtype)


def _after_layer(noise: float, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.LeakyReLU(0.2, inplace=True)]
    if dropout:
        layers.append(nn.Dropout(dropout))
    if noise:
        layers.append(GaussianNoise(noise))
    return layers


def _down(width: int, side: int, eps: float, noise: float, dropout: float) -> tuple[list[nn.Module], int, int]:
    """Return strided conv3, each with batch norm and twice the channels, down to 4x4; and the width and side there."""
    layers: list[nn.Module] = []
    while side > SMALLEST_MAP:
        layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width, eps), *_after_layer(noise, dropout)]
        side, width = (side + 1) // 2, 2 * width
    return layers, width, side


class NoisyDiscriminator(nn.Module):
    """PixelDA's discriminator (figure 2): every layer is followed by dropout and noise, so that it does not win early.

    conv3-64, then strided conv3 with twice the channels each down to 4x4, one logit. All but the first have batch norm.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels of the first layer; 64 in the paper.
    image_size
        Height and width of the images; at least 8.
    noise
        Standard deviation of the noise.
    dropout
        Probability of dropout.
    """

    def __init__(
        self, channels: int = 3, width: int = 64, image_size: int = 32, noise: float = 0.2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        first = [nn.Conv2d(channels, width, 3, padding=1), *_after_layer(noise, dropout)]
        rest, width, side = _down(width, image_size, 1e-3, noise, dropout)
        self.layers = Chain(*first, *rest, nn.Flatten(), nn.Linear(width * side**2, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` in [-1, 1] to logits ``[N, 1]``, above 0 for real."""
        result: Tensor = self.layers(images)
        return result


class PooledDiscriminator(nn.Module):
    """SBADA-GAN's discriminator: strided conv3 with 64, 128, 256 channels down to 4x4, then the mean of one score map.

    All but the first and the last layer have batch norm.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels of the first layer; 64 in the paper.
    image_size
        Height and width of the images; at least 8.
    noise, dropout
        After each layer, as in :class:`NoisyDiscriminator`; none in the paper.
    """

    def __init__(
        self, channels: int = 3, width: int = 64, image_size: int = 32, noise: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        first = [nn.Conv2d(channels, width, 3, 2, 1), *_after_layer(noise, dropout)]
        rest, width, _ = _down(width, (image_size + 1) // 2, 1e-5, noise, dropout)
        score = [nn.Conv2d(width, 1, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.layers = Chain(*first, *rest, *score)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` in [-1, 1] to unbounded scores ``[N, 1]`` for least squares, near 1 for real."""
        result: Tensor = self.layers(images)
        return result
