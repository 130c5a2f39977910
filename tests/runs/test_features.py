"""Features: computed once an image, under two statistics, the same from the cache as anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from acclimate.data.sets import Images, LabelledImages
from acclimate.networks import Backbone, BackboneFeatures
from acclimate.runs import features as module
from acclimate.runs.features import Encoders, FeatureStore
from acclimate.training.engine import Engine


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCLIMATE_CACHE", str(tmp_path))
    return tmp_path


class Counting:
    """Computes the mean of each channel, and notes how many images it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, pixels: Tensor) -> Tensor:
        self.asked.append(len(pixels))
        return pixels.float().mean((2, 3))


def images(seed: int, count: int, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def test_a_set_is_computed_once_and_another_store_finds_it(cache: Path) -> None:
    first, second = Counting(), Counting()
    pixels = images(0, 20)
    found = FeatureStore("mean", 3, first).of(Images(pixels)).pixels
    again = FeatureStore("mean", 3, second).of(Images(pixels)).pixels
    assert torch.equal(found, pixels.float().mean((2, 3)))
    assert torch.equal(again, found)
    assert (first.asked, second.asked) == ([20], [])


def test_only_changed_images_are_computed_again(cache: Path) -> None:
    compute = Counting()
    store, pixels = FeatureStore("mean", 3, compute), images(0, 20)
    store.of(Images(pixels))
    changed = torch.cat([pixels[5:], images(1, 4)])
    changed[2, 0, 0, 0] += 1
    assert torch.equal(store.of(Images(changed)).pixels, changed.float().mean((2, 3)))
    assert compute.asked == [20, 5]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux shows them")
def test_many_sets_keep_no_files_open(cache: Path) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = opened()
    for number in range(30):
        FeatureStore("mean", 3, Counting()).of(Images(images(number, 2)))
    compute = Counting()
    found = FeatureStore("mean", 3, compute)(images(7, 2))
    assert opened() - before < 5
    assert torch.equal(found, images(7, 2).float().mean((2, 3)))
    assert compute.asked == []


def test_labels_stay_and_features_pass(cache: Path) -> None:
    store = FeatureStore("mean", 3, Counting())
    labelled = store.of(LabelledImages(images(0, 4), torch.tensor([0, 1, 1, 0])))
    assert labelled.labels.tolist() == [0, 1, 1, 0]
    assert store.of(labelled) is labelled
    assert store(labelled.pixels) is labelled.pixels
    assert store(images(0, 0)).shape == (0, 3)


def test_a_call_looks_up_what_is_known(cache: Path) -> None:
    compute = Counting()
    store, pixels = FeatureStore("mean", 3, compute), images(0, 10)
    store.of(Images(pixels))
    assert torch.equal(store(pixels[3:6]), pixels[3:6].float().mean((2, 3)))
    assert compute.asked == [10]


def test_seconds_are_those_of_the_first_time(cache: Path) -> None:
    store, pixels = FeatureStore("mean", 3, Counting()), Images(images(0, 10))
    assert store.seconds(pixels) == 0
    store.of(pixels)
    assert store.seconds(pixels) > 0


def encoders(by_domain: bool = True) -> Encoders:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Encoders(BackboneFeatures("own", Backbone(network), 8), 8, by_domain, Engine())


def test_a_domain_is_seen_under_both_statistics(cache: Path, tmp_path: Path) -> None:
    both = encoders()
    pixels = images(0, 128) // 4  # darker than what the backbone knows
    domain = both.of_domain(tmp_path / "own.safetensors", lambda: pixels)
    found = domain(pixels)
    assert found.shape == (128, 8)
    assert torch.equal(found[:, :4], both.plain(pixels))
    assert not torch.allclose(found[:, :4], found[:, 4:])
    network = both.backbone.network
    before = network[1].running_mean.clone()  # type: ignore[index, union-attr]
    whitened = torch.cat([(both.backbone.mean.new_tensor(0) + module.to_float(pixels))])
    maps = network[0](((whitened + 1) / 2 - both.backbone.mean) / both.backbone.std)  # type: ignore[index]
    expected = torch.relu(
        (maps - maps.mean((0, 2, 3), keepdim=True)) / (maps.var((0, 2, 3), keepdim=True) + 1e-5).sqrt()
    )
    assert torch.allclose(found[:, 4:], expected.mean((2, 3)), atol=2e-2)  # two batches of 64, not one of 128
    assert torch.equal(network[1].running_mean, before)  # type: ignore[index, union-attr]


def test_the_statistics_are_kept_with_the_run(cache: Path, tmp_path: Path) -> None:
    file, pixels = tmp_path / "own.safetensors", images(0, 70)
    found = encoders().of_domain(file, lambda: pixels)(pixels[:5])

    def gone() -> Tensor:
        raise AssertionError("the domain's images are not to be read again")

    assert torch.equal(encoders().of_domain(file, gone)(pixels[:5]), found)


def test_without_batch_norm_there_is_one_view(cache: Path, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    alone = Encoders(BackboneFeatures("own", Backbone(network), 8), 8, True, Engine())
    assert alone.of_domain(tmp_path / "x", lambda: images(0, 4)) is alone.plain
    assert alone.size == 4
    assert encoders(by_domain=False).size == 4


def test_a_batch_that_does_not_fit_is_split(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, asked = encoders(), []
    forward = Encoders._forward

    def small(self: Encoders, backbone: BackboneFeatures, pixels: Tensor) -> Tensor:
        asked.append(len(pixels))
        if len(pixels) > 5:
            raise torch.OutOfMemoryError
        return forward(self, backbone, pixels)

    pixels = images(0, 12)
    expected = both.plain.compute(pixels)
    monkeypatch.setattr(Encoders, "_forward", small)
    assert torch.allclose(both.plain.compute(pixels), expected, atol=1e-6)
    assert asked == [12, 8, 4, 4, 4]
