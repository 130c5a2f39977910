"""A user's own images from Python: arrays, tensors, datasets of torch, rows as Hugging Face serves them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from acclimate.data.domains.base import SPLITS, DataOptions, Domain, RawSplit, SplitName, cache_roots
from acclimate.data.domains.own import OwnImages
from acclimate.data.domains.tree import Item, split_name
from acclimate.data.images import Survey, fit_image, survey_images
from acclimate.errors import DataError
from acclimate.training.state import read_json

PREFIX = "memory:"
"""Begins the name by which a run knows images that were handed over in Python."""

IMAGE_KEYS, LABEL_KEYS = ("image", "img", "pixel_values"), ("label", "labels", "fine_label")


class InMemory(OwnImages):
    """Images that are handed over in Python; those of a run are found in the cache afterwards.

    Parameters
    ----------
    value
        ``(images, labels)``, images alone, a map-style dataset of ``(image, label)`` or of images, a dataset whose rows
        are mappings with an image and perhaps a label, a data loader of one of these, or a mapping from ``train``,
        ``val`` and ``test`` to any of these. Images are PIL's, or arrays or tensors ``[H, W]``, ``[H, W, C]`` or
        ``[C, H, W]``, uint8 or float in [0, 1]. Labels are names, or numbers of the dataset's class names, which are
        taken from its ``classes`` or from ``features``; else the numbers are the names.
    options
        Size, channels, fit.
    classes
        Class names; None takes those of the images.

    Raises
    ------
    DataError
        It is none of that, or an image or a label is not what it should be.
    """

    def __init__(self, value: Any, options: DataOptions | None = None, classes: Sequence[str] | None = None) -> None:
        parts = list(_parts(value))
        rows = [(split, row) for split, part in parts for row in _rows(part)]
        self._order = next((names for _, part in parts if (names := _class_names(part))), ())
        if not rows:
            raise DataError("there is no image in what was handed over")
        self._images = [row[0] for _, row in rows]
        items = [Item(f"{number:07d}", label, split) for number, (split, (_, label)) in enumerate(rows)]
        if classes is None and (without := [item.name for item in items if not item.label]):
            raise DataError(f"a source needs a label for each image; image {int(without[0])} has none")
        key = hashlib.sha256()
        for image, item in zip(self._images, items, strict=True):
            key.update(f"{item}:{_content(image)}".encode())
        name = f"{PREFIX}{key.hexdigest()[:16]}"
        super().__init__(name, name, items, options, classes)

    def _own_classes(self) -> tuple[str, ...]:
        """Return the classes in the order of the dataset's numbers, where it has some."""
        order = {name: number for number, name in enumerate(self._order)}

        def place(name: str) -> tuple[int, str]:
            return order.get(name, int(name) if name.isdecimal() else len(order)), name

        return tuple(sorted(super()._own_classes(), key=place))

    @property
    def slug(self) -> str:
        return self.name.replace(":", "-")

    def stamp(self, item: Item) -> str:
        return ""  # the name is that of the content

    def load(self, item: Item) -> Tensor:
        options, image = self.options, self._images[int(item.name)]
        return fit_image(image, options.image_size, options.channels, options.fit, options.interpolation, self.levels)

    def survey(self) -> Survey:
        return survey_images(self._images)

    def notes(self) -> dict[str, object]:
        return super().notes() | {"read_as": _read_as(self.options, self.is_source)}


def _read_as(options: DataOptions, is_source: bool) -> dict[str, object]:
    """Return what tells apart how the cache keeps the same images, but for their size."""
    names = ("channels", "fit", "interpolation", "classes")
    return {"source": is_source} | {name: getattr(options, name) for name in names}


def first_sizes(value: Any, count: int) -> list[tuple[int, int]]:
    """Return width and height of the first images of what may be handed over."""
    return [image.size for _, part in _parts(value) for image, _ in islice(_rows(part), count)]


def _parts(value: Any) -> Iterator[tuple[SplitName | None, Any]]:
    """Yield the splits of what was handed over; None for what is not split."""
    if isinstance(value, Mapping) and value and all(split_name(str(name)) for name in value):
        yield from ((split_name(str(name)), part) for name, part in value.items())
    else:
        yield None, value


def _rows(value: Any) -> Iterator[tuple[Image.Image, str]]:
    """Yield each image with the name of its class, or an empty one."""
    if isinstance(value, tuple) and len(value) == 2 and not isinstance(value[0], Image.Image):
        images, labels = value
        if len(images) != len(labels):
            raise DataError(f"{len(images)} images were handed over with {len(labels)} labels")
        names = [_label_name(label, ()) for label in np.asarray(labels).tolist()]
        yield from ((_image(image), name) for image, name in zip(images, names, strict=True))
        return
    value = getattr(value, "dataset", value)  # of a data loader
    if not hasattr(value, "__getitem__") or not hasattr(value, "__len__"):
        raise DataError(
            f"a {type(value).__name__} cannot be read as images: hand over arrays, (images, labels), a dataset, a path"
        )
    classes = _class_names(value)
    for number in range(len(value)):
        row = value[number]
        label: Any = None
        if isinstance(row, Mapping):
            label = next((row[key] for key in LABEL_KEYS if key in row), None)
            if not (keys := [key for key in IMAGE_KEYS if key in row]):
                raise DataError(f"row {number} has no image: its keys are {', '.join(map(str, row))}")
            row = row[keys[0]]
        elif isinstance(row, tuple | list):
            row, label = row[0], row[1] if len(row) > 1 else None
        yield _image(row), _label_name(label, classes)


def _class_names(value: Any) -> Sequence[str]:
    """Return the class names that a dataset knows, in the order of its numbers."""
    value = getattr(value, "dataset", value)
    features = getattr(value, "features", None)
    if isinstance(features, Mapping):
        found = next((features[key] for key in LABEL_KEYS if key in features), None)
        return tuple(getattr(found, "names", None) or ())
    return tuple(map(str, getattr(value, "classes", None) or ()))


def _label_name(label: Any, classes: Sequence[str]) -> str:
    if label is None:
        return ""
    if isinstance(label, str):
        return label
    try:
        number = int(label)
    except (TypeError, ValueError):
        raise DataError(f"{label!r} is no label: names or whole numbers are") from None
    if number < 0:
        return ""
    if classes and number >= len(classes):
        raise DataError(f"label {number} has no name: there are {len(classes)}")
    return classes[number] if classes else f"{number:d}"


def _image(value: Any) -> Image.Image:
    """Return an image of PIL's from what was handed over."""
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, Mapping) and value.get("bytes"):  # as Hugging Face stores images that are not decoded
        return Image.open(io.BytesIO(value["bytes"]))
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or 0 in array.shape:
        raise DataError(f"images have the shape [H, W], [H, W, C] or [C, H, W], C 1 or 3, not {list(array.shape)}")
    return Image.fromarray(_as_bytes(array))


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        raise DataError(f"images are uint8 in [0, 255] or float in [0, 1], not {array.dtype}")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise DataError(f"float images are in [0, 1]; here they reach from {array.min():g} to {array.max():g}")
    return np.ascontiguousarray((array * 255).round().astype(np.uint8))


def _content(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()


class Remembered(Domain):
    """Images that were handed over in Python before, at the size at which the cache has them.

    Parameters
    ----------
    name
        Theirs, as the run knows it.
    options
        Those that they were read with.
    classes
        Class names; None for a source, which has its own.

    Raises
    ------
    DataError
        The cache has them no more.
    """

    def __init__(self, name: str, options: DataOptions | None = None, classes: Sequence[str] | None = None) -> None:
        super().__init__(options)
        self.name = self.content = name  # type: ignore[misc]
        wanted = None if classes is None else list(classes)
        name = f"prepared/{self.slug}-{self.options.image_size}px-*/manifest.json"
        for path in (path for root in cache_roots() for path in sorted(root.glob(name))):
            found, asked = read_json(path), _read_as(self.options, classes is None)
            if wanted in (None, found["classes"]) and found.get("read_as", asked) == asked:
                self.classes, self._folder = tuple(found["classes"]), path.parent
                return
        raise DataError(f"{name}, which was handed over in Python, is not in the cache any more: start a new run")

    @property
    def slug(self) -> str:
        return self.name.replace(":", "-")

    @property
    def has_labels(self) -> bool:
        return any(len(self.labelled(split)) for split in SPLITS)

    def fingerprint(self) -> str:
        return self.name

    def read(self) -> Mapping[str, RawSplit]:
        raise DataError(f"{self.name}, which was handed over in Python, is not in the cache any more: start a new run")
