"""The generator that CycleGAN was published with, for photos (Zhu et al., arXiv:1703.10593, section 7.1)."""

from __future__ import annotations

from torch import Tensor, nn

from acclimate.networks.chain import Chain
from acclimate.networks.unet import instance_norm


class _Block(nn.Module):
    """x + IN(conv3(ReLU(IN(conv3(x))))), padded by reflection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = Chain(*_layer(width, width), *_layer(width, width)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layers(x)
        return result


class ResNetGenerator(nn.Module):
    """Residual generator: images of any size and shape from 16 pixels to images of that size.

    conv7-w, conv3-2w and conv3-4w at half and a quarter of the size, residual blocks of 4w, back up by enlarging and
    conv3, conv7, tanh; instance norm and ReLU behind each convolution but the last. With width 64, six blocks and 3
    channels it has 7,841,411 parameters.

    It enlarges and convolves where the publication has transposed convolutions, which draw checkerboards.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels of the first layer; 64 in the publication.
    blocks
        Residual blocks; 6 for 128 pixels in the publication, 9 for 256.
    """

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        self.layers = Chain(
            *_layer(channels, width, 7),
            *_layer(width, 2 * width, stride=2),
            *_layer(2 * width, 4 * width, stride=2),
            *(_Block(4 * width) for _ in range(blocks)),
            nn.Upsample(scale_factor=2),
            *_layer(4 * width, 2 * width),
            nn.Upsample(scale_factor=2),
            *_layer(2 * width, width),
            nn.Conv2d(width, channels, 7, padding=3, padding_mode="reflect"),
            nn.Tanh(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Redraw images ``[N, C, H, W]`` in [-1, 1]; the result has the same shape and range."""
        height, width = images.shape[-2:]
        padded = nn.functional.pad(images, (0, -width % 4, 0, -height % 4), mode="replicate")
        result: Tensor = self.layers(padded)
        return result[..., :height, :width]


def _layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect", bias=False)
    return [convolution, instance_norm(outputs), nn.ReLU(inplace=True)]
