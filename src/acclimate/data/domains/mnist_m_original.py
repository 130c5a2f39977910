"""MNIST-M as Ganin published it: hard digit masks on photo patches, 32x32 RGB (Ganin et al., JMLR 2016)."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from acclimate.data.archive import read_archive
from acclimate.data.domains.base import Domain, RawSplit, split_off
from acclimate.data.domains.mnist import DIGITS, VALIDATION
from acclimate.data.download import RemoteFile
from acclimate.data.images import decoded
from acclimate.errors import DataError

FILE = RemoteFile("mnist_m/mnist_m.tar.gz", (), source="http://yaroslav.ganin.net")
MNIST_COUNT = 60_000


class MNISTMOriginal(Domain):
    """Ganin's own MNIST-M, the copy that DANN, PixelDA and SBADA-GAN published on; not the problem that mnist-m is.

    From the data root only: nothing else is fetched in its place. Its 59,001 training images have the digits and the
    order of MNIST's first 59,001, so those whose digit validates in mnist validate here, too; all 9,001 test images
    test.
    """

    name = "mnist-m-original"
    classes = DIGITS
    content = "mnist-m-original"
    native = "32x32 RGB"
    licence = "MNIST's and BSDS500's (non-commercial research)"
    files = (FILE,)

    def read(self) -> dict[str, RawSplit]:
        file = self.options.data_root / FILE.path
        parts = split_off(*read_ganin(file, "train"), VALIDATION, of=MNIST_COUNT)
        return parts | {"test": RawSplit(*read_ganin(file, "test"))}


def read_ganin(path: Path, part: Literal["train", "test"]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read a part of the published tar: a folder ``mnist_m_PART`` of PNG, and a list of names and digits beside it.

    Returns
    -------
    tuple
        Pixels uint8 ``[N, 32, 32, 3]``, digits int64 ``[N]``, in the order of the names.

    Raises
    ------
    DataError
        The archive is damaged, or its images and its list do not fit.
    """
    images: dict[str, NDArray[np.uint8]] = {}
    digits: dict[str, int] = {}
    for name, content in read_archive(path, f"*mnist_m_{part}*"):
        if name.endswith(f"mnist_m_{part}_labels.txt"):
            digits = _digits(path, content)
        elif name.endswith(".png"):
            images[PurePosixPath(name).name] = _image(path, name, content)
    if not images or images.keys() != digits.keys():
        raise DataError(f"{path}: mnist_m_{part} has {len(images):,} images, its list of labels {len(digits):,} others")
    names = sorted(images)
    return np.stack([images[name] for name in names]), np.array([digits[name] for name in names], dtype=np.int64)


def _digits(path: Path, content: bytes) -> dict[str, int]:
    try:
        pairs = [line.split() for line in content.decode("ascii").splitlines() if line.strip()]
        digits = {name: int(digit) for name, digit in pairs}
        if not all(0 <= digit <= 9 for digit in digits.values()):
            raise ValueError
    except ValueError:
        raise DataError(f"{path}: a list of labels does not have a name and a digit a line") from None
    return digits


def _image(path: Path, name: str, content: bytes) -> NDArray[np.uint8]:
    member = f"{path}: its member {name}"
    with decoded(io.BytesIO(content), member) as image:
        if image.size != (32, 32):
            raise DataError(f"{member} has {image.width}x{image.height} pixels, not 32x32")
        return np.asarray(image.convert("RGB"))
