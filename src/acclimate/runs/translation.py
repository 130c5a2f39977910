"""Redraw labelled source images in the target's style: once for all (offline) or batch by batch (on the fly)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from acclimate.data.images import to_float, to_uint8, with_texture_noise
from acclimate.data.sets import LabelledImages
from acclimate.methods.base import Method
from acclimate.progress import progress
from acclimate.training.engine import Engine, in_parts

BATCH = 256

TILE, OVERLAP = 512, 64
"""Pixels of a tile's side, and of what two of them share."""


class Translator:
    """A trained translator, from a run's snapshot: uint8 images in, uint8 images out.

    Parameters
    ----------
    method
        A method that translates, with its weights.
    engine
        Where it computes.
    noise
        Standard deviation of :func:`~acclimate.images.texture_noise` on the images before, at each of its scales.
    """

    def __init__(self, method: Method, engine: Engine, noise: float = 0.0) -> None:
        self.method, self.engine, self.noise = method, engine, noise

    def __call__(self, pixels: Tensor) -> Tensor:
        """Translate one batch, uint8 ``[N, C, H, W]``, on the engine's device; the result has the same shape and type.

        It is rounded to uint8 also on the fly, so that both ways give the classifier the same images.
        """
        images = with_texture_noise(to_float(pixels.to(self.engine.device)), self.noise)
        return to_uint8(self.method.translate(images))

    def whole(self, pixels: Tensor) -> Tensor:
        """Redraw one image of any size, uint8 ``[C, H, W]`` from 16 pixels, in the CPU's memory.

        What is larger than :data:`TILE` is redrawn in tiles, whose overlaps are blended, so that memory is bounded.
        """
        height, width = pixels.shape[-2:]
        tops, lefts = tile_starts(height), tile_starts(width)
        if len(tops) == len(lefts) == 1:
            return self(pixels[None])[0].cpu()
        total, weights = torch.zeros(pixels.shape), torch.zeros(height, width)
        for top in tops:
            for left in lefts:
                tile = pixels[:, top : top + TILE, left : left + TILE]
                part = slice(top, top + tile.shape[1]), slice(left, left + tile.shape[2])
                weight = blending(tile.shape[1])[:, None] * blending(tile.shape[2])
                total[:, *part] += to_float(self(tile[None])[0].cpu()) * weight
                weights[part] += weight
        return to_uint8(total / weights)

    def back(self, pixels: Tensor) -> Tensor:
        """Redraw target images in the source's style, uint8 ``[N, C, H, W]``, in the CPU's memory."""

        def redraw(part: Tensor) -> Tensor:
            return to_uint8(self.method.translate_back(to_float(part.to(self.engine.device)))).cpu()

        return in_parts(redraw, pixels, self.engine.at_once(BATCH, pixels))

    def all(self, pixels: Tensor, seed: int, *, description: str = "translating") -> Tensor:
        """Translate a whole set, uint8 ``[N, C, H, W]``, to the CPU's memory; ``seed`` drives whatever is drawn."""
        translated = torch.empty_like(pixels, memory_format=torch.contiguous_format)
        done = 0
        for batch in self.batches(pixels, seed, description=description):
            translated[done : done + len(batch)] = batch
            done += len(batch)
        return translated

    def batches(self, pixels: Tensor, seed: int, *, description: str = "translating") -> Iterator[Tensor]:
        """Yield what :meth:`all` returns, a batch at a time; nobody may draw at random before the last has come."""
        with self.engine.seeded(seed), progress(description, len(pixels), unit="images") as bar:
            size = self.engine.at_once(BATCH, pixels)
            for start in range(0, len(pixels), size):
                batch = self(pixels[start : start + size]).cpu()
                yield batch
                bar.advance(len(batch))


def tile_starts(length: int) -> list[int]:
    """Return where tiles start along a side of so many pixels; the last one ends with it."""
    step = TILE - OVERLAP
    return [min(start, max(0, length - TILE)) for start in range(0, max(1, length - OVERLAP), step)]


def blending(length: int) -> Tensor:
    """Return the weights of a tile's rows or columns, float ``[length]``: they rise over an overlap, and fall again."""
    rising = (torch.arange(length) + 1) / (OVERLAP + 1)
    return torch.minimum(rising, rising.flip(0)).clamp(max=1.0)


class Cost:
    """What translation has cost so far. A GPU is not waited for: it marks the time itself, between what it does.

    Parameters
    ----------
    seconds, images
        Spent before.

    Attributes
    ----------
    images
        Images translated.
    """

    def __init__(self, seconds: float = 0.0, images: int = 0) -> None:
        self.images, self._seconds = images, seconds
        self._marks: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def of(self, images: int, device: torch.device) -> Iterator[None]:
        """Add what is done in this context on so many images."""
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record(torch.cuda.current_stream(device))
            yield
            end.record(torch.cuda.current_stream(device))
            self._marks.append((begin, end))
        else:
            start = time.monotonic()
            yield
            self._seconds += time.monotonic() - start
        self.images += images

    @property
    def seconds(self) -> float:
        """Seconds spent; a GPU is waited for."""
        for begin, end in self._marks:
            end.synchronize()
            self._seconds += begin.elapsed_time(end) / 1000
        self._marks.clear()
        return self._seconds


class TranslatedImages:
    """A labelled set whose images are translated anew each time they are drawn.

    It can stand wherever labelled images train a classifier, and is a map-style dataset for ``torch.utils.data``.

    Parameters
    ----------
    source
        The images as they are.
    translator
        What redraws them.

    Attributes
    ----------
    cost
        What translation has cost so far.
    """

    def __init__(self, source: LabelledImages, translator: Translator) -> None:
        self.source, self.translator = source, translator
        self.cost = Cost()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one translated image, uint8 ``[C, H, W]``, and its label."""
        pixels, labels = self.batch(torch.tensor([index]))
        return pixels[0], int(labels[0])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the translated images, uint8, and labels at ``indices``."""
        pixels, labels = self.source.batch(indices)
        return self.redraw(pixels), labels

    def redraw(self, pixels: Tensor) -> Tensor:
        """Translate some of the source's images, uint8 ``[N, C, H, W]``, and add to the cost."""
        with self.cost.of(len(pixels), self.translator.engine.device):
            return self.translator(pixels)

    def first(self, count: int | None) -> TranslatedImages:
        """Return the first ``count`` images, all for None."""
        return TranslatedImages(self.source.first(count), self.translator)
