"""Classifiers. Each has ``features`` (images to vectors) and ``head`` (vectors to logits).

ReLUs stand behind the pools, where a quarter of the values is left: a maximum commutes with them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from acclimate.config import ClassifierName
from acclimate.errors import AcclimateError
from acclimate.networks.chain import Chain
from acclimate.networks.initialisation import init_glorot


class ImageClassifier(nn.Module):
    """Images ``[N, C, H, W]`` in [-1, 1] to vectors by ``features``, and on to logits ``[N, classes]`` by ``head``.

    Attributes
    ----------
    feature_size
        Length of the vectors.
    """

    feature_size: int

    def __init__(self, features: Chain, head: Callable[[int], nn.Module], channels: int, image_size: int) -> None:
        super().__init__()
        self.features = features
        with torch.no_grad():  # in eval mode: no batch norm learns from these zeros
            self.feature_size = features.eval()(torch.zeros(1, channels, image_size, image_size)).shape[1]
        features.train()
        self.head = head(self.feature_size)

    def draw_weights(self) -> None:
        """Draw the weights anew, as the author's classifier did."""
        init_glorot(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` in [-1, 1] to logits ``[N, classes]``."""
        result: Tensor = self.head(self.features(images))
        return result


class GTAClassifier(ImageClassifier):
    """The paper's classifier (section 4.2, figure 8), which is the released digit network of GenToAdapt.

    conv5-64, pool, conv5-64, pool, conv5-128, all "valid" with ReLU; 128 features at 32 pixels; FC128, FC classes.
    With 3 channels and 10 classes it has 330,058 parameters at every image size: below 32 pixels the convolutions are
    padded, above it the feature maps are reduced by a global maximum, so that 32 pixels is the paper's network exactly.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    classes
        Number of classes, at least 2.
    image_size
        Height and width of the images; at least 8.

    Raises
    ------
    AcclimateError
        ``image_size`` or ``classes`` is too small.
    """

    def __init__(self, channels: int = 3, classes: int = 10, image_size: int = 32) -> None:
        padding = _check(image_size, classes)
        features = Chain(
            *_layer(channels, 64, padding, nn.MaxPool2d(2)),
            *_layer(64, 64, padding, nn.MaxPool2d(2)),
            *_layer(64, 128, padding, nn.AdaptiveMaxPool2d(1)),
            nn.Flatten(),
        )
        super().__init__(
            features,
            lambda size: Chain(nn.Linear(size, 128), nn.ReLU(inplace=True), nn.Linear(128, classes)),
            channels,
            image_size,
        )


class DANNClassifier(ImageClassifier):
    """The digit network of DANN (Ganin et al., JMLR 2016, figure 4a), also PixelDA's and SBADA-GAN's.

    conv5-32, pool, conv5-48, pool; 1,200 features at 32 pixels; FC100, FC100, FC classes: 172,090 parameters with 3
    channels and 10 classes at 32 pixels.

    Parameters, errors: as :class:`GTAClassifier`.
    """

    def __init__(self, channels: int = 3, classes: int = 10, image_size: int = 32) -> None:
        padding = _check(image_size, classes)
        features = Chain(
            *_layer(channels, 32, padding, nn.MaxPool2d(2)),
            *_layer(32, 48, padding, nn.MaxPool2d(2)),
            nn.Flatten(),
        )
        super().__init__(
            features,
            lambda size: Chain(
                nn.Linear(size, 100),
                nn.ReLU(inplace=True),
                nn.Linear(100, 100),
                nn.ReLU(inplace=True),
                nn.Linear(100, classes),
            ),
            channels,
            image_size,
        )


class DANNBatchNormClassifier(ImageClassifier):
    """The digit network of DANN's widely used re-implementation (fungtion/DANN), with batch norm and dropout.

    conv5-64, pool, conv5-50, pool; 1,250 features at 32 pixels; FC100, FC100, FC classes. Batch norm stands before
    every ReLU, dropout of 0.5 behind the second convolution (whole maps) and behind the first FC100.

    Parameters, errors: as :class:`GTAClassifier`.
    """

    def __init__(self, channels: int = 3, classes: int = 10, image_size: int = 32) -> None:
        padding = _check(image_size, classes)
        features = Chain(
            *_layer(channels, 64, padding, nn.BatchNorm2d(64), nn.MaxPool2d(2)),
            *_layer(64, 50, padding, nn.BatchNorm2d(50), nn.Dropout2d(0.5), nn.MaxPool2d(2)),
            nn.Flatten(),
        )
        super().__init__(
            features,
            lambda size: Chain(
                nn.Linear(size, 100),
                nn.BatchNorm1d(100),
                nn.ReLU(inplace=True),
                nn.Dropout(0.5),
                nn.Linear(100, 100),
                nn.BatchNorm1d(100),
                nn.ReLU(inplace=True),
                nn.Linear(100, classes),
            ),
            channels,
            image_size,
        )


class LeNet(ImageClassifier):
    """The digit network of ADDA and CyCADA (Tzeng et al., arXiv:1702.05464; Caffe's LeNet).

    conv5-20, pool, conv5-50, pool; FC500 features; FC classes: 657,080 parameters with 3 channels and 10 classes at 32
    pixels.

    Parameters, errors: as :class:`GTAClassifier`.
    """

    def __init__(self, channels: int = 3, classes: int = 10, image_size: int = 32) -> None:
        padding = _check(image_size, classes)
        side = image_size
        for _ in range(2):
            side = (side - 4 + 2 * padding) // 2
        features = Chain(
            *_layer(channels, 20, padding, nn.MaxPool2d(2)),
            *_layer(20, 50, padding, nn.MaxPool2d(2)),
            nn.Flatten(),
            nn.Linear(50 * side * side, 500),
            nn.ReLU(inplace=True),
        )
        super().__init__(features, lambda size: nn.Linear(size, classes), channels, image_size)


class Standardise(nn.Module):
    """Brings each image to mean 0 and deviation 1 over all its pixels and channels; nearly plain ones stay plain."""

    def forward(self, images: Tensor) -> Tensor:
        centred = images - images.mean((1, 2, 3), keepdim=True)
        result: Tensor = centred / (centred.square().mean((1, 2, 3), keepdim=True).sqrt() + 0.05)
        return result


class Conv7(ImageClassifier):
    """Seven conv3 with batch norm and leaky ReLU: the network that learns best here on two CPU cores.

    w at full size, 2w at half twice, 4w at a quarter twice, dropout of 0.2, 8w at an eighth twice; the mean over
    positions; FC classes. Images are standardised first. With width 32, 3 channels and 10 classes it has 1,166,506
    parameters, at every image size.

    Parameters, errors: as :class:`GTAClassifier`.
    """

    width = 32

    def __init__(self, channels: int = 3, classes: int = 10, image_size: int = 32) -> None:
        _check(image_size, classes)
        w = self.width
        layers: list[nn.Module] = [Standardise()]
        inputs = channels
        for outputs, stride in ((w, 1), (2 * w, 2), (2 * w, 1), (4 * w, 2), (4 * w, 1), (8 * w, 2), (8 * w, 1)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
            layers.append(nn.LeakyReLU(0.1, inplace=True))
            if (outputs, stride) == (4 * w, 1):
                layers.append(nn.Dropout(0.2))
            inputs = outputs
        features = Chain(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(features, lambda size: nn.Linear(size, classes), channels, image_size)


class WideConv7(Conv7):
    """:class:`Conv7` with half as many channels again: 2,620,666 parameters."""

    width = 48


class _WideBlock(nn.Module):
    """Two conv3, each behind batch norm and leaky ReLU, and a way round them (Zagoruyko and Komodakis, figure 1d)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = Chain(nn.BatchNorm2d(inputs), nn.LeakyReLU(0.1, inplace=True))
        self.rest = Chain(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        )
        same = inputs == outputs and stride == 1
        self.around = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.first(x)
        result: Tensor = self.rest(normed) + (x if self.around is None else self.around(normed))
        return result


class WideResNet(ImageClassifier):
    """WRN-28-2, the network of AdaMatch and FixMatch (arXiv:1605.07146): for a GPU.

    conv3-16, then four blocks each of 32, 64 and 128 channels, the second and third at half the size; batch norm, the
    mean over positions; FC classes. Images are standardised first. With 3 channels and 10 classes it has 1,467,610
    parameters, at every image size.

    Parameters, errors: as :class:`GTAClassifier`.
    """

    def __init__(self, channels: int = 3, classes: int = 10, image_size: int = 32) -> None:
        _check(image_size, classes)
        layers: list[nn.Module] = [Standardise(), nn.Conv2d(channels, 16, 3, 1, 1, bias=False)]
        inputs = 16
        for outputs, stride in ((32, 1), (64, 2), (128, 2)):
            for number in range(4):
                layers.append(_WideBlock(inputs, outputs, stride if number == 0 else 1))
                inputs = outputs
        layers += [nn.BatchNorm2d(inputs), nn.LeakyReLU(0.1, inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(Chain(*layers), lambda size: nn.Linear(size, classes), channels, image_size)


MOST_DEVIATIONS = 6.0
"""Deviations from the mean that a feature counts for at most."""


class FeatureClassifier(ImageClassifier):
    """A classifier of a backbone's features ``[N, D]``: each brought to mean 0 and deviation 1, dropout, FC classes.

    The standardisation is a batch norm without parameters, so that it is by domain wherever statistics are.

    Parameters
    ----------
    size
        D.
    classes
        Number of classes, at least 2.
    """

    head: nn.Linear

    def __init__(self, size: int, classes: int) -> None:
        nn.Module.__init__(self)
        _check_classes(classes)
        self.features, self.feature_size = self._layers(size)
        self.head = nn.Linear(self.feature_size, classes)
        self.draw_weights()

    def _layers(self, size: int) -> tuple[Chain, int]:
        return Chain(*_standardised(size), nn.Dropout(0.5)), size

    def draw_weights(self) -> None:
        """Draw the weights anew; the head starts at zero, as noise in a thousand of them would outlast the training."""
        init_glorot(self)
        self.head.weight.data.zero_()


def _standardised(size: int) -> tuple[nn.Module, nn.Module]:
    """Standardise each feature; one that training images hardly show counts for :data:`MOST_DEVIATIONS` at most."""
    return nn.BatchNorm1d(size, affine=False), nn.Hardtanh(-MOST_DEVIATIONS, MOST_DEVIATIONS)


class BottleneckClassifier(FeatureClassifier):
    """The same with a layer of 256 between, batch norm and ReLU, as DANN, CDAN and SHOT have it on photos."""

    def _layers(self, size: int) -> tuple[Chain, int]:
        layers = nn.Dropout(0.5), nn.Linear(size, 256)
        return Chain(*_standardised(size), *layers, nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Dropout(0.5)), 256


class TunedClassifier(ImageClassifier):
    """A backbone and a classifier of its features in one network of images, to be trained as a whole.

    Parameters
    ----------
    backbone
        Maps images to features.
    classifier
        Classifies these.
    """

    def __init__(self, backbone: nn.Module, classifier: FeatureClassifier) -> None:
        nn.Module.__init__(self)
        self.features, self.feature_size = Chain(backbone, *classifier.features), classifier.feature_size
        self.head = classifier.head

    @property
    def backbone(self) -> nn.Module:
        """The backbone."""
        return self.features[0]


FEATURE_CLASSIFIERS: dict[ClassifierName, type[FeatureClassifier]] = {
    "linear": FeatureClassifier,
    "bottleneck": BottleneckClassifier,
}

CLASSIFIERS: dict[ClassifierName, type[ImageClassifier]] = {
    "gta": GTAClassifier,
    "dann": DANNClassifier,
    "dann-bn": DANNBatchNormClassifier,
    "lenet": LeNet,
    "conv7": Conv7,
    "conv7-wide": WideConv7,
    "wrn-28-2": WideResNet,
}


def build_classifier(name: ClassifierName, channels: int, classes: int, image_size: int) -> ImageClassifier:
    """Return a classifier by its name in :data:`CLASSIFIERS`, with fresh weights."""
    build: Callable[[int, int, int], ImageClassifier] = CLASSIFIERS[name]
    return build(channels, classes, image_size)


def _layer(inputs: int, outputs: int, padding: int, *middle: nn.Module) -> list[nn.Module]:
    """Return a convolution 5x5, what stands behind it, and a ReLU."""
    return [nn.Conv2d(inputs, outputs, 5, padding=padding), *middle, nn.ReLU(inplace=True)]


def _check(image_size: int, classes: int) -> int:
    """Refuse impossible shapes; return the padding that keeps small images from vanishing."""
    if image_size < 8:
        raise AcclimateError(f"image size {image_size} is too small for the classifier: use 8 or more")
    _check_classes(classes)
    return 0 if image_size >= 32 else 2


def _check_classes(classes: int) -> None:
    if classes < 2:
        raise AcclimateError(f"a classifier needs at least two classes, not {classes}")
