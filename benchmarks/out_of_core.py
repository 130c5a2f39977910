"""How fast, and in how much memory, acclimate trains on a set that is not held in memory.

``python benchmarks/out_of_core.py --out docs/results/out-of-core-cpu.json`` (nothing else may run meanwhile). Makes a
folder of images, prepares it, and trains CycleGAN's preset ``fast`` from that folder to itself in two ways: all images
in memory, and through the memory map with batches gathered ahead, whatever the size. The ways are timed in turns within
one process; the memory of each part is that of a process of its own, which finds nothing in the disk's cache. MB are
2**20 bytes; anonymous memory is what a process holds itself, the total counts pages of mapped files too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image
from speed import in_turns, our_step, written

from acclimate.data.domains import Domain, open_domain
from acclimate.data.domains.digits import read_digits
from acclimate.data.images import from_arrays
from acclimate.data.sets import Images, LabelledImages
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.pipeline.environment import environment
from acclimate.training import feed
from acclimate.training.engine import Engine

WAYS = ("in memory", "memory map")
PER_TURN = 5


def draw_folder(folder: Path, count: int) -> None:
    """Write ``count`` PNG files of 32x32 pixels, digits under noise, in a folder a class."""
    pixels, labels = read_digits()
    digits = from_arrays(pixels, 32, 3).permute(0, 2, 3, 1).numpy() // 2
    random = np.random.default_rng(0)
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    for index in range(count):
        which = index % len(digits)
        noisy = digits[which] + random.integers(0, 128, digits[which].shape, dtype=np.uint8)
        Image.fromarray(noisy).save(folder / str(labels[which]) / f"{index:07d}.png", compress_level=1)


class Meter:
    """Seconds and peak memory of what runs under it; anonymous memory is sampled every five milliseconds."""

    def __enter__(self) -> Self:
        self.before = self.peak = _memory("RssAnon")
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._sample)
        self.thread.start()
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.start
        self.done.set()
        self.thread.join()
        self.peak = max(self.peak, _memory("RssAnon"))

    def _sample(self) -> None:
        while not self.done.wait(0.005):
            self.peak = max(self.peak, _memory("RssAnon"))

    def result(self) -> dict[str, float]:
        return {
            "seconds": self.seconds,
            "anonymous MB before": self.before,
            "anonymous MB at most": self.peak,
            "total MB at most": _memory("VmHWM"),
        }


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def prepare(path: Path) -> dict[str, float]:
    with Meter() as meter:
        open_domain(path).prepare()
    return meter.result()


def forget(domain: Domain) -> None:
    """Have the system drop a domain's images from its cache, so that the next process reads the disk."""
    for path in domain.prepare().glob("*.images.npy"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def stepper(domain: Domain, way: str, engine: Engine) -> Callable[[], Any]:
    """Return what does one step of ``fast`` with the images held in one of the two ways."""
    labelled = domain.labelled("train")
    pixels = labelled.pixels.clone() if way == "in memory" else labelled.pixels
    share, feed.SHARE = feed.SHARE, 1.0 if way == "in memory" else 0.0
    try:
        step, _ = our_step(
            LabelledImages(pixels, labelled.labels), Images(pixels), engine, CycleGANConfig.preset("short")
        )
    finally:
        feed.SHARE = share
    return step


def train(path: Path, way: str, device: str, steps: int) -> dict[str, float]:
    domain = open_domain(path)
    domain.prepare()
    forget(domain)
    with Meter() as meter:
        step = stepper(domain, way, Engine.choose(device))
        for _ in range(steps):
            step()
    return meter.result()


def turns(path: Path, device: str, rounds: int) -> dict[str, float]:
    """Steps per second of both ways, turn by turn."""
    domain, engine = open_domain(path), Engine.choose(device)
    steps = {way: stepper(domain, way, engine) for way in WAYS}
    times = in_turns({way: _repeated(step) for way, step in steps.items()}, rounds, engine.device)
    rates = {f"{way}, steps/s": PER_TURN / seconds for way, seconds in times.items()}
    return rates | {"memory map, times as fast": times["in memory"] / times["memory map"]}


def _repeated(step: Callable[[], Any]) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(PER_TURN):
            step()

    return repeated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=15, help=f"turns of {PER_TURN} steps")
    parser.add_argument("--steps", type=int, default=100, help="of each training whose memory is measured")
    arguments = parser.parse_args()
    device, steps = arguments.device, arguments.steps
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ACCLIMATE_CACHE"] = f"{scratch}/cache"
        path = Path(scratch, "images")
        draw_folder(path, arguments.images)
        result = {
            "benchmark": "out of core",
            "images": arguments.images,
            "set MB": arguments.images * 3 * 32 * 32 / 2**20,
            "rounds": arguments.rounds,
            "steps": steps,
            "preparing": in_new_process(prepare, path),
            "opening what is prepared": in_new_process(prepare, path),
            "training": {way: in_new_process(train, path, way, device, steps) for way in WAYS},
            "speed": in_new_process(turns, path, device, arguments.rounds),
            **environment(Engine.choose(device)),
        }
    print(written(result, arguments.out))


if __name__ == "__main__":
    main()
