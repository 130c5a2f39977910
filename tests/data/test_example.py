"""The two folders to try everything on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from acclimate.data.example import COUNT, PARTS, write_example
from acclimate.errors import DataError


def test_both_folders_have_every_class(tmp_path: Path) -> None:
    for domain in write_example(tmp_path / "example"):
        assert {folder.name for folder in domain.iterdir()} == set(PARTS)
        for folder in domain.iterdir():
            files = sorted(folder.iterdir())
            assert len(files) == COUNT
            with Image.open(files[0]) as image:
                assert image.size == (128, 128)


def test_they_are_always_the_same(tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        write_example(folder)
        return hashlib.md5(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.jpg")))).hexdigest()

    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DataError, match="is not empty"):
        write_example(tmp_path)


def test_the_command_says_what_comes_next(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    code, out, _ = run_cli("data", "example", tmp_path / "new")
    assert code == 0
    assert f"next: acclimate run {tmp_path / 'new' / 'drawings'} {tmp_path / 'new' / 'photos'}" in out
