"""SVHN: house numbers from Street View, 32x32 RGB (Netzer et al., 2011); Synthetic Digits: the same, printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acclimate.data.domains.base import Domain, RawSplit, content_checksum, split_off
from acclimate.data.domains.mnist import DIGITS
from acclimate.data.download import RemoteFile, content_md5
from acclimate.errors import DataError

VALIDATION = 10_000
_SITE = "http://ufldl.stanford.edu/housenumbers/"
_SUBSET = 8_000
_SUBSET_TEST = 2_000
_SUBSET_VALIDATION = 1_000


def _digest(path: Path) -> str:
    return content_checksum({"train": RawSplit(*read_mat(path))})


def _is_subset(path: Path) -> bool:
    return path.exists() and path.stat().st_size < 20_000_000


def _digest_of_whole(path: Path) -> str:
    if _is_subset(path):
        raise DataError(
            f"{path} holds only a few thousand digits of SVHN: use the domain svhn-8k, or put the whole file there"
        )
    return content_md5(path)


TRAIN = RemoteFile(
    "svhn/train_32x32.mat",
    (_SITE + "train_32x32.mat",),
    "e26dedcc434d2e4c54c9b2d4a06d8373",
    _digest_of_whole,
    _SITE,
)
TEST = RemoteFile(
    "svhn/test_32x32.mat",
    (_SITE + "test_32x32.mat",),
    "eb5a983be6a315427106f1b164d9cef3",
    _digest_of_whole,
    _SITE,
)
SUBSET_TRAIN = RemoteFile(TRAIN.path, (), "79822ffbbf2306bec6f5753706eba745", _digest, _SITE)
SUBSET_TEST = RemoteFile(TEST.path, (), "885b261b1ae0422d4e19d38b6f469241", _digest, _SITE)


class SVHN(Domain):
    """SVHN, split 63,257 / 10,000 / 26,032."""

    name = "svhn"
    classes = DIGITS
    content = "svhn"
    native = "32x32 RGB"
    licence = "non-commercial research"
    files = (TRAIN, TEST)

    def read(self) -> dict[str, RawSplit]:
        train, test = (read_mat(self.options.data_root / file.path) for file in self.files)
        return split_off(*train, VALIDATION) | {"test": RawSplit(*test)}


class SVHN8k(Domain):
    """The first 8,000 images of SVHN's test split, as 5,000 / 1,000 / 2,000: a small stand-in, never called svhn.

    Made from the publisher's test file, or from two files of 6,000 and 2,000 images under the publisher's names.
    """

    name = "svhn-8k"
    classes = DIGITS
    content = "svhn"
    native = "32x32 RGB"
    licence = "non-commercial research"

    def required_files(self) -> tuple[RemoteFile, ...]:
        if _is_subset(self.options.data_root / TEST.path):
            return (SUBSET_TRAIN, SUBSET_TEST)
        return (TEST,)

    def read(self) -> dict[str, RawSplit]:
        parts = [read_mat(self.options.data_root / file.path) for file in self.required_files()]
        pixels = np.concatenate([part[0] for part in parts])[:_SUBSET]
        labels = np.concatenate([part[1] for part in parts])[:_SUBSET]
        seen = _SUBSET - _SUBSET_TEST
        test = RawSplit(pixels[seen:], labels[seen:])
        return split_off(pixels[:seen], labels[:seen], _SUBSET_VALIDATION) | {"test": test}


SYNTHETIC = tuple(
    RemoteFile(f"syn-digits/synth_{part}_32x32.mat", (), source="http://yaroslav.ganin.net")
    for part in ("train", "test")
)


class SyntheticDigits(Domain):
    """Ganin's Synthetic Digits: printed numbers made to look like SVHN's, in its format; from the data root only.

    Split 431,460 / 47,940 / 9,553: the publisher's training set less a seeded tenth, and its test set.
    """

    name = "syn-digits"
    classes = DIGITS
    content = "syn-digits"
    native = "32x32 RGB"
    licence = "free for research"
    files = SYNTHETIC

    def read(self) -> dict[str, RawSplit]:
        train, test = (read_mat(self.options.data_root / file.path) for file in self.files)
        return split_off(*train, len(train[1]) // 10) | {"test": RawSplit(*test)}


def read_mat(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read cropped digits in SVHN's format: ``X`` (32, 32, 3, N) uint8 and ``y`` (N, 1) with 10 for the digit zero.

    Returns
    -------
    tuple
        Pixels uint8 ``[N, 32, 32, 3]``, digits int64 ``[N]``.

    Raises
    ------
    DataError
        The file is damaged or holds something else.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        pixels, labels = content["X"], content["y"].reshape(-1)
    except KeyError as error:
        raise DataError(f"{path}: has no variable {error}") from None
    except Exception as error:  # scipy raises whatever its parser stumbles over
        raise DataError(f"{path}: not a readable MATLAB file ({error})") from None
    if pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3) or pixels.shape[3] != len(labels):
        raise DataError(f"{path}: X has shape {pixels.shape}, expected (32, 32, 3, {len(labels)})")
    return np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), (labels.astype(np.int64) % 10)
