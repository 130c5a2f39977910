"""Backbones from timm, where it is installed: ``pip install '.[timm]'`` in an environment of its own.

timm imports torchvision, which has builds that fail to find two of their operators beside a torch for CPUs. The fixture
puts placeholders there, which nothing here calls.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acclimate import adapt
from acclimate.errors import AcclimateError
from acclimate.networks import BackboneFeatures, open_backbone
from acclimate.runs.inference import measure

if importlib.util.find_spec("timm") is None:
    pytest.skip("needs pip install '.[timm,dev]' in an environment of its own", allow_module_level=True)

NAME = "timm:tf_efficientnet_lite0"


@pytest.fixture(scope="module", autouse=True)
def _operators() -> Iterator[None]:
    library = torch.library.Library("torchvision", "DEF")
    try:
        import timm  # noqa: F401
    except RuntimeError:
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    yield
    library._destroy()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights as timm reads them, drawn at random."""
    import timm

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict(), path)
    return path


def test_a_model_of_timm_with_weights_from_a_file(weights: Path) -> None:
    backbone = open_backbone(NAME, str(weights))
    stored = torch.load(weights, weights_only=True)
    assert torch.equal(backbone.network.state_dict()["conv_stem.weight"], stored["conv_stem.weight"])
    assert (backbone.image_size, backbone.mean, backbone.std) == (224, (0.5,) * 3, (0.5,) * 3)
    assert backbone.interpolation == "bicubic"
    features = BackboneFeatures(NAME, backbone, 64).eval()
    assert features.feature_size == 1280
    assert features(torch.zeros(2, 3, 64, 64)).shape == (2, 1280)


def test_ours_is_timms_network(weights: Path) -> None:
    stored = torch.load(weights, weights_only=True)
    ours, theirs = open_backbone("efficientnet-lite0").network, open_backbone(NAME, str(weights)).network
    own = ours.state_dict()
    ours.load_state_dict(dict(zip(own, stored.values(), strict=False)))
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-5)


def test_a_run_with_it(weights: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for domain, ground in (("a", 40), ("b", 160)):
        for number in range(40):
            image = np.full((72, 72, 3), ground, dtype=np.uint8)
            image[16:56, 16:56, number % 2] = generator.integers(180, 255)
            path = tmp_path / domain / ("red", "green")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    settings = {"backbone": NAME, "weights": str(weights), "image_size": 64, "stage_steps": 20, "classifier_epochs": 2}
    run = adapt(tmp_path / "a", tmp_path / "b", preset="photos", out=tmp_path / "run", **settings)
    assert 0 <= measure(run)["accuracy"]["adapted"]["mean"] <= 1


def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(AcclimateError, match="timm:resnet51: RuntimeError: Unknown model"):
        open_backbone("timm:resnet51")
    with pytest.raises(AcclimateError, match=r"no such file of weights: .*no\.pth"):
        open_backbone("timm:resnet18", str(tmp_path / "no.pth"))
