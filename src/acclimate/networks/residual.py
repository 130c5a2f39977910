"""PixelDA's generator (Bousmalis et al., arXiv:1612.05424, figure 2), SBADA-GAN's too: residual, fed with noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acclimate.networks.chain import Chain


class ResidualBlock(nn.Module):
    """x + BN(conv3(ReLU(BN(conv3(x)))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = Chain(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width, eps=1e-3),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width, eps=1e-3),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layers(x)
        return result


class ResidualGenerator(nn.Module):
    """Residual generator: images and noise to images of the same size, all at full resolution.

    A linear layer turns the noise into one more channel of the input. With 3 channels, 32 pixels, width 64 and 6 blocks
    it has 460,547 parameters.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels of every layer.
    blocks
        Residual blocks.
    image_size
        Height and width of the images.
    noise_size
        Length of the noise vectors.
    """

    def __init__(
        self, channels: int = 3, width: int = 64, blocks: int = 6, image_size: int = 32, noise_size: int = 10
    ) -> None:
        super().__init__()
        self.noise_size = noise_size
        self.noise_plane = Chain(
            nn.Linear(noise_size, image_size**2),
            nn.BatchNorm1d(image_size**2, eps=1e-3),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (1, image_size, image_size)),
        )
        self.layers = Chain(
            nn.Conv2d(channels + 1, width, 3, padding=1),
            nn.ReLU(inplace=True),
            *(ResidualBlock(width) for _ in range(blocks)),
            nn.Conv2d(width, channels, 1),
            nn.Tanh(),
        )

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Translate images ``[N, C, H, W]`` in [-1, 1], given noise ``[N, noise_size]``; same shape and range."""
        result: Tensor = self.layers(torch.cat([images, self.noise_plane(noise)], dim=1))
        return result
