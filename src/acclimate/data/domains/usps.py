"""USPS: 9,298 handwritten digits from envelopes, 16x16 gray (Hull, 1994), as LIBSVM publishes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate.data.archive import unpack
from acclimate.data.domains.base import Domain, RawSplit, content_checksum, split_off
from acclimate.data.domains.mnist import DIGITS
from acclimate.data.download import RemoteFile
from acclimate.errors import DataError

VALIDATION = 730
_PAGE = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps"
_MIRROR = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"


def _digest(path: Path) -> str:
    pixels, labels = read_libsvm(path)
    return content_checksum({"train": RawSplit(pixels, labels)})


def _file(name: str, md5: str) -> RemoteFile:
    return RemoteFile(f"usps/{name}", (_MIRROR + name,), md5, _digest, _PAGE)


class USPS(Domain):
    """USPS, split 6,561 / 730 / 2,007: the publisher's training set less a seeded tenth, and its test set."""

    name = "usps"
    classes = DIGITS
    content = "usps"
    native = "16x16 gray"
    licence = "free for research"
    files = (
        _file("usps.bz2", "bfbf3fcd723b614c9a58d49996cc21ff"),
        _file("usps.t.bz2", "daedcca36df9a775085c7b70718cd446"),
    )

    def read(self) -> dict[str, RawSplit]:
        train, test = (read_libsvm(self.options.data_root / file.path) for file in self.files)
        return split_off(*train, VALIDATION) | {"test": RawSplit(*test)}


def read_libsvm(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read USPS in LIBSVM's text format: a label 1 to 10 and 256 features in [-1, 1] a line.

    Returns
    -------
    tuple
        Pixels uint8 ``[N, 16, 16]``, digits int64 ``[N]``.

    Raises
    ------
    DataError
        The file is cut off, or a line does not have this form.
    """
    pixels, labels = [], []
    for number, line in enumerate(unpack(path, max_bytes=1 << 28).splitlines(), 1):
        values = np.zeros(256)
        try:
            label, *features = line.split()
            for feature in features:
                index, value = feature.split(b":")
                values[int(index) - 1] = float(value)
            labels.append(int(float(label)) - 1)
            if not (np.isfinite(values).all() and 0 <= labels[-1] <= 9):
                raise ValueError
        except (ValueError, IndexError, OverflowError):
            raise DataError(f"{path}: line {number} is not a USPS digit in LIBSVM's format") from None
        pixels.append(values)
    scaled = np.rint((np.array(pixels) + 1.0) * 127.5).clip(0, 255).astype(np.uint8)
    return scaled.reshape(-1, 16, 16), np.array(labels, dtype=np.int64)
