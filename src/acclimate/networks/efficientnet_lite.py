"""EfficientNet-Lite0 (Tan and Le, arXiv:1905.11946, in the version for mobile devices): a small pretrained backbone."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from acclimate.networks.chain import Chain

STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Of the blocks: expansion, kernel, stride of the first, channels, how many."""

FEATURES = 1280


class SamePadConv(nn.Conv2d):
    """A convolution padded as TensorFlow pads "same": with stride 2, one pixel more at the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, D, ceil(H / stride), ceil(W / stride)]``."""
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True) -> Chain:
    norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
    convolution = SamePadConv(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return Chain(convolution, norm, nn.ReLU6(inplace=True)) if active else Chain(convolution, norm)


class _Block(nn.Module):
    """Widen, filter each channel, narrow; and a way round where nothing changes its shape."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers = [_layer(inputs, wide, 1)] if expansion > 1 else []
        layers.append(_layer(wide, wide, kernel, stride, groups=wide))
        self.layers = Chain(*layers, _layer(wide, outputs, 1, active=False))
        self.around = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return x + result if self.around else result


class EfficientNetLite0(nn.Module):
    """Images ``[N, 3, H, W]`` in [-1, 1] to features ``[N, 1280]``; 3,371,008 parameters, any size from 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        inputs = 32
        for expansion, kernel, stride, outputs, count in STAGES:
            for number in range(count):
                blocks.append(_Block(inputs, outputs, expansion, kernel, stride if number == 0 else 1))
                inputs = outputs
        self.layers = Chain(_layer(3, 32, 3, 2), *blocks, _layer(inputs, FEATURES, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images to features."""
        maps: Tensor = self.layers(images)
        return maps.mean((2, 3))
