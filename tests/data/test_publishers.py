"""Domains that are read from the data root alone, each from a small file in its publisher's format."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from acclimate.data.domains import DataOptions, Domain, emnist, mnist_m_original, open_domain, svhn
from acclimate.data.domains.base import shuffled
from acclimate.data.download import RemoteFile, file_md5
from acclimate.errors import DataError
from helpers import idx_bytes, tar_bytes

RANDOM = np.random.default_rng(0)


def pixels(count: int, *shape: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (count, *shape), dtype=np.uint8)


def opened(name: str, root: Path, image_size: int = 28) -> Domain:
    return open_domain(name, DataOptions(data_root=root, download=False, image_size=image_size))


def write_idx(root: Path, files: tuple[RemoteFile, ...], *arrays: NDArray[np.integer]) -> None:
    for file, array in zip(files, arrays, strict=True):
        (root / file.path).parent.mkdir(parents=True, exist_ok=True)
        (root / file.path).write_bytes(idx_bytes(array.astype(np.uint8)))


class TestCharacters:
    def test_emnist_stands_upright_and_a_sixth_validates(self, tmp_path: Path) -> None:
        train, test, labels = pixels(60, 28, 28), pixels(20, 28, 28), np.arange(60) % 10
        write_idx(tmp_path, emnist.EMNISTDigits.files, train, labels, test, labels[:20])
        domain = opened("emnist-digits", tmp_path)
        assert domain.sizes() == {"train": 50, "val": 10, "test": 20}
        shown = domain.labelled("test")
        assert torch.equal(shown.pixels[:, 0], torch.from_numpy(test).mT)
        assert shown.labels.tolist() == labels[:20].tolist()
        assert torch.equal(domain.images("val").pixels[:, 1], torch.from_numpy(train[shuffled(60)[-10:]]).mT)

    def test_emnists_letters_are_counted_from_one(self, tmp_path: Path) -> None:
        labels = 1 + np.arange(52) % 26
        write_idx(tmp_path, emnist.EMNISTLetters.files, pixels(52, 28, 28), labels, pixels(26, 28, 28), labels[:26])
        domain = opened("emnist-letters", tmp_path)
        assert [domain.classes[label] for label in domain.labelled("test").labels] == list("abcdefghijklmnopqrstuvwxyz")

    def test_labels_that_are_not_the_sets(self, tmp_path: Path) -> None:
        images = pixels(12, 28, 28)
        write_idx(tmp_path, emnist.EMNISTLetters.files, images, np.arange(12), images, 1 + np.arange(12))
        with pytest.raises(DataError, match="labels that are not emnist-letters's"):
            opened("emnist-letters", tmp_path).prepare()
        write_idx(tmp_path, emnist.EMNISTLetters.files, images, 1 + np.arange(11), images, 1 + np.arange(12))
        with pytest.raises(DataError, match="no label for each image"):
            opened("emnist-letters", tmp_path).prepare()

    def test_kmnist_is_verified(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        images, labels = pixels(30, 28, 28), np.arange(30) % 10
        write_idx(tmp_path, emnist.KMNIST.files, images, labels, images, labels)
        with pytest.raises(DataError, match="expected bdb82020997e1d708af4cf47b453dcf7"):
            opened("kmnist", tmp_path).prepare()
        ours = [RemoteFile(one.path, (), file_md5(tmp_path / one.path), file_md5) for one in emnist.KMNIST.files]
        monkeypatch.setattr(emnist.KMNIST, "files", tuple(ours))
        domain = opened("kmnist", tmp_path)
        assert domain.sizes() == {"train": 25, "val": 5, "test": 30}
        assert torch.equal(domain.images("test").pixels[:, 0], torch.from_numpy(images))


def png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def ganins_tar(train: NDArray[np.uint8], test: NDArray[np.uint8]) -> dict[str, bytes]:
    """Members of the publisher's tar, image ``i`` showing the digit ``i`` % 10; its lists are in no order."""
    members = {}
    for part, images in (("train", train), ("test", test)):
        lines = [f"{index:08d}.png {index % 10}\n" for index in range(len(images))]
        members[f"mnist_m/mnist_m_{part}_labels.txt"] = "".join(reversed(lines)).encode()
        members |= {f"mnist_m/mnist_m_{part}/{index:08d}.png": png(image) for index, image in enumerate(images)}
    return members


class TestMNISTMOriginal:
    @pytest.fixture
    def tar(self, tmp_path: Path) -> Path:
        path = tmp_path / mnist_m_original.FILE.path
        path.parent.mkdir()
        return path

    def test_its_digits_validate_where_mnists_do(
        self, tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mnist_m_original, "MNIST_COUNT", 60)
        monkeypatch.setattr(mnist_m_original, "VALIDATION", 10)
        train, test = pixels(55, 32, 32, 3), pixels(12, 32, 32, 3)
        tar.write_bytes(tar_bytes(ganins_tar(train, test)))
        domain = opened("mnist-m-original", tmp_path, 32)
        order = shuffled(60)
        kept = {"train": [i for i in order[:50] if i < 55], "val": [i for i in order[50:] if i < 55]}
        for split, indices in kept.items():
            shown = domain.labelled(split)
            assert shown.labels.tolist() == [i % 10 for i in indices]
            assert np.array_equal(shown.pixels.permute(0, 2, 3, 1), train[indices])
        assert np.array_equal(domain.images("test").pixels.permute(0, 2, 3, 1), test)
        assert sum(domain.sizes().values()) == 67

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"mnist_m/mnist_m_train/00000099.png": png(pixels(32, 32, 3))}, "has 13 images, its list of labels 12"),
            ({"mnist_m/mnist_m_train_labels.txt": b"00000000.png eleven\n"}, "a name and a digit a line"),
            ({"mnist_m/mnist_m_train_labels.txt": b"00000000.png 10\n"}, "a name and a digit a line"),
            ({"mnist_m/mnist_m_train/00000003.png": b"no image"}, "00000003.png: not a readable image"),
            ({"mnist_m/mnist_m_train/00000003.png": png(pixels(28, 28, 3))}, "has 28x28 pixels, not 32x32"),
        ],
    )
    def test_what_does_not_fit_is_named(
        self, change: dict[str, bytes], message: str, tar: Path, tmp_path: Path
    ) -> None:
        images = pixels(12, 32, 32, 3)
        tar.write_bytes(tar_bytes(ganins_tar(images, images) | change))
        with pytest.raises(DataError, match=message):
            opened("mnist-m-original", tmp_path, 32).prepare()

    def test_nothing_is_fetched_in_its_place(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"put it at .*mnist_m/mnist_m\.tar\.gz"):
            open_domain("mnist-m-original", DataOptions(data_root=tmp_path)).prepare()


def test_synthetic_digits(tmp_path: Path) -> None:
    images = {"train": pixels(40, 32, 32, 3), "test": pixels(6, 32, 32, 3)}
    for file, (_, part) in zip(svhn.SYNTHETIC, images.items(), strict=True):
        (tmp_path / file.path).parent.mkdir(exist_ok=True)
        savemat(tmp_path / file.path, {"X": part.transpose(1, 2, 3, 0), "y": np.arange(len(part))[:, None] % 10})
    domain = opened("syn-digits", tmp_path, 32)
    assert domain.sizes() == {"train": 36, "val": 4, "test": 6}
    assert domain.labelled("test").labels.tolist() == list(range(6))
    assert np.array_equal(domain.images("test").pixels.permute(0, 2, 3, 1), images["test"])


def test_folders_of_several_digit_domains(tmp_path: Path) -> None:
    """Digits-DG and Digit-5 as folders: ``DOMAIN/{train,val}/CLASS/*.jpg``; each domain is a folder of one's own."""
    for domain in ("mnist", "mnist_m", "svhn", "syn"):
        for split, count in (("train", 4), ("val", 2)):
            for digit in range(10):
                folder = tmp_path / "digits_dg" / domain / split / str(digit)
                folder.mkdir(parents=True)
                for index in range(count):
                    Image.fromarray(pixels(32, 32, 3)).save(folder / f"{index}.jpg")
    for domain in ("mnist", "mnist_m", "svhn", "syn"):
        read = open_domain(tmp_path / "digits_dg" / domain)
        assert read.classes == tuple("0123456789")
        assert sum(read.sizes().values()) == 60
