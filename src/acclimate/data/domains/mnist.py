"""MNIST: 70,000 handwritten digits, 28x28 gray (LeCun et al., 1998)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate.data.archive import unpack
from acclimate.data.domains.base import Domain, RawSplit, split_off
from acclimate.data.download import RemoteFile
from acclimate.errors import DataError

DIGITS = tuple("0123456789")
VALIDATION = 10_000

_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)


def _file(name: str, md5: str) -> RemoteFile:
    urls = tuple(mirror + name for mirror in _MIRRORS)
    return RemoteFile(f"mnist/{name}", urls, md5, source="http://yann.lecun.com/exdb/mnist/")


class MNIST(Domain):
    """MNIST, split 50,000 / 10,000 / 10,000: the source domain of the paper."""

    name = "mnist"
    classes = DIGITS
    content = "mnist"
    native = "28x28 gray"
    licence = "CC BY-SA 3.0"
    files = (
        _file("train-images-idx3-ubyte.gz", "6bbc9ace898e44ae57da46a324031adb"),
        _file("train-labels-idx1-ubyte.gz", "a25bea736e30d166cdddb491f175f624"),
        _file("t10k-images-idx3-ubyte.gz", "2646ac647ad5339dbf082846283269ea"),
        _file("t10k-labels-idx1-ubyte.gz", "27ae3e4e09519cfbb04c329615203637"),
    )

    def read(self) -> dict[str, RawSplit]:
        return read_mnist(self.options.data_root)


def read_mnist(data_root: Path) -> dict[str, RawSplit]:
    """Read MNIST's three splits, uint8 ``[N, 28, 28]``; the 60,000 training images are shuffled once, with seed 42."""
    images, labels, test_images, test_labels = (read_idx(data_root / file.path) for file in MNIST.files)
    return split_off(images, labels, VALIDATION) | {"test": RawSplit(test_images, test_labels)}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, gzipped or not.

    Raises
    ------
    DataError
        The file is no idx file of unsigned bytes, or is cut off.
    """
    data = unpack(path)
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise DataError(f"{path}: not an idx file of unsigned bytes")
    dimensions = data[3]
    if not 1 <= dimensions <= 4:
        raise DataError(f"{path}: its header says {dimensions} dimensions; images and labels have up to 4")
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions))
    values = np.frombuffer(data[4 + 4 * dimensions :], dtype=np.uint8)
    if values.size != math.prod(shape):
        raise DataError(f"{path}: holds {values.size:,} values, its header says {'x'.join(map(str, shape))}")
    return values.reshape(shape)
