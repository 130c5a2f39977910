"""The one place where images change size, channels or value range.

Images rest as uint8 tensors ``[N, C, H, W]`` and are scaled to ``[-1, 1]`` only inside a batch, on the device.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from acclimate.config import Fit, Interpolation
from acclimate.errors import DataError

MAX_PIXELS = 100_000_000
"""Images with more pixels are refused unread: a small file can unpack to gigabytes."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})


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
) -> Tensor:
    """Read one image file of any kind that Pillow knows, at the working size.

    Camera rotation (EXIF) is applied; palette, CMYK, 16-bit and float images are converted; transparency is laid on
    white; the first frame of an animation counts.

    Returns
    -------
    Tensor
        uint8 ``[channels, image_size, image_size]``.

    Raises
    ------
    DataError
        The file is not an image, is cut off, or holds more than :data:`MAX_PIXELS` pixels.
    """
    with _opened(path) as image:
        square = _fit(image, image_size, fit, interpolation)
    return _to_tensor(square, channels)


def fit_image(
    image: Image.Image, image_size: int, channels: int, fit: Fit = "stretch", interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Bring an image of Pillow's to the working size, uint8 ``[channels, image_size, image_size]``."""
    return _to_tensor(_fit(_to_rgb(image), image_size, fit, interpolation), channels)


def read_whole(path: str | os.PathLike[str], channels: int) -> Tensor:
    """Read one image file as :func:`read_image` does, but at its own size, uint8 ``[channels, H, W]``.

    Raises
    ------
    DataError
        As :func:`read_image`.
    """
    with _opened(path) as image:
        return _to_tensor(image, channels)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Yield an image file's content in RGB; say in one line what is wrong with it."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path}: {image.width}x{image.height} pixels; the limit is {MAX_PIXELS:,}")
            yield _to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        reason = "not a readable image" if "cannot identify" in str(error) else str(error) or type(error).__name__
        raise DataError(f"{path}: {reason}") from None


def _to_tensor(image: Image.Image, channels: int) -> Tensor:
    pixels = np.asarray(image.convert("L") if channels == 1 else image)
    return torch.from_numpy(pixels.reshape(image.height, image.width, channels).copy()).permute(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray opens as I;16 or, from older files, as 32-bit I
        values = np.asarray(image).astype(np.int64)
        wide = image.mode.startswith("I;16") or values.max(initial=0) > 255
        image = Image.fromarray(np.clip(values >> 8 if wide else values, 0, 255).astype(np.uint8))
    elif image.mode == "F":
        values_f = np.nan_to_num(np.asarray(image))
        scale = 255.0 if values_f.max(initial=0) <= 1.0 else 1.0
        image = Image.fromarray(np.clip(values_f * scale, 0, 255).astype(np.uint8))
    if "transparency" in image.info or image.mode in {"RGBA", "LA", "PA", "RGBa", "La"}:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def _fit(image: Image.Image, size: int, fit: Fit, interpolation: Interpolation) -> Image.Image:
    by = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
    methods: dict[str, Callable[[], Image.Image]] = {
        "stretch": lambda: image.resize((size, size), by),
        "crop": lambda: ImageOps.fit(image, (size, size), by),
        "pad": lambda: ImageOps.pad(image, (size, size), by),
    }
    return methods[fit]()


def write_png(pixels: Tensor, path: Path) -> None:
    """Write one uint8 image ``[C, H, W]`` as PNG."""
    array = pixels.cpu().permute(1, 2, 0).numpy()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(path, format="PNG")


def image_files(folder: Path) -> list[Path]:
    """List the image files under ``folder`` in any nesting, sorted; hidden files and folders are passed over."""
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(root, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


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
