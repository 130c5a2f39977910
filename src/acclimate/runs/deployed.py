"""A run's classifier, or its translator, as one network that needs nothing else: what is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from acclimate.data.images import to_uint8
from acclimate.errors import AcclimateError
from acclimate.methods.base import Method
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.evaluation import BothDirections, Classifier
from acclimate.runs.features import FeatureStore
from acclimate.trust.estimators import tempered


def deployed_classifier(adaptation: Adaptation) -> nn.Module:
    """Return a network from uint8 images ``[N, C, H, W]`` to the run's calibrated probabilities ``[N, classes]``.

    It is in evaluation mode and computes in float32, on the run's device.
    """
    classifier = adaptation.calibrated()
    of = adaptation.chosen()[0] if adaptation.method_class.chooses else adaptation
    return _plain(_Tempered(_network(classifier, of), classifier.temperature)).eval()


def deployed_translator(adaptation: Adaptation) -> nn.Module:
    """Return a network from uint8 images ``[N, C, H, W]`` to the same redrawn, without noise.

    Raises
    ------
    RunError
        The method does not translate, or is not trained.
    """
    return _Redrawing(adaptation.translator().method, back=False).eval()


def _network(classifier: Classifier, adaptation: Adaptation) -> nn.Module:
    if isinstance(classifier, BothDirections):
        forth, back = _network(classifier.forth, adaptation), _network(classifier.back, adaptation)
        return _TwoWays(forth, back, _Redrawing(adaptation.translator().method, back=True), classifier.weight)
    encode = classifier.encode
    if encode is not None and not (isinstance(encode, FeatureStore) and encode.networks):
        raise AcclimateError("a classifier of features whose backbone is unknown cannot be exported")
    return _Classifying(classifier.networks, encode.networks if isinstance(encode, FeatureStore) else ())


def _plain(network: nn.Module) -> nn.Module:
    """Exchange layers that torch 2.6 cannot write as ONNX for equal ones."""
    for name, child in network.named_children():
        if isinstance(child, nn.AdaptiveMaxPool2d) and child.output_size == 1:
            setattr(network, name, _Maximum())
        else:
            _plain(child)
    return network


class _Maximum(nn.Module):
    """The largest value of each map."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.amax((2, 3), keepdim=True)


class _Classifying(nn.Module):
    """The mean probabilities of some networks, of images or of backbones' features put side by side."""

    def __init__(self, networks: Sequence[nn.Module], backbones: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks, self.backbones = nn.ModuleList(networks), nn.ModuleList(backbones)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = pixels.float() / 127.5 - 1.0
        if len(self.backbones):
            seen = torch.cat([backbone(seen) for backbone in self.backbones], 1)
        return torch.stack([network(seen).float().softmax(1) for network in self.networks]).mean(0)


class _TwoWays(nn.Module):
    """An image as it is, and redrawn in the source's style."""

    def __init__(self, forth: nn.Module, back: nn.Module, redraw: nn.Module, weight: float) -> None:
        super().__init__()
        self.forth, self.back, self.redraw, self.weight = forth, back, redraw, weight

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.lerp(self.back(self.redraw(pixels)), self.forth(pixels), self.weight)


class _Redrawing(nn.Module):
    def __init__(self, method: Method, back: bool) -> None:
        super().__init__()
        self.method = method
        self.redraw: Callable[[Tensor], Tensor] = method.translate_back if back else method.translate

    def forward(self, pixels: Tensor) -> Tensor:
        return to_uint8(self.redraw(pixels.float() / 127.5 - 1.0))


class _Tempered(nn.Module):
    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, pixels: Tensor) -> Tensor:
        return tempered(self.network(pixels), self.temperature)
