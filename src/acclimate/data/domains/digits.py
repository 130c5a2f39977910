"""The embedded domains: scikit-learn's bundled UCI digits and, over its bundled photos, their MNIST-M. No network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from acclimate.data.domains.base import Domain, RawSplit, digest, shuffled
from acclimate.data.domains.mnist import DIGITS
from acclimate.data.domains.mnist_m import blend
from acclimate.data.images import from_arrays

_SHRINK = 2
"""The photos are used at half their size, so that a patch shows texture and not just sky."""

_STRIPS = 8

_BOUNDS = {"train": slice(0, 1197), "val": slice(1197, 1397), "test": slice(1397, None)}


class Digits(Domain):
    """UCI handwritten digits (Alpaydin and Kaynak, 1998), 8x8 gray with a margin of 2, split 1,197 / 200 / 400."""

    name = "digits"
    classes = DIGITS
    content = "digits"
    native = "8x8 gray"
    licence = "CC BY 4.0"

    def fingerprint(self) -> str:
        return digest("scikit-learn", "margin 2")

    def read(self) -> dict[str, RawSplit]:
        pixels, labels = read_digits()
        return {name: RawSplit(pixels[bounds], labels[bounds]) for name, bounds in _BOUNDS.items()}


class DigitsM(Domain):
    """The recipe of MNIST-M over :class:`Digits`, enlarged to 28x28, and scikit-learn's two bundled photos, shrunk.

    The photos are cut into vertical strips; patches for testing come from every fourth, all others from the rest.
    """

    name = "digits-m"
    classes = DIGITS
    content = "digits"
    native = "28x28 RGB"
    licence = "CC BY 4.0; the photos CC BY 2.0"

    def fingerprint(self) -> str:
        return digest("scikit-learn", "margin 2", _SHRINK, _STRIPS)

    def read(self) -> dict[str, RawSplit]:
        from sklearn.datasets import load_sample_images

        pixels, labels = read_digits()
        enlarged = from_arrays(pixels, 28, 1)[:, 0].numpy()
        photos = [np.asarray(Image.fromarray(photo).reduce(_SHRINK)) for photo in load_sample_images().images]
        strips = [strip for photo in photos for strip in np.array_split(photo, _STRIPS, axis=1)]
        held_out = strips[3::4]
        others = [strip for number, strip in enumerate(strips) if number % 4 != 3]
        return {
            name: RawSplit(blend(enlarged[bounds], held_out if name == "test" else others, seed), labels[bounds])
            for seed, (name, bounds) in enumerate(_BOUNDS.items())
        }


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return scikit-learn's digits in a seeded order, with a margin as MNIST's have.

    Returns
    -------
    tuple
        Pixels uint8 ``[1797, 12, 12]``, the 16 levels spread to 255; digits int64 ``[1797]``.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = shuffled(len(bunch.target))
    pixels = np.rint(bunch.images[order] * (255 / 16)).astype(np.uint8)
    pixels = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
    return pixels, bunch.target[order].astype(np.int64)
