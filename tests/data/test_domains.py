from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor

from acclimate.data import arrays
from acclimate.data.domains import DOMAINS, DataOptions, base, folder, mnist, mnist_m, open_domain, svhn, usps
from acclimate.data.domains.base import SPLITS, RawSplit, cache_root, content_checksum
from acclimate.data.domains.folder import Folder
from acclimate.data.domains.mnist import read_idx
from acclimate.data.domains.mnist_m import blend, read_photos
from acclimate.data.domains.svhn import read_mat
from acclimate.data.domains.usps import read_libsvm
from acclimate.data.domains.words import reading
from acclimate.data.download import content_md5
from acclimate.data.images import from_arrays, read_image
from acclimate.errors import AcclimateError, DataError
from helpers import idx_bytes, libsvm_bytes, tar_bytes

RANDOM = np.random.default_rng(0)


def test_idx(tmp_path: Path) -> None:
    array = RANDOM.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    (tmp_path / "a.gz").write_bytes(idx_bytes(array))
    assert np.array_equal(read_idx(tmp_path / "a.gz"), array)
    (tmp_path / "cut").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 9, 1, 2]))
    with pytest.raises(DataError, match="holds 2 values, its header says 9"):
        read_idx(tmp_path / "cut")
    (tmp_path / "other").write_bytes(b"hello world")
    with pytest.raises(DataError, match="not an idx file"):
        read_idx(tmp_path / "other")


def test_libsvm(tmp_path: Path) -> None:
    pixels, digits = RANDOM.integers(0, 256, (4, 16, 16), dtype=np.uint8), np.array([0, 9, 5, 0])
    (tmp_path / "a.bz2").write_bytes(libsvm_bytes(pixels, digits))
    read_pixels, read_digits = read_libsvm(tmp_path / "a.bz2")
    assert np.array_equal(read_pixels, pixels)
    assert np.array_equal(read_digits, digits)
    (tmp_path / "b.bz2").write_bytes((tmp_path / "a.bz2").read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged or cut off"):
        read_libsvm(tmp_path / "b.bz2")
    import bz2

    (tmp_path / "c.bz2").write_bytes(bz2.compress(b"1 1:0.5\n3 hello\n"))
    with pytest.raises(DataError, match="line 2"):
        read_libsvm(tmp_path / "c.bz2")


def test_mat(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    savemat(tmp_path / "a.mat", {"X": pixels.transpose(1, 2, 3, 0), "y": np.array([[10], [1], [9]], dtype=np.uint8)})
    read_pixels, digits = read_mat(tmp_path / "a.mat")
    assert np.array_equal(read_pixels, pixels)
    assert digits.tolist() == [0, 1, 9]
    savemat(tmp_path / "b.mat", {"Z": np.zeros(3)})
    with pytest.raises(DataError, match="no variable 'X'"):
        read_mat(tmp_path / "b.mat")
    (tmp_path / "c.mat").write_bytes(b"junk")
    with pytest.raises(DataError, match="not a readable MATLAB file"):
        read_mat(tmp_path / "c.mat")


def test_blend_is_the_absolute_difference() -> None:
    digits = np.array([[[0, 255], [100, 200]]], dtype=np.uint8)
    photo = np.full((2, 2, 3), 150, dtype=np.uint8)
    photo[..., 2] = 10
    blended = blend(digits, [photo], seed=0)
    assert blended[0, ..., 0].tolist() == [[150, 105], [50, 50]]
    assert blended[0, ..., 2].tolist() == [[10, 245], [90, 190]]


def test_blend_draws_patches_uniformly_and_always_the_same() -> None:
    photo = np.zeros((40, 60, 3), dtype=np.uint8)
    photo[..., 0], photo[..., 1] = np.arange(40)[:, None], np.arange(60)[None]
    digits = np.zeros((3000, 28, 28), dtype=np.uint8)
    blended = blend(digits, [photo], seed=3)
    tops, lefts = blended[:, 0, 0, 0], blended[:, 0, 0, 1]
    assert (tops.min(), tops.max()) == (0, 12)
    assert (lefts.min(), lefts.max()) == (0, 32)
    assert abs(tops.mean() - 6) < 0.3
    assert abs(lefts.mean() - 16) < 0.7
    assert np.array_equal(blended, blend(digits, [photo], seed=3))


@pytest.fixture
def small_publishers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a data root with small files in the real formats, and let the domains expect these."""
    root = tmp_path / "data"
    (root / "mnist").mkdir(parents=True)
    train, test = (
        RANDOM.integers(0, 256, (60, 28, 28), dtype=np.uint8),
        RANDOM.integers(0, 256, (20, 28, 28), dtype=np.uint8),
    )
    arrays = (train, np.arange(60) % 10, test, np.arange(20) % 10)
    files = []
    for file, array in zip(mnist.MNIST.files, arrays, strict=True):
        (root / file.path).write_bytes(idx_bytes(array))
        files.append(type(file)(file.path, (), content_md5(root / file.path)))
    monkeypatch.setattr(mnist.MNIST, "files", tuple(files))
    monkeypatch.setattr(mnist, "VALIDATION", 10)
    photos = {}
    for kind in ("train", "val", "test"):
        path = tmp_path / "photo.jpg"
        Image.fromarray(RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
        photos[f"BSR/BSDS500/data/images/{kind}/1.jpg"] = path.read_bytes()
    (root / "bsds500").mkdir()
    archive = root / mnist_m.BSDS500.path
    archive.write_bytes(tar_bytes(photos))
    bsds = type(mnist_m.BSDS500)(mnist_m.BSDS500.path, (), mnist_m._digest(archive), mnist_m._digest)
    monkeypatch.setattr(mnist_m.MNISTM, "files", (*files, bsds))
    monkeypatch.setattr(mnist_m.MNISTM, "checksum", None)
    return root


def test_mnist_m_shows_mnists_digits_in_mnists_order(small_publishers: Path) -> None:
    options = DataOptions(image_size=28, data_root=small_publishers)
    plain, blended = open_domain("mnist", options), open_domain("mnist-m", options)
    assert plain.sizes() == blended.sizes() == {"train": 50, "val": 10, "test": 20}
    for split in ("train", "val", "test"):
        assert torch.equal(plain.labelled(split).labels, blended.labelled(split).labels)
    photos = read_photos(small_publishers / mnist_m.BSDS500.path)
    assert (len(photos["train"]), len(photos["test"])) == (2, 1)
    assert plain.content == blended.content


def test_a_changed_file_is_noticed(small_publishers: Path) -> None:
    options = DataOptions(data_root=small_publishers)
    open_domain("mnist", options).prepare()
    path = small_publishers / mnist.MNIST.files[0].path
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz"):
        open_domain("mnist", options).prepare()


def test_a_cleared_cache_is_made_again() -> None:
    domain = open_domain("digits", DataOptions(image_size=9))
    before = domain.labelled("val")
    shutil.rmtree(domain.prepare())
    assert torch.equal(domain.labelled("val").pixels, before.pixels)
    assert domain.manifest()["name"] == "digits"


def test_processes_that_prepare_the_same_domain_at_once_share_a_cache() -> None:
    options = DataOptions(image_size=11)
    made = open_domain("digits", options).prepare()
    shutil.rmtree(made)
    code = "from acclimate.data.domains import *; print(open_domain('digits', DataOptions(image_size=11)).prepare())"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in processes] == [str(made)] * 4
    assert [path for path in made.parent.iterdir() if path.name.startswith(made.name)] == [made]


def test_a_cache_that_another_process_made_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    domain = open_domain("digits", DataOptions(image_size=13))
    rename, marks = Path.rename, []

    def late(partial: Path, folder: Path) -> Path:
        shutil.copytree(partial, folder)
        marks.append(folder / "first")
        marks[0].touch()
        return rename(partial, folder)

    monkeypatch.setattr(Path, "rename", late)
    assert domain.prepare() == marks[0].parent
    assert marks[0].exists()


def test_the_cache_is_used_and_depends_on_the_options(small_publishers: Path) -> None:
    options = DataOptions(data_root=small_publishers)
    folder = open_domain("mnist", options).prepare()
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert open_domain("mnist", options).prepare() == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    assert open_domain("mnist", DataOptions(data_root=small_publishers, image_size=16)).prepare() != folder
    assert open_domain("mnist", DataOptions(data_root=small_publishers, channels=1)).images("val").pixels.shape[1] == 1


def test_missing_files_are_all_named_with_their_publisher(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        open_domain("usps", DataOptions(data_root=tmp_path, download=False)).prepare()
    text = str(error.value)
    for expected in ("usps/usps.bz2", "usps/usps.t.bz2", "csie.ntu.edu.tw", str(tmp_path), "--data-root"):
        assert expected in text


@pytest.mark.parametrize("name", ["digits", "digits-m"])
@pytest.mark.parametrize(("image_size", "channels"), [(16, 3), (32, 1)])
def test_embedded_domains(name: str, image_size: int, channels: int) -> None:
    domain = open_domain(name, DataOptions(image_size=image_size, channels=channels))
    assert domain.sizes() == {"train": 1197, "val": 200, "test": 400}
    labelled = domain.labelled("train")
    assert labelled.pixels.shape == (1197, channels, image_size, image_size)
    assert labelled.pixels.dtype == torch.uint8
    assert labelled.labels.unique().tolist() == list(range(10))
    assert not hasattr(domain.images("train"), "labels")


def test_the_embedded_domains_are_the_same_bytes_everywhere() -> None:
    digests = {name: open_domain(name).manifest()["md5"] for name in ("digits", "digits-m")}
    assert digests == {"digits": "e4c4e9332efec1a7824ab7b96bfcb223", "digits-m": "40982ba06baa6a0861de9f29431a185c"}


def test_an_unknown_domain_has_a_nearest_name() -> None:
    with pytest.raises(DataError, match=r"no domain and no folder named 'mnst'\. Did you mean 'mnist'\?"):
        open_domain("mnst")


class TestFolder:
    def test_class_folders(self, make_folder: Callable[..., Path]) -> None:
        domain = open_domain(make_folder("pets", count=20), DataOptions(image_size=8))
        assert domain.classes == ("cat", "dog")
        assert domain.sizes() == {"train": 32, "val": 4, "test": 4}
        for split in ("train", "val", "test"):
            labelled = domain.labelled(split)
            assert set(labelled.labels.tolist()) == {0, 1}
            brightness = labelled.pixels.float().mean((1, 2, 3))
            assert torch.equal(brightness > 85, labelled.labels == 1)
            names = domain.names(split)
            assert names is not None
            assert [name.startswith("dog/") for name in names] == (labelled.labels == 1).tolist()

    def test_splits_are_the_same_each_time_and_do_not_overlap(self, make_folder: Callable[..., Path]) -> None:
        path = make_folder("pets", count=20)
        first = [open_domain(path).names(split) for split in ("train", "val", "test")]
        shutil.rmtree(cache_root())
        assert [open_domain(path).names(split) for split in ("train", "val", "test")] == first
        flat = [name for names in first for name in names or []]
        assert len(set(flat)) == len(flat) == 40

    def test_given_splits_are_kept(self, make_folder: Callable[..., Path], tmp_path: Path) -> None:
        for split, count in (("train", 10), ("valid", 3), ("test", 5)):
            make_folder(f"sets/{split}", count=count)
        domain = open_domain(tmp_path / "sets")
        assert domain.classes == ("cat", "dog")
        assert domain.sizes() == {"train": 20, "val": 6, "test": 10}
        assert all(name.startswith("test/") for name in domain.names("test") or [])

    def test_a_target_in_any_nesting_without_labels(self, make_folder: Callable[..., Path]) -> None:
        path = make_folder("x/y/z", classes=("day1", "day2"), count=10)
        domain = open_domain(path, None, classes=("cat", "dog"))
        assert domain.classes == ("cat", "dog")
        assert not domain.has_labels
        assert domain.sizes() == {"train": 18, "val": 2, "test": 0}
        assert len(domain.labelled("train")) == 0

    def test_a_target_with_labels_is_evaluated_and_split_without_looking_at_them(
        self, make_folder: Callable[..., Path]
    ) -> None:
        path = make_folder("target", count=50)
        domain = open_domain(path, None, classes=("cat", "dog"))
        assert domain.has_labels
        assert domain.sizes() == {"train": 80, "val": 10, "test": 10}
        others = open_domain(path, None, classes=("cat", "zebra"))
        assert domain.names("train") == others.names("train")
        assert len(others.labelled("test")) < 10

    def test_bad_images_are_named_skipped_and_counted(self, make_folder: Callable[..., Path]) -> None:
        path = make_folder("pets", count=10)
        (path / "cat" / "000.png").write_bytes(b"not an image")
        domain = open_domain(path)
        assert sum(domain.sizes().values()) == 19
        shown = "\n".join(reading(domain))
        assert "skipped 1 of 20 files" in shown
        assert "000.png: not a readable image" in shown
        skipped = domain.manifest()["skipped"]
        assert isinstance(skipped, list)
        assert len(skipped) == 1
        with pytest.raises(DataError, match=r"000\.png"):
            open_domain(path, DataOptions(strict=True)).prepare()

    @pytest.mark.parametrize(
        ("classes", "count", "message"),
        [(("cat",), 5, "at least two classes.*only 'cat'"), (("cat", "dog"), 2, "'cat'.*has 2 readable images; 3 are")],
    )
    def test_too_little(
        self, make_folder: Callable[..., Path], classes: tuple[str, ...], count: int, message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            open_domain(make_folder("pets", classes, count)).prepare()

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such folder"):
            open_domain(tmp_path / "nowhere")
        with pytest.raises(DataError, match="no image in"):
            open_domain(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(DataError, match="not a folder"):
            open_domain(tmp_path / "file")

    def test_only_unreadable_images(self, make_folder: Callable[..., Path]) -> None:
        path = make_folder("pets", count=1)
        for file in path.rglob("*.png"):
            file.write_text("no")
        with pytest.raises(DataError, match="none of the 2 files"):
            open_domain(path).prepare()

    def test_an_image_changed_is_read_again(self, make_folder: Callable[..., Path]) -> None:
        path = make_folder("pets")
        first = open_domain(path).prepare()
        Image.new("RGB", (9, 9)).save(path / "cat" / "new.png")
        assert open_domain(path).prepare() != first


class TestOutOfCore:
    """A folder is read, cached and opened with a few images in memory at a time."""

    @pytest.fixture(autouse=True)
    def _own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACCLIMATE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(arrays, "PIECE", 3)

    def test_the_cache_holds_what_whole_arrays_would_give(self, make_folder: Callable[..., Path]) -> None:
        path = make_folder("pets", count=20)
        domain = open_domain(path, DataOptions(image_size=8, channels=1))
        whole = {}
        for split in SPLITS:
            names = domain.names(split)
            assert names is not None
            pixels = torch.stack([read_image(path / name, 8, 1) for name in names])
            assert torch.equal(domain.images(split).pixels, pixels)
            labels = np.array([name.startswith("dog") for name in names])
            assert torch.equal(domain.labelled(split).labels, torch.from_numpy(labels).long())
            whole[split] = pixels.numpy().tobytes() + labels.astype(np.int64).tobytes()
        md5 = hashlib.md5(b"".join(whole.values()), usedforsecurity=False).hexdigest()
        assert domain.manifest()["md5"] == md5

    def test_published_images_are_resized_alike_whatever_the_pieces(self) -> None:
        domain = open_domain("digits-m", DataOptions(image_size=16, channels=1))
        for split, raw in domain.read().items():
            assert torch.equal(domain.images(split).pixels, from_arrays(np.asarray(raw.pixels), 16, 1))  # type: ignore[arg-type]

    def test_few_images_are_in_memory_at_a_time(
        self, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decoded: weakref.WeakSet[Tensor] = weakref.WeakSet()
        alive, written = [], []

        def read(*arguments: object) -> Tensor:
            alive.append(len(decoded))
            image = read_image(*arguments)  # type: ignore[arg-type]
            decoded.add(image)
            return image

        def write(path: Path, shape: tuple[int, ...], dtype: type, pieces: Iterable[np.ndarray]) -> None:
            sizes = []
            arrays.write_array(path, shape, dtype, (sizes.append(len(piece)) or piece for piece in pieces))
            if path.name.endswith("images.npy"):
                written.append(sizes)

        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # so many read files
        monkeypatch.setattr(folder, "read_image", read)
        monkeypatch.setattr(base, "write_array", write)
        assert open_domain(make_folder("pets", count=20)).sizes() == {"train": 32, "val": 4, "test": 4}
        assert len(alive) == 40
        assert max(alive) <= 1
        assert written == [[3] * 10 + [2], [3, 1], [3, 1]]

    def test_images_of_unknown_class_are_left_out(self, make_folder: Callable[..., Path]) -> None:
        domain = open_domain(make_folder("target", ("cat", "lynx", "dog"), 20), None, classes=("cat", "dog"))
        names, labelled = domain.names("train"), domain.labelled("train")
        known = torch.tensor([not name.startswith("lynx") for name in names or []])
        assert 0 < len(labelled) == int(known.sum()) < len(known)
        assert torch.equal(labelled.pixels, domain.images("train").pixels[known])
        assert labelled.labels.unique().tolist() == [0, 1]

    @pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
    @pytest.mark.parametrize("place", ["folder.read_image", "base.write_array", "base.write_json"])
    def test_a_build_that_stops_leaves_nothing_and_the_next_is_whole(
        self, place: str, stop: BaseException, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        domain = open_domain(make_folder("pets"))
        module, name = place.split(".")
        do, calls = getattr({"folder": folder, "base": base}[module], name), []

        def stops(*arguments: object) -> object:
            calls.append(arguments)
            if len(calls) == 3:
                raise stop
            return do(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(f"acclimate.data.domains.{place}", stops)
            with pytest.raises((KeyboardInterrupt, AcclimateError, OSError)):
                domain.prepare()
        assert [path for path in cache_root().rglob("*") if path.name != "prepared"] == []
        assert domain.sizes() == {"train": 20, "val": 2, "test": 2}


@pytest.mark.parametrize("options", [{"channels": 2}, {"image_size": 4}, {"image_size": 4096}])
def test_options_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(DataError):
        DataOptions(**options)  # type: ignore[arg-type]


def test_a_publishers_training_images_are_split_in_two() -> None:
    labels = np.arange(1000)
    pixels = (labels % 256).astype(np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    parts = base.split_off(pixels, labels, 100)
    assert {name: len(part.labels) for name, part in parts.items()} == {"train": 900, "val": 100}
    assert sorted([*parts["train"].labels, *parts["val"].labels]) == list(range(1000))
    first = base.split_off(pixels[:400], labels[:400], 100, of=1000)
    for name, part in parts.items():
        assert np.array_equal(part.pixels[:, 0, 0], part.labels % 256)
        assert set(first[name].labels) == {label for label in part.labels if label < 400}


class TestRealData:
    """The publishers' files, where they are."""

    @pytest.mark.parametrize(
        ("name", "sizes", "first_class"),
        [
            ("mnist", (50_000, 10_000, 10_000), 980),
            ("mnist-m", (50_000, 10_000, 10_000), 980),
            ("usps", (6_561, 730, 2_007), 359),
            ("svhn-8k", (5_000, 1_000, 2_000), 138),
        ],
    )
    def test_splits(self, real_data: Path, name: str, sizes: tuple[int, int, int], first_class: int) -> None:
        domain = open_domain(name, DataOptions(data_root=real_data, download=False))
        assert tuple(domain.sizes().values()) == sizes
        assert int((domain.labelled("test").labels == 0).sum()) == first_class
        committed = Path(__file__).parents[2] / "docs/results"
        pair = f"mnist-{name}" if name != "mnist" else "mnist-usps"
        measured = json.loads((committed / f"{pair}-self-training-fast-0.json").read_text())
        assert domain.manifest()["md5"] == measured["protocol"]["data"][name]  # images and labels, in their order

    def test_the_subset_is_never_called_svhn(self, real_data: Path) -> None:
        with pytest.raises(DataError, match="use the domain svhn-8k"):
            open_domain("svhn", DataOptions(data_root=real_data, download=False)).prepare()

    def test_checksums_of_the_published_content(self, real_data: Path) -> None:
        for domain in (mnist.MNIST, usps.USPS, mnist_m.MNISTM):
            for file in domain.files:
                file.verify(real_data / file.path)
        for file in (svhn.SUBSET_TRAIN, svhn.SUBSET_TEST):
            file.verify(real_data / file.path)


def test_every_domain_says_what_a_person_asks() -> None:
    for name, domain in DOMAINS.items():
        assert domain.name == name
        assert domain.native
        assert domain.licence
        assert len(set(domain.classes)) == len(domain.classes) >= 10
        assert domain.__doc__
        for file in domain.files:
            assert re.fullmatch("[0-9a-f]{32}", file.md5) or not file.urls  # what is fetched is verified
            assert file.source.startswith("http")


def test_content_checksum_covers_labels() -> None:
    pixels = np.zeros((2, 4, 4), dtype=np.uint8)
    assert content_checksum({"train": RawSplit(pixels, np.array([0, 1]))}) != content_checksum(
        {"train": RawSplit(pixels, np.array([1, 1]))}
    )
    assert hashlib.md5(usedforsecurity=False).hexdigest() != content_checksum(
        {"train": RawSplit(pixels, np.array([0, 1]))}
    )


def test_folder_is_exported_for_use_in_code() -> None:
    assert Folder.__module__ == "acclimate.data.domains.folder"


def test_what_a_killed_process_left_is_removed_a_day_later() -> None:
    domain = open_domain("digits", DataOptions(image_size=14))
    folder = domain.prepare()
    shutil.rmtree(folder)
    old, new = (folder.with_name(f"{folder.name}.{name}.partial") for name in ("old", "new"))
    for left in (old, new):
        left.mkdir()
        (left / "train.images.npy").touch()
    os.utime(old, (0, 0))
    assert open_domain("digits", DataOptions(image_size=14)).prepare() == folder
    assert (old.exists(), new.exists()) == (False, True)
    shutil.rmtree(new)
