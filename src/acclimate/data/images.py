"""The one place where images change size, channels or value range.

Images rest as uint8 tensors ``[N, C, H, W]`` and are scaled to ``[-1, 1]`` only inside a batch, on the device.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from acclimate.config import Fit, Interpolation
from acclimate.errors import DataError
from acclimate.progress import shown

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by the orientation that its camera noted."""

ROWS = 256
"""Rows of an image of more than 8 bits that are scaled at a time: as floats they take four times the memory."""

MAX_PIXELS = 100_000_000
"""Images with more pixels are refused unread: a small file can unpack to gigabytes."""

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".tga"}
)
"""A file called so is meant to be an image; others are if they begin like one."""

FORMATS = (
    *("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF", "ICO", "PCX"),
    *("SGI", "DDS", "QOI", "PSD"),
)
"""What Pillow may read here, if it can: pictures, and no programs such as EPS, whatever they are called."""

Levels = tuple[float, float]
"""The values of images of more than 8 bits that become 0 and 255."""


def to_float(pixels: Tensor) -> Tensor:
    """Scale uint8 images in [0, 255] to float32 in [-1, 1]; features, which are float32 already, stay as they are."""
    if pixels.is_floating_point():
        return pixels
    return pixels.float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Scale float images in [-1, 1] to uint8 in [0, 255], rounding to nearest and clipping."""
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def from_arrays(arrays: NDArray[np.uint8], image_size: int, channels: int) -> Tensor:
    """Bring equally sized uint8 images to the working size.

    Bilinear, with antialiasing when shrinking; gray images are repeated into RGB, RGB becomes luma (ITU-R 601)
    where one channel is asked for.

    Parameters
    ----------
    arrays
        uint8 ``[N, H, W]`` or ``[N, H, W, C]``.
    image_size
        Height and width of the result.
    channels
        1 or 3.

    Returns
    -------
    Tensor
        uint8 ``[N, channels, image_size, image_size]``.
    """
    pixels = torch.from_numpy(np.require(arrays, requirements=["C", "W"]))
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return torch.cat([_resize(chunk, image_size, channels) for chunk in pixels.split(2048)])


def _resize(pixels: Tensor, image_size: int, channels: int) -> Tensor:
    images = pixels.float()
    if images.shape[1] == 3 and channels == 1:
        images = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if images.shape[-2:] != (image_size, image_size):
        shrinks = max(images.shape[-2:]) > image_size
        images = F.interpolate(images, (image_size, image_size), mode="bilinear", antialias=shrinks)
    images = images.round_().clamp_(0, 255).to(torch.uint8)
    return images.expand(-1, channels, -1, -1).contiguous()


def read_image(
    path: str | os.PathLike[str],
    image_size: int,
    channels: int,
    fit: Fit = "stretch",
    interpolation: Interpolation = "bilinear",
    levels: Levels | None = None,
) -> Tensor:
    """Read one image file of any kind that Pillow knows, at the working size.

    Camera rotation (EXIF) is applied, the rest of what a file says about itself is not read; palette and CMYK images
    are converted, those of 16 bits and of floats scaled from ``levels``; transparency is laid on white; the first frame
    counts.

    Parameters
    ----------
    path
        The file.
    image_size, channels, fit, interpolation
        What is asked for.
    levels
        Of a whole set (:func:`survey`); None takes what fits this image alone.

    Returns
    -------
    Tensor
        uint8 ``[channels, image_size, image_size]``.

    Raises
    ------
    DataError
        The file is not an image, is cut off, or holds more than :data:`MAX_PIXELS` pixels.
    """
    with opened(path) as image:
        return fit_image(image, image_size, channels, fit, interpolation, levels)


def fit_image(
    image: Image.Image,
    image_size: int,
    channels: int,
    fit: Fit = "stretch",
    interpolation: Interpolation = "bilinear",
    levels: Levels | None = None,
) -> Tensor:
    """Bring an image of Pillow's to the working size, uint8 ``[channels, image_size, image_size]``."""
    return _to_tensor(_fit(_to_rgb(image, levels), image_size, fit, interpolation), channels)


def read_whole(path: str | os.PathLike[str], channels: int, levels: Levels | None = None) -> Tensor:
    """Read one image file as :func:`read_image` does, but at its own size, uint8 ``[channels, H, W]``.

    Raises
    ------
    DataError
        As :func:`read_image`.
    """
    with opened(path) as image:
        return whole_image(image, channels, levels)


def whole_image(image: Image.Image, channels: int, levels: Levels | None = None) -> Tensor:
    """Return an image of Pillow's at its own size, uint8 ``[channels, H, W]``."""
    return _to_tensor(_to_rgb(image, levels), channels)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Yield an image file's content, turned upright; say in one line what is wrong with it.

    Raises
    ------
    DataError
        As :func:`read_image`; also for what goes wrong with the image where it is yielded to.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise DataError(f"{shown(path)}: not a file")
        with open(path, "rb") as file, decoded(file, shown(path)) as image:
            yield image
    except OSError as error:
        raise DataError(f"{shown(path)}: {_reason(error)}") from None


@contextlib.contextmanager
def decoded(file: BinaryIO, name: str, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Yield what an open image file holds, turned upright; ``name`` is what messages call it.

    At most ``max_pixels``, by default :data:`MAX_PIXELS`, are read.

    Raises
    ------
    DataError
        As :func:`opened`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that is not read
            with Image.open(file, formats=_formats(Path(name).suffix.lower())) as image:
                if image.width * image.height > (limit := max_pixels or MAX_PIXELS):
                    raise DataError(f"{name}: {image.width}x{image.height} pixels; the limit is {limit:,}")
                image.load()
                yield _upright(image)
    except DataError:
        raise
    except UnidentifiedImageError:
        empty = not file.seek(0, os.SEEK_END)
        raise DataError(f"{name}: not a readable image{', it is empty' if empty else ''}") from None
    except Exception as error:  # a decoder may raise anything on what it was not made for
        raise DataError(f"{name}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or type(error).__name__
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def is_image(path: Path) -> bool:
    """Whether a file begins like an image that can be read here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_formats("")):
                return True
    except Exception:  # as above
        return False


@cache
def _formats(suffix: str) -> tuple[str, ...]:
    Image.init()
    with contextlib.suppress(ImportError):  # what telephones write, where its plugin is installed
        importlib.import_module("pillow_heif").register_heif_opener()
    known = FORMATS if suffix != ".tga" else (*FORMATS, "TGA")  # which is known by its name alone
    return tuple(name for name in known if name in Image.OPEN)


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its camera was held, if it says so; of damaged metadata nothing is believed."""
    try:
        turns = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as above
        return image
    return image if turns is None else image.transpose(turns)


@dataclass(frozen=True)
class Survey:
    """What a set's files say of themselves before they are read.

    Attributes
    ----------
    levels
        One scale for all images of more than 8 bits, None where there are none. Cameras write 10, 12 and 14 bits into
        files of 16: it ends at the least of 255, 1,023, 4,095, 16,383 and 65,535 that no image exceeds, that of floats
        also at 1, else at their greatest value. It starts at 0, or at the least value if some are below.
    several
        Files that hold more than one image, such as animations, scans of many pages and stereo photos.
    """

    levels: Levels | None
    several: int


def survey(paths: Iterable[str | os.PathLike[str]]) -> Survey:
    """Look at the heads of image files, and at the values of those that have more than 8 bits."""
    return survey_images(headers(paths))


def survey_images(images: Iterable[Image.Image]) -> Survey:
    """Do :func:`survey` for images of Pillow's, each of which is looked at before the next is asked for."""
    found, several = list[Levels](), 0
    for image in images:
        try:
            several += bool(getattr(image, "is_animated", False))
            if _is_deep(image) and image.width * image.height <= MAX_PIXELS:
                found.append(_extremes(image))
        except Exception:  # as above; it is named when the image itself is read
            continue
    levels = _levels(min(low for low, _ in found), max(high for _, high in found)) if found else None
    return Survey(levels, several)


def headers(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Image.Image]:
    """Open image files one after the other, of which only the headers are read; those that cannot be are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            if os.path.isfile(path):  # noqa: PTH113 (Path's raises for names that are too long)
                try:
                    image = Image.open(path, formats=_formats(Path(path).suffix.lower()))
                except Exception:  # as above
                    continue
                with image:
                    yield image


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _extremes(image: Image.Image) -> Levels:
    values = np.asarray(image)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _levels(low: float, high: float) -> Levels:
    ladder = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
    return min(low, 0.0), next((step for step in ladder if high <= step), high)


def _to_tensor(image: Image.Image, channels: int) -> Tensor:
    pixels = np.asarray(image.convert("L") if channels == 1 else image)
    return torch.from_numpy(pixels.reshape(image.height, image.width, channels).copy()).permute(2, 0, 1)


def _to_rgb(image: Image.Image, levels: Levels | None = None) -> Image.Image:
    if _is_deep(image):
        low, high = levels or _levels(*_extremes(image))
        deep = np.asarray(image)
        shallow = np.empty(deep.shape, np.uint8)
        for rows in (slice(row, row + ROWS) for row in range(0, len(deep), ROWS)):
            values = np.nan_to_num(deep[rows].astype(np.float64), posinf=high, neginf=low)
            shallow[rows] = np.clip((values - low) * (255.0 / max(high - low, 1e-30)) + 0.5, 0, 255)
        image = Image.fromarray(shallow)
    if "transparency" in image.info or image.mode in {"RGBA", "LA", "PA", "RGBa", "La"}:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def _fit(image: Image.Image, size: int, fit: Fit, interpolation: Interpolation) -> Image.Image:
    by = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
    if fit == "pad" and 2 * min(image.size) * size < max(image.size):  # Pillow before 13 would leave it no short side
        width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
        image = image.resize((width, height), by)
    methods: dict[str, Callable[[], Image.Image]] = {
        "stretch": lambda: image.resize((size, size), by),
        "crop": lambda: ImageOps.fit(image, (size, size), by),
        "pad": lambda: ImageOps.pad(image, (size, size), by),
    }
    return methods[fit]()


def write_png(pixels: Tensor, file: Path | BinaryIO) -> None:
    """Write one uint8 image ``[C, H, W]`` as PNG."""
    array = pixels.cpu().permute(1, 2, 0).numpy()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(file, format="PNG")


def texture_noise(images: Tensor) -> Tensor:
    """Return gray noise, the sum of three scales: Gaussian of standard deviation 1 at full, half and quarter size.

    Natural texture has energy at all scales. A generator that leaves target images as they are takes such noise for the
    target's texture and elaborates it.

    Parameters
    ----------
    images
        float ``[N, C, H, W]``; the noise has this shape, the same in all channels.
    """
    count, _, height, width = images.shape
    noise = images.new_zeros(count, 1, height, width)
    for block in (1, 2, 4):
        coarse = torch.randn(count, 1, math.ceil(height / block), math.ceil(width / block), device=images.device)
        noise += F.interpolate(coarse, (height, width), mode="bilinear")
    return noise.expand_as(images)


def with_texture_noise(images: Tensor, std: float) -> Tensor:
    """Return images in [-1, 1] under :func:`texture_noise`, times ``std``, clamped; 0 leaves them as they are."""
    return (images + std * texture_noise(images)).clamp(-1.0, 1.0) if std else images
