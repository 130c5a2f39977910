"""The paper's discriminator (section 4.1.2, figure 5 right): a PatchGAN that judges 23x23 patches."""

from __future__ import annotations

from torch import Tensor, nn

from acclimate.errors import AcclimateError
from acclimate.networks.chain import Chain
from acclimate.networks.unet import instance_norm


class PatchGAN(nn.Module):
    """PatchGAN: one probability "real" for each 23x23 patch, an 8x8 map at 32 pixels.

    The sigmoid at the end is the author's: the least squares stand on squashed outputs. With width 64 and 3 channels it
    has 224,897 parameters.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels of the first layer; 64 in the paper.
    image_size
        Height and width of the images; at least 8 (the norms need more than one value a map).
    """

    def __init__(self, channels: int = 3, width: int = 64, image_size: int = 32) -> None:
        super().__init__()
        if image_size < 8:
            raise AcclimateError(f"image size {image_size} is too small for the PatchGAN: use 8 or more")
        self.layers = Chain(
            nn.Conv2d(channels, width, 3, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.LeakyReLU(0.2, inplace=True),
            instance_norm(2 * width),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.LeakyReLU(0.2),
            instance_norm(2 * width),
            nn.Conv2d(2 * width, 1, 3, 1, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` in [-1, 1] to probabilities ``[N, 1, H/4, W/4]`` in [0, 1]."""
        return self.logits(images).sigmoid()

    def logits(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` in [-1, 1] to logits ``[N, 1, H/4, W/4]``: what the sigmoid squashes."""
        result: Tensor = self.layers(images)
        return result


class LargePatchGAN(nn.Module):
    """The 70x70 PatchGAN that CycleGAN was published with, for photos (Zhu et al., arXiv:1703.10593, section 7.1).

    With width 64 and 3 channels it has 2,765,633 parameters. Its outputs are not squashed.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels of the first layer; 64 in the publication.
    image_size
        Height and width of the images; at least 32.
    """

    def __init__(self, channels: int = 3, width: int = 64, image_size: int = 128) -> None:
        super().__init__()
        if image_size < 32:
            raise AcclimateError(f"image size {image_size} is too small for the large PatchGAN: use 32 or more")
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for number, stride in enumerate((2, 2, 1)):
            inputs, outputs = width * 2**number, width * 2 ** (number + 1)
            layers += [nn.Conv2d(inputs, outputs, 4, stride, 1, bias=False), instance_norm(outputs)]
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.layers = Chain(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` in [-1, 1] to how real patches look, about [0, 1]: ``[N, 1, H/8-2, W/8-2]``."""
        result: Tensor = self.layers(images)
        return result
