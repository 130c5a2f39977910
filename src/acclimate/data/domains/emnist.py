"""EMNIST and KMNIST: handwritten characters in MNIST's own format, 28x28 gray."""

from __future__ import annotations

import string
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from acclimate.data.domains.base import Domain, RawSplit, split_off
from acclimate.data.domains.mnist import DIGITS, read_idx
from acclimate.data.download import RemoteFile, file_md5
from acclimate.errors import DataError

_EMNIST = "https://www.nist.gov/itl/products-and-services/emnist-dataset"
_KMNIST = "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"
_PARTS = ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1")


class _Characters(Domain):
    """What they have in common: four idx files, of which a sixth of the training images validates, as MNIST's do.

    Attributes
    ----------
    first_label
        The publisher's number of the first class.
    transposed
        Whether the images are stored with their columns first.
    """

    native = "28x28 gray"
    first_label: ClassVar[int] = 0
    transposed: ClassVar[bool] = False

    def read(self) -> dict[str, RawSplit]:
        images, labels = self._part(*self.files[:2])
        return split_off(images, labels, len(labels) // 6) | {"test": RawSplit(*self._part(*self.files[2:]))}

    def _part(self, of_images: RemoteFile, of_labels: RemoteFile) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        images, labels = (read_idx(self.options.data_root / file.path) for file in (of_images, of_labels))
        classes = labels.astype(np.int64) - self.first_label
        if images.ndim != 3 or classes.shape != images.shape[:1]:
            raise DataError(f"{of_labels.path} has no label for each image of {of_images.path}")
        if len(classes) and not 0 <= classes.min() <= classes.max() < len(self.classes):
            raise DataError(f"{of_labels.path} has labels that are not {self.name}'s")
        return images.swapaxes(1, 2) if self.transposed else images, classes


def _emnist(split: str) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(f"emnist/emnist-{split}-{part}-ubyte.gz", (), source=_EMNIST) for part in _PARTS)


class EMNISTDigits(_Characters):
    """EMNIST's digits (Cohen et al., 2017), split 200,000 / 40,000 / 40,000; from the data root only."""

    name = "emnist-digits"
    classes = DIGITS
    content = "emnist-digits"
    licence = "public domain (NIST)"
    files = _emnist("digits")
    transposed = True


class EMNISTLetters(_Characters):
    """EMNIST's letters (Cohen et al., 2017), capitals and small ones as one class, split 104,000 / 20,800 / 20,800.

    From the data root only.
    """

    name = "emnist-letters"
    classes = tuple(string.ascii_lowercase)
    content = "emnist-letters"
    licence = "public domain (NIST)"
    files = _emnist("letters")
    first_label = 1
    transposed = True


def _kmnist(name: str, md5: str) -> RemoteFile:
    return RemoteFile(f"kmnist/{name}", (_KMNIST + name,), md5, file_md5, "https://github.com/rois-codh/kmnist")


class KMNIST(_Characters):
    """Kuzushiji-MNIST: ten cursive hiragana (Clanuwat et al., 2018), split 50,000 / 10,000 / 10,000."""

    name = "kmnist"
    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    content = "kmnist"
    licence = "CC BY-SA 4.0"
    files = (
        _kmnist("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        _kmnist("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        _kmnist("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        _kmnist("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    )
