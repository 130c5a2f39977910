"""A frozen backbone's features of images: computed once an image, kept in the cache, memory-mapped.

They are kept by set, with each image's digest beside them. Of a set that is new but for a few images, such as a folder
to which some were added, only these are computed.

A domain's images are seen twice where the backbone has batch norm: under the statistics that it was trained with, and
under the domain's own (Li et al., AdaBN, arXiv:1603.04779). Each says what the other does not: the first where the
domain looks like the backbone's training images, the second where it does not.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from acclimate.data.arrays import map_array, write_array
from acclimate.data.domains.base import cache_root
from acclimate.data.images import to_float
from acclimate.data.sets import Images, LabelledImages
from acclimate.networks.backbones import BackboneFeatures
from acclimate.networks.domain_statistics import measure_statistics
from acclimate.progress import progress
from acclimate.training.engine import Engine, in_parts
from acclimate.training.state import load_tree, read_json, save_tree, write_json

Set = TypeVar("Set", Images, LabelledImages)

DIGEST = 16
"""Bytes of an image's digest."""

BATCH = 256
"""Images whose features are in memory at a time, and that go through a backbone on a GPU at once."""

CPU_BATCH = 16
"""Images that go through a backbone on a CPU at once: more than its caches hold take twice as long."""

SAMPLE, SAMPLE_BATCH = 640, 64
"""Images of a domain, the first ones, that its statistics are taken from, and of a batch of them."""


class FeatureStore:
    """Something that maps images to features, and what it has mapped before.

    Parameters
    ----------
    name
        Of its folder in the cache; it tells it from everything that maps images otherwise.
    size
        Length of the features.
    compute
        Maps uint8 images ``[N, 3, H, W]`` to features, float32 ``[N, size]``, both in the CPU's memory.
    anew
        The same for images that will not be seen again, where ``compute`` itself looks up or keeps any.
    networks
        Those whose features it puts side by side.
    """

    def __init__(
        self,
        name: str,
        size: int,
        compute: Callable[[Tensor], Tensor],
        anew: Callable[[Tensor], Tensor] | None = None,
        networks: Sequence[BackboneFeatures] = (),
    ) -> None:
        self.name, self.size, self.compute, self._anew, self.networks = name, size, compute, anew or compute, networks
        self.folder = cache_root() / "features" / name

    def of(self, images: Set, what: str = "images") -> Set:
        """Return a set with features in place of pixels; a set that holds features already is returned as it is."""
        if images.pixels.ndim == 2:
            return images
        features = self._kept(images.pixels, _digests(images.pixels), what)
        return LabelledImages(features, images.labels) if isinstance(images, LabelledImages) else Images(features)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return features, float32 ``[N, size]``, of uint8 images ``[N, 3, H, W]``; features are returned as they are.

        Those of images that were seen before are looked up.
        """
        if pixels.ndim == 2 or len(pixels) == 0:
            return pixels if pixels.ndim == 2 else torch.empty(0, self.size)
        digests = _digests(pixels)
        if all(digest.tobytes() in self._known for digest in digests):
            return torch.cat(list(self._pieces(pixels, digests, "images")))
        return self._kept(pixels, digests, "images")

    def anew(self, pixels: Tensor) -> Tensor:
        """Do the same for images that will not come again: none is looked up or kept."""
        return pixels if pixels.ndim == 2 else self._anew(pixels)

    def seconds(self, images: Images | LabelledImages) -> float:
        """Return what computing a set took when it was computed; 0 for a set that is not kept."""
        path = self.folder / f"{_name_of(_digests(images.pixels))}.json"
        return float(read_json(path)["seconds"]) if path.exists() else 0.0

    def _kept(self, pixels: Tensor, digests: NDArray[np.uint8], what: str) -> Tensor:
        """Return features from the cache, or write them there first, float32 ``[N, size]``, memory-mapped."""
        path, start = self.folder / f"{_name_of(digests)}.npy", time.monotonic()
        if not path.exists():
            pieces = (piece.numpy() for piece in self._pieces(pixels, digests, what))
            write_array(path, (len(pixels), self.size), np.float32, pieces)
            write_array(path.with_suffix(".digests.npy"), digests.shape, np.uint8, [digests])
            write_json(path.with_suffix(".json"), {"images": len(pixels), "seconds": time.monotonic() - start})
            self._known.update(_rows(path, digests))
        return map_array(path)

    @cached_property
    def _known(self) -> dict[bytes, tuple[Path, int]]:
        """The file and the row in which the features of each image stand that was ever seen."""
        known: dict[bytes, tuple[Path, int]] = {}
        for path in sorted(self.folder.glob("*.digests.npy")):
            known |= _rows(path.with_name(path.name.replace(".digests", "")), map_array(path).numpy())
        return known

    def _pieces(self, pixels: Tensor, digests: NDArray[np.uint8], what: str) -> Iterator[Tensor]:
        """Yield the features of a set, some images at a time; what is not known is computed."""
        found = [self._known.get(digest.tobytes()) for digest in digests]
        with progress(f"features of {what}", sum(one is None for one in found), unit="images") as bar:
            for start in range(0, len(found), BATCH):
                part = found[start : start + BATCH]
                result = torch.empty(len(part), self.size)
                if missing := [place for place, one in enumerate(part) if one is None]:
                    result[missing] = self.compute(pixels[start : start + BATCH][missing])
                    bar.advance(len(missing))
                mapped = {one[0]: map_array(one[0]) for one in part if one}  # not all files: each takes a descriptor
                for place, one in enumerate(part):
                    if one is not None:
                        path, row = one
                        result[place] = mapped[path][row]
                yield result


class Encoders:
    """A frozen backbone as a run uses it: one encoder under its own statistics, and one for each domain.

    Parameters
    ----------
    backbone
        The backbone.
    image_size
        Height and width of the images.
    by_domain
        Also see each domain's images under the domain's statistics, if the backbone has batch norm.
    engine
        Where to compute.
    """

    def __init__(self, backbone: BackboneFeatures, image_size: int, by_domain: bool, engine: Engine) -> None:
        self.backbone, self.image_size, self.engine = backbone.eval(), image_size, engine
        engine.place(backbone)
        self.by_domain = by_domain and any(isinstance(module, _BatchNorm) for module in backbone.modules())
        through = partial(self._through, backbone)
        self.plain = FeatureStore(self._name(backbone), backbone.feature_size, through, networks=[backbone])
        self._stores: dict[str, FeatureStore] = {}

    @property
    def size(self) -> int:
        """Length of a domain's features."""
        return 2 * self.plain.size if self.by_domain else self.plain.size

    def of_domain(self, statistics: Path, sample: Callable[[], Tensor]) -> FeatureStore:
        """Return the encoder of one domain.

        Parameters
        ----------
        statistics
            The file that the domain's statistics lie in, or are written to.
        sample
            Returns the domain's images, uint8 ``[N, 3, H, W]``; called if there is no such file yet.
        """
        if not self.by_domain:
            return self.plain
        if (name := str(statistics)) not in self._stores:
            if not statistics.exists():
                save_tree(statistics, self._statistics(sample()[:SAMPLE]))
            own = copy.deepcopy(self.backbone)
            own.load_state_dict(load_tree(statistics), strict=False)

            def twice(plain: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
                return torch.cat([plain(pixels), self._through(own, pixels)], 1)

            both = partial(twice, self.plain), partial(twice, self.plain.anew)
            networks = [self.backbone, own]
            self._stores[name] = FeatureStore(f"{self._name(own)}-twice", self.size, *both, networks=networks)
        return self._stores[name]

    def _name(self, backbone: BackboneFeatures) -> str:
        slug = "".join(c if c.isalnum() else "-" for c in backbone.name)
        key = hashlib.sha256(f"{backbone.identity()} {self.engine.dtype}".encode()).hexdigest()
        return f"{slug}-{self.image_size}px-{key[:12]}"

    def _statistics(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the statistics of batch norm on a domain's images, by their names in the backbone."""
        known = self.plain.folder / f"{_name_of(_digests(pixels))}.statistics.safetensors"
        if known.exists():
            kept: dict[str, Tensor] = load_tree(known)
            return kept
        own = copy.deepcopy(self.backbone)
        whole = pixels[: len(pixels) // SAMPLE_BATCH * SAMPLE_BATCH or len(pixels)]
        found = measure_statistics(own, whole.split(SAMPLE_BATCH), partial(self._forward, own))
        save_tree(known, found)
        return found

    def _through(self, backbone: BackboneFeatures, pixels: Tensor) -> Tensor:
        """Send images through a backbone, as many at once as memory takes."""
        size = CPU_BATCH if self.engine.device.type == "cpu" else BATCH
        return in_parts(partial(self._forward, backbone), pixels, size)

    @torch.no_grad()
    def _forward(self, backbone: BackboneFeatures, pixels: Tensor) -> Tensor:
        images = to_float(pixels.to(self.engine.device)).contiguous(memory_format=torch.channels_last)
        with self.engine.autocast():
            features: Tensor = backbone(images)
        return features.float().cpu()


def _digests(pixels: Tensor) -> NDArray[np.uint8]:
    """Return the digest of each image, uint8 ``[N, 16]``."""
    rows = [
        np.frombuffer(hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=DIGEST).digest(), np.uint8)
        for image in pixels.numpy()
    ]
    return np.stack(rows) if rows else np.empty((0, DIGEST), np.uint8)


def _rows(path: Path, digests: NDArray[np.uint8]) -> dict[bytes, tuple[Path, int]]:
    return {digest.tobytes(): (path, row) for row, digest in enumerate(digests)}


def _name_of(digests: NDArray[np.uint8]) -> str:
    """Return a name for a set of images, by their digests."""
    return hashlib.sha256(digests.tobytes()).hexdigest()[:32]
