"""Batches from sets that do not fit: the same as from those that do."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from acclimate.config import MethodConfig
from acclimate.data.arrays import map_array, write_array
from acclimate.data.sets import Images, LabelledImages
from acclimate.methods.base import DomainBatches
from acclimate.training import feed
from acclimate.training.batches import Batches
from acclimate.training.engine import Engine
from acclimate.training.feed import Feed, fits

ENGINE = Engine()


def mapped(folder: Path, count: int, seed: int) -> Tensor:
    """Return random images over a memory map."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    write_array(folder / f"{seed}.npy", pixels.shape, "uint8", [pixels.numpy()])
    return map_array(folder / f"{seed}.npy")


@pytest.fixture
def nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SHARE", 0.0)


def domain_batches(folder: Path, *, paired: bool = False) -> DomainBatches:
    source = LabelledImages(mapped(folder, 50, 0), torch.arange(50) % 10)
    target = Images(mapped(folder, 100 if paired else 80, 1)[1::2])
    return DomainBatches(source, target, MethodConfig(batch_size=8), ENGINE, paired=paired)


@pytest.mark.parametrize("paired", [False, True])
def test_gathered_ahead_is_the_same_as_resident(paired: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [*range(15), 3, 4, 0, 40, 41]  # through epochs, and jumps as from phase to phase
    resident = domain_batches(tmp_path, paired=paired)
    expected = [resident[step] for step in steps]
    monkeypatch.setattr(feed, "SHARE", 0.0)
    ahead = domain_batches(tmp_path, paired=paired)
    for step, one in zip(steps, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ahead[step], one, strict=True)), step
    resumed = domain_batches(tmp_path, paired=paired)
    for step in (7, 8, 9, 10):
        assert all(torch.equal(a, b) for a, b in zip(resumed[step], expected[step], strict=True)), step


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_images_keep_their_labels(share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SHARE", share)  # all of it on the device, or none
    labels = torch.arange(50) % 10
    shown = (25 * labels).to(torch.uint8)[:, None, None, None].expand(50, 3, 8, 8)
    write_array(tmp_path / "x.npy", (50, 3, 8, 8), "uint8", [shown.numpy()])
    source = LabelledImages(map_array(tmp_path / "x.npy"), labels)
    batches = DomainBatches(source, Images(mapped(tmp_path, 40, 1)), MethodConfig(batch_size=8), ENGINE)
    for step in (0, 1, 5, 6, 7, 20):
        x, of, _ = batches[step]
        assert torch.equal(((x[:, 0, 0, 0] + 1) * 127.5 / 25).round().long(), of), step


class Recorded(Batches):
    """Batches that note which step was asked for by which thread."""

    def __init__(self) -> None:
        super().__init__(40, 8, 0, drop_last=True)
        self.asked: list[tuple[int, str]] = []

    def __getitem__(self, step: int) -> Tensor:
        self.asked.append((step, threading.current_thread().name))
        return super().__getitem__(step)


@pytest.mark.usefixtures("nothing_fits")
def test_another_thread_gathers_each_step_once_and_ahead(tmp_path: Path) -> None:
    batches = Recorded()
    one = Feed(ENGINE, (mapped(tmp_path, 40, 0), batches))
    for step in range(6):
        one[step]
    assert one._thread is not None
    one._thread.shutdown()
    assert [step for step, _ in batches.asked] == list(range(6 + feed.AHEAD))
    assert threading.main_thread().name not in {name for _, name in batches.asked}


def test_a_set_that_fits_starts_no_thread(tmp_path: Path) -> None:
    batches, pixels = Recorded(), mapped(tmp_path, 40, 0)
    before = threading.active_count()
    one = Feed(ENGINE, (pixels, batches))
    assert torch.equal(one[2][0], pixels[batches[2]])
    assert threading.active_count() == before
    assert batches.asked[0] == (2, threading.main_thread().name)


@pytest.mark.usefixtures("nothing_fits")
def test_what_fails_in_the_thread_is_raised(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        Feed(ENGINE, (mapped(tmp_path, 4, 0), Recorded()))[0]


def test_a_share_of_the_memory_fits() -> None:
    assert fits(2**20, ENGINE.device)
    assert not fits(2**50, ENGINE.device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_on_a_gpu(share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SHARE", share)
    device, pixels, batches = torch.device("cuda"), mapped(tmp_path, 40, 0), Recorded()
    one = Feed(Engine(device), (pixels, batches))
    assert (one._thread is None) == (share > 0)
    for step in range(7):
        (found,) = one[step]
        assert found.device.type == "cuda"
        assert torch.equal(found.cpu(), pixels[Batches.__getitem__(batches, step)])
