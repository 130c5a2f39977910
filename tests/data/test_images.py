from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acclimate.data import images
from acclimate.data.images import from_arrays, read_image, to_float, to_uint8, write_png
from acclimate.data.listing import list_images
from acclimate.errors import DataError


def test_uint8_survives_the_way_to_floats_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    floats = to_float(pixels)
    assert floats.min() == -1
    assert floats.max() == 1
    assert torch.equal(to_uint8(floats), pixels)
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_gray_arrays_become_rgb_and_rgb_becomes_luma() -> None:
    gray = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    assert torch.equal(from_arrays(gray, 8, 3)[:, 2], torch.from_numpy(gray.copy()))
    colour = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    colour[..., 1] = 100
    assert from_arrays(colour, 8, 1).unique().tolist() == [59]


def test_resize_is_bilinear() -> None:
    gray = np.array([[[0, 100], [0, 100]]], dtype=np.uint8)
    assert from_arrays(gray, 4, 1)[0, 0, 0].tolist() == [0, 25, 75, 100]


def save(path: Path, mode: str) -> Path:
    if mode == "I;16":
        Image.fromarray(np.full((9, 9), 0x8000, dtype=np.uint16)).save(path)
    elif mode == "F":
        Image.fromarray(np.full((9, 9), 0.5, dtype=np.float32)).save(path)
    elif mode == "RGBA":
        Image.new("RGBA", (9, 9), (0, 0, 0, 128)).save(path)
    elif mode == "CMYK":
        Image.new("CMYK", (9, 9), (0, 0, 0, 127)).save(path)
    elif mode == "P":
        Image.new("RGB", (9, 9), (128, 128, 128)).quantize(4).save(path)
    elif mode == "1":
        Image.new("1", (9, 9), 1).save(path)
    else:
        Image.new(mode, (9, 9), 128).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "suffix", "expected"),
    [
        ("L", ".png", 128),
        ("P", ".png", 128),
        ("P", ".gif", 128),
        ("I;16", ".png", 128),
        ("I;16", ".tif", 128),
        ("F", ".tif", 127),
        ("RGBA", ".png", 127),
        ("LA", ".png", None),
        ("CMYK", ".jpg", 128),
        ("1", ".png", 255),
        ("RGB", ".webp", None),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_is_converted(
    tmp_path: Path, mode: str, suffix: str, expected: int | None, channels: int
) -> None:
    pixels = read_image(save(tmp_path / f"image{suffix}", mode), 8, channels)
    assert pixels.shape == (channels, 8, 8)
    assert pixels.dtype == torch.uint8
    if expected is not None:
        assert abs(int(pixels.float().mean()) - expected) <= 2


def test_camera_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("L", (8, 8))
    image.paste(255, (0, 0, 8, 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = read_image(tmp_path / "turned.png", 8, 1)
    assert pixels[0, :, 7].min() == 255
    assert pixels[0, :, 0].max() == 0


@pytest.mark.parametrize(("fit", "corner", "middle"), [("stretch", 255, 255), ("crop", 255, 255), ("pad", 0, 255)])
def test_fit(tmp_path: Path, fit: images.Fit, corner: int, middle: int) -> None:
    Image.new("L", (32, 16), 255).save(tmp_path / "wide.png")
    pixels = read_image(tmp_path / "wide.png", 8, 1, fit)
    assert (pixels[0, 0, 0], pixels[0, 4, 4]) == (corner, middle)


def test_bad_files_are_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png: not a readable image"):
        read_image(tmp_path / "text.png", 8, 3)
    rows = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(rows).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(DataError, match=r"cut\.jpg: .*truncated"):
        read_image(tmp_path / "cut.jpg", 8, 3)
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"empty\.png: not a readable image"):
        read_image(tmp_path / "empty.png", 8, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match=r"whole\.jpg: 64x64 pixels; the limit is 1,000"):
        read_image(tmp_path / "whole.jpg", 8, 3)


def test_image_files_in_any_nesting_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/c/2.JPG", "1.png", ".hidden/3.png", "b/.4.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path).files == [tmp_path / "1.png", tmp_path / "b/c/2.JPG"]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip(tmp_path: Path, channels: int) -> None:
    pixels = torch.randint(0, 256, (channels, 8, 8), dtype=torch.uint8)
    write_png(pixels, tmp_path / "image.png")
    assert torch.equal(read_image(tmp_path / "image.png", 8, channels), pixels)
