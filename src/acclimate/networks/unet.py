"""The paper's generator (section 4.1.1, figure 5 left): a U-Net of 3x3 convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acclimate.config import DropoutMode
from acclimate.errors import AcclimateError
from acclimate.networks.chain import Chain


def instance_norm(channels: int) -> nn.GroupNorm:
    """Affine instance norm as a group norm of one channel a group: the same numbers from a faster kernel."""
    return nn.GroupNorm(channels, channels, eps=1e-3)


class InferenceDropout(nn.Module):
    """Dropout that may stay alive at inference (section 4.3: "used as during the training phase").

    Attributes
    ----------
    mode
        What happens in eval mode. ``alive``: a new mask for every image, as in training. ``fixed``: one seeded mask of
        whole feature maps for all images, so that an image always translates alike. ``off``: none. Training always
        draws new masks.
    """

    def __init__(self, probability: float, mode: DropoutMode = "alive", seed: int = 0) -> None:
        super().__init__()
        self.probability, self.mode, self.seed = probability, mode, seed

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.mode == "alive":
            drawn = torch.rand(x.shape, device=x.device)  # three times as fast on a CPU as F.dropout's bernoulli_
        elif self.mode == "fixed":
            drawn = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(self.seed)).to(x.device)
        else:
            return x
        return x * (drawn >= self.probability) / (1.0 - self.probability)


def block(inputs: int, outputs: int, stride: int = 1, *, norm: bool = True) -> list[nn.Module]:
    """Convolution 3x3, instance norm, leaky ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride, 1)]
    if norm:
        layers.append(instance_norm(outputs))
    return [*layers, nn.LeakyReLU(0.2, inplace=True)]


class Up(nn.Module):
    """Transposed convolution to the skip's resolution, concatenation, ReLU, two blocks."""

    def __init__(self, inputs: int, channels: int, dropout: nn.Module | None = None) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, channels, 3, stride=2, padding=1)
        self.norm = instance_norm(channels)
        self.dropout = dropout or nn.Identity()
        self.layers = Chain(*block(2 * channels, channels), *block(channels, channels))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x, output_size=list(skip.shape[-2:]))
        x = torch.cat([self.dropout(self.norm(x)), skip], dim=1).relu()
        result: Tensor = self.layers(x)
        return result


class UNet(nn.Module):
    """U-Net generator: images to images of the same size.

    At 32 pixels the bottleneck is 4x4x(8 * width). With width 32 and 3 channels it has 2,918,435 parameters.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels of the first level; 32 in the paper.
    image_size
        Height and width of the images; at least 8. Sizes that are no multiple of 8 work too.
    dropout
        Probability in the innermost up block.
    dropout_mode
        See :class:`InferenceDropout`.

    Raises
    ------
    AcclimateError
        ``image_size`` is below 8.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 32,
        image_size: int = 32,
        dropout: float = 0.5,
        dropout_mode: DropoutMode = "alive",
    ) -> None:
        super().__init__()
        if image_size < 8:
            raise AcclimateError(
                f"image size {image_size} is too small for the U-Net, which halves it three times: use 8 or more"
            )
        w = width
        self.stem = Chain(*block(channels, w, norm=False), *block(w, w, norm=False))
        self.down1 = Chain(*block(w, 2 * w, 2, norm=False), *block(2 * w, 2 * w), *block(2 * w, 2 * w))
        self.down2 = Chain(*block(2 * w, 4 * w, 2), *block(4 * w, 4 * w), *block(4 * w, 4 * w))
        self.bottleneck = Chain(
            nn.Conv2d(4 * w, 8 * w, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(8 * w, 8 * w, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(8 * w, 8 * w, 3, 1, 1),
            nn.ReLU(inplace=True),
        )
        self.up1 = Up(8 * w, 4 * w, InferenceDropout(dropout, dropout_mode))
        self.up2 = Up(4 * w, 2 * w)
        self.up3 = Up(2 * w, w)
        self.to_image = nn.Conv2d(w, channels, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Translate images ``[N, C, H, W]`` in [-1, 1] to images of the same shape and range."""
        skip1 = self.stem(images)
        skip2 = self.down1(skip1)
        skip3 = self.down2(skip2)
        x = self.up1(self.bottleneck(skip3), skip3)
        x = self.up3(self.up2(x, skip2), skip1)
        result: Tensor = self.to_image(x).tanh()
        return result
