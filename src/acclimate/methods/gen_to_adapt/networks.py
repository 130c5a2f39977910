"""GenToAdapt's generator and discriminator for digits, after the authors' code."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from acclimate.networks import Chain


class FeatureGenerator(nn.Module):
    """Features of an image, a label and noise to a source-like image (arXiv:1704.01705, section 3).

    convT2 8w, then convT4 s2 4w, 2w, w, each with batch norm and ReLU, then convT4 s2 and tanh. That gives 32 pixels;
    for other sizes the first map is larger or smaller than 2x2, and the last layer's padding cuts the rest.

    Parameters
    ----------
    inputs
        Length of features and one-hot label together.
    channels
        Image channels, 1 or 3.
    image_size
        Height and width of the images.
    noise
        Length of the noise; 512 in the authors' code.
    width
        Channels w of the last hidden layer; 64 in the authors' code.
    """

    def __init__(self, inputs: int, channels: int = 3, image_size: int = 32, noise: int = 512, width: int = 64) -> None:
        super().__init__()
        self.image_size, self.noise = image_size, noise
        side = math.ceil(image_size / 16)
        layers: list[nn.Module] = [nn.ConvTranspose2d(inputs + noise, 8 * width, side, bias=False)]
        for factor in (4, 2, 1):
            layers += [
                nn.BatchNorm2d(2 * factor * width),
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(2 * factor * width, factor * width, 4, stride=2, padding=1, bias=False),
            ]
        padding = (16 * side + 2 - image_size) // 2
        layers += [
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=padding, bias=False),
        ]
        self.layers = Chain(*layers)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Draw images ``[N, C, H, W]`` in [-1, 1] from features ``[N, F]``, one-hot labels ``[N, K]`` and new noise."""
        noise = torch.randn(len(features), self.noise, device=features.device)
        inputs = torch.cat([labels, features, noise], dim=1)
        images: Tensor = self.layers(inputs[:, :, None, None])
        return images[..., : self.image_size, : self.image_size].tanh()


class ClassDiscriminator(nn.Module):
    """Images to "real" and to classes, after the auxiliary classifier GAN (arXiv:1610.09585).

    conv3 w, 2w, 4w, 2w, each with batch norm, leaky ReLU 0.2 and pool 2, the last with a global pool (4 at 32 pixels);
    then a logit "real" and the logits of the classes.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    classes
        Number of classes.
    width
        Channels w of the first layer; 64 in the authors' code.
    """

    def __init__(self, channels: int = 3, classes: int = 10, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, width), (width, 2 * width), (2 * width, 4 * width), (4 * width, 2 * width)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2, inplace=True),
                nn.MaxPool2d(2),
            ]
        layers[-1] = nn.AdaptiveMaxPool2d(1)
        self.features = Chain(*layers, nn.Flatten())
        self.real, self.label = nn.Linear(2 * width, 1), nn.Linear(2 * width, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images ``[N, C, H, W]`` in [-1, 1] to logits "real" ``[N, 1]`` and of the classes ``[N, classes]``."""
        features = self.features(images)
        return self.real(features), self.label(features)
