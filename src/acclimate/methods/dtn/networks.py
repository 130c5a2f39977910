"""The three networks of domain transfer (Taigman et al., arXiv:1611.02200, section 5.1): f, g and D."""

from __future__ import annotations

from torch import Tensor, nn

from acclimate.networks import Chain

HALVINGS = 3


def _sides(image_size: int) -> list[int]:
    """Return height and width after no, one, two and three halvings."""
    sides = [image_size]
    for _ in range(HALVINGS):
        sides.append((sides[-1] + 1) // 2)
    return sides


def _halvings(channels: int, width: int, activation: nn.Module) -> list[nn.Module]:
    """Return three strided conv3 with ``width`` channels, twice and four times that, each with batch norm."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), activation]
    return layers


class DTNEncoder(nn.Module):
    """f: images to vectors that say what is shown; three strided conv3, one convolution over the rest, BN, tanh.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels of the first layer, doubled twice; 64 in the reference code.
    image_size
        Height and width of the images; at least 8.
    feature_size
        Length of the vectors; 128 in the paper.
    """

    def __init__(self, channels: int = 3, width: int = 64, image_size: int = 32, feature_size: int = 128) -> None:
        super().__init__()
        layers = _halvings(channels, width, nn.ReLU(inplace=True))
        last = nn.Conv2d(4 * width, feature_size, _sides(image_size)[-1])
        self.layers = Chain(*layers, last, nn.BatchNorm2d(feature_size), nn.Tanh(), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` in [-1, 1] to vectors ``[N, feature_size]`` in [-1, 1]."""
        result: Tensor = self.layers(images)
        return result


class DTNGenerator(nn.Module):
    """g: vectors of f to target images; a transposed convolution to the smallest map, then three that double it.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels before the last layer, twice and four times that before; 128 in the reference code.
    image_size
        Height and width of the images; at least 8. Sizes that are no multiple of 8 work too.
    feature_size
        Length of the vectors.
    """

    def __init__(self, channels: int = 3, width: int = 128, image_size: int = 32, feature_size: int = 128) -> None:
        super().__init__()
        self.sides = _sides(image_size)[::-1]
        self.first = nn.ConvTranspose2d(feature_size, 4 * width, self.sides[0])
        pairs = ((4 * width, 2 * width), (2 * width, width), (width, channels))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1) for inputs, outputs in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(inputs) for inputs, _ in pairs)

    def forward(self, features: Tensor) -> Tensor:
        """Map vectors ``[N, feature_size]`` to images ``[N, C, H, W]`` in [-1, 1]."""
        x: Tensor = self.first(features[:, :, None, None])
        for norm, up, side in zip(self.norms, self.ups, self.sides[1:], strict=True):
            x = up(norm(x).relu(), output_size=[side, side])
        return x.tanh()


class DTNDiscriminator(nn.Module):
    """D, ternary: drawn from a source image, drawn from a target image, or a target image; BN and leaky ReLU.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    width
        Channels of the first layer, doubled twice; 128 in the reference code.
    image_size
        Height and width of the images; at least 8.
    """

    def __init__(self, channels: int = 3, width: int = 128, image_size: int = 32) -> None:
        super().__init__()
        layers = _halvings(channels, width, nn.LeakyReLU(0.2, inplace=True))
        self.layers = Chain(*layers, nn.Conv2d(4 * width, 3, _sides(image_size)[-1]), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` in [-1, 1] to logits ``[N, 3]``."""
        result: Tensor = self.layers(images)
        return result
