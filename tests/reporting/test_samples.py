from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acclimate.errors import DataError
from acclimate.reporting.samples import GAP, LARGEST, draw_rows


@pytest.mark.parametrize(("channels", "size", "cell"), [(1, 8, 64), (3, 28, 56), (3, 128, 128)])
def test_every_image_is_in_its_place_pixel_by_pixel(channels: int, size: int, cell: int, tmp_path: Path) -> None:
    rows = [
        (name, torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8))
        for name, count in (("source", 3), ("a longer word", 2))
    ]
    picture = np.asarray(Image.open(draw_rows(rows, tmp_path / "new" / "rows.png")))
    pitch = cell + GAP
    left = picture.shape[1] - 3 * pitch
    assert picture.shape[0] == GAP + 2 * pitch
    for row, (_, images) in enumerate(rows):
        for column, image in enumerate(images):
            y, x = GAP + pitch * row, left + pitch * column
            shown = picture[y : y + cell, x : x + cell]
            expected = image.permute(1, 2, 0).expand(-1, -1, 3).numpy().repeat(cell // size, 0).repeat(cell // size, 1)
            assert (shown == expected).all()
        words = picture[GAP + pitch * row :, :left][:cell]
        assert (words < 128).any()  # the word is there
        assert (words[:, :1] == 255).all()  # and not cut off
    assert (picture[GAP + pitch :, left + 2 * pitch :] == 255).all()  # where the shorter row ends


def test_large_images_are_shrunk(tmp_path: Path) -> None:
    images = torch.full((2, 1, 300, 300), 7, dtype=torch.uint8)
    picture = np.asarray(Image.open(draw_rows([("large", images)], tmp_path / "large.webp")))
    assert picture.shape[0] == LARGEST + 2 * GAP
    assert picture[:, -LARGEST // 2].max(axis=1)[GAP:-GAP].max() < 20


@pytest.mark.parametrize("name", ["picture", "picture.svg", "picture.psd"])
def test_a_format_that_cannot_be_written_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"name the picture \.png, \.jpg, \.jpeg, \.webp or \.pdf"):
        draw_rows([("row", torch.zeros(1, 3, 8, 8, dtype=torch.uint8))], tmp_path / name)


def test_showing_a_domain_imports_no_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys; from acclimate.commands.data import show; from pathlib import Path;"
        f"show('digits', out=Path({str(tmp_path / 'digits.png')!r})); assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "digits.png").exists()
