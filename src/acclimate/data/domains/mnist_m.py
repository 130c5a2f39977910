"""MNIST-M: MNIST's digits over photos of BSDS500 (Ganin et al., JMLR 2016), made here, always the same bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from acclimate.data.archive import read_archive
from acclimate.data.domains.base import Domain, RawSplit
from acclimate.data.domains.mnist import DIGITS, MNIST, read_mnist
from acclimate.data.download import RemoteFile
from acclimate.errors import DataError

_BSDS_PAGE = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html"
_PHOTOS = "BSR/BSDS500/data/images/{}/*.jpg"
_SEEDS = {"train": 0, "val": 1, "test": 2}


def _digest(path: Path) -> str:
    checksum = hashlib.md5(usedforsecurity=False)
    for name, content in sorted(read_archive(path, _PHOTOS.format("*"))):
        checksum.update(name.encode() + hashlib.md5(content, usedforsecurity=False).digest())
    return checksum.hexdigest()


BSDS500 = RemoteFile(
    "bsds500/BSR_bsds500.tgz",
    ("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",),
    "1b739bf98a0f2f195a983b220922a1ad",
    _digest,
    _BSDS_PAGE,
)


class MNISTM(Domain):
    """MNIST-M, split as MNIST is: the same digits in the same order.

    Each image is |photo patch - digit| a channel, the patch a uniform random crop of a uniformly drawn photo. Patches
    for training and validation come from BSDS500's train and val photos, those for testing from its test photos.
    """

    name = "mnist-m"
    classes = DIGITS
    content = "mnist"
    native = "28x28 RGB"
    licence = "MNIST's and BSDS500's (non-commercial research)"
    files = (*MNIST.files, BSDS500)
    checksum = "adee2da34dceb0d76ea02713f4bdcee1"

    def read(self) -> dict[str, RawSplit]:
        digits = read_mnist(self.options.data_root)
        photos = read_photos(self.options.data_root / BSDS500.path)
        return {
            name: RawSplit(
                blend(np.asarray(split.pixels), photos["test" if name == "test" else "train"], _SEEDS[name]),
                split.labels,
            )
            for name, split in digits.items()
        }


def read_photos(path: Path) -> dict[str, list[NDArray[np.uint8]]]:
    """Decode BSDS500's photos, uint8 ``[H, W, 3]``, by name; 300 for ``train`` (train and val), 200 for ``test``."""
    photos: dict[str, list[NDArray[np.uint8]]] = {"train": [], "test": []}
    for name, content in sorted(read_archive(path, _PHOTOS.format("*"))):
        try:
            photo = np.asarray(Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]).convert("RGB"))
        except Exception as error:  # a decoder may raise anything on what it was not made for
            raise DataError(f"{path}: its member {name} is no readable photo ({error})") from None
        photos["test" if "/images/test/" in name else "train"].append(photo)
    return photos


def blend(digits: NDArray[np.uint8], photos: Sequence[NDArray[np.uint8]], seed: int) -> NDArray[np.uint8]:
    """Lay gray digits over random photo patches: |patch - digit| a channel.

    Parameters
    ----------
    digits
        uint8 ``[N, H, W]``.
    photos
        uint8 ``[h, w, 3]`` each, larger than the digits.
    seed
        Of NumPy's legacy generator, whose stream is frozen, so that everyone gets the same bytes.

    Returns
    -------
    NDArray
        uint8 ``[N, H, W, 3]``.
    """
    count, height, width = digits.shape
    random = np.random.RandomState(seed)
    chosen = random.randint(0, len(photos), size=(count,))
    positions = random.random_sample((count, 2))
    blended = np.empty((count, height, width, 3), dtype=np.uint8)
    for index, (y, x) in enumerate(positions):
        photo = photos[chosen[index]]
        top, left = int(y * (photo.shape[0] - height + 1)), int(x * (photo.shape[1] - width + 1))
        patch = photo[top : top + height, left : left + width].astype(np.int16)
        blended[index] = np.abs(patch - digits[index, :, :, None])
    return blended
