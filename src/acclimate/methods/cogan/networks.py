"""CoGAN's coupled networks for digits, after the authors' code for MNIST and USPS."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from acclimate.networks import Chain

LAYERS = 5
"""Of a generator."""


class CoupledGenerator(nn.Module):
    """Noise to a pair of images, one a domain, by networks that share their first layers (1606.07536, section 3).

    convT 8w, then three times convT3 s2 down to w channels, each with batch norm (without weights, so that a bias would
    do nothing) and PReLU; convT6 and a sigmoid. That gives 28 pixels; for other sizes the first map is larger or
    smaller than 4x4, and the last layer's padding cuts the rest.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    image_size
        Height and width of the images.
    latent
        Length of the noise.
    width
        Channels w of the last layer but one; 128 in the authors' code.
    private_layers
        How many of the five layers, from the last, each domain has of its own; 1 in the authors' code.
    """

    def __init__(
        self, channels: int = 3, image_size: int = 32, latent: int = 100, width: int = 128, private_layers: int = 1
    ) -> None:
        super().__init__()
        self.image_size = image_size
        side = math.ceil((image_size + 4) / 8)

        def layer(number: int) -> nn.Module:
            if number == LAYERS:
                padding = (8 * side - 2 - image_size) // 2
                return Chain(nn.ConvTranspose2d(width, channels, 6, padding=padding), nn.Sigmoid())
            out = 8 * width // 2 ** (number - 1)
            first = nn.ConvTranspose2d(latent, out, side, bias=False)
            convolution = first if number == 1 else nn.ConvTranspose2d(2 * out, out, 3, 2, 1, bias=False)
            return Chain(convolution, nn.BatchNorm2d(out, affine=False), nn.PReLU())

        shared, private = range(1, LAYERS + 1 - private_layers), range(LAYERS + 1 - private_layers, LAYERS + 1)
        self.shared = Chain(*map(layer, shared))
        self.to_source, self.to_target = (Chain(*map(layer, private)) for _ in range(2))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Draw from noise ``[N, latent]`` a source and a target image each, ``[N, C, H, W]`` in [0, 1]."""
        maps = self.shared(z[:, :, None, None])
        size = self.image_size  # an odd one is a row and a column short of what the layers make
        source, target = (own(maps)[..., :size, :size] for own in (self.to_source, self.to_target))
        return source, target


class CoupledDiscriminator(nn.Module):
    """Images of two domains to "real" and to classes: all layers are shared but the first (section 3 and 4).

    conv5-20, pool a domain; conv5-50, pool, FC500, PReLU shared; then a logit "real" and the logits of the classes.
    Below 28 pixels the convolutions are padded.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    classes
        Number of classes.
    image_size
        Height and width of the images; at least 8.
    """

    def __init__(self, channels: int = 3, classes: int = 10, image_size: int = 32) -> None:
        super().__init__()
        padding = 0 if image_size >= 28 else 2
        side = image_size
        for _ in range(2):
            side = (side - 4 + 2 * padding) // 2
        self.source_layer, self.target_layer = (nn.Conv2d(channels, 20, 5, padding=padding) for _ in range(2))
        self.shared = Chain(
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5, padding=padding),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(50 * side * side, 500),
            nn.PReLU(),
        )
        self.real, self.label = nn.Linear(500, 1), nn.Linear(500, classes)

    def features_of_source(self, images: Tensor) -> Tensor:
        """Map source images ``[N, C, H, W]`` in [0, 1] to features ``[N, 500]``."""
        features: Tensor = self.shared(self.source_layer(images))
        return features

    def features_of_target(self, images: Tensor) -> Tensor:
        """Map target images ``[N, C, H, W]`` in [0, 1] to features ``[N, 500]``."""
        features: Tensor = self.shared(self.target_layer(images))
        return features

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the logits "real" of source images, then target images, ``[2 N, 1]``."""
        features = torch.cat([self.features_of_source(source), self.features_of_target(target)])
        logits: Tensor = self.real(features)
        return logits
