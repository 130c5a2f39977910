"""Folders as people have them: how they are understood, and what is said of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acclimate.data.domains import DataOptions, Domain, open_domain
from acclimate.data.domains.tree import read_tree, split_name
from acclimate.data.domains.words import reading
from acclimate.data.images import read_image
from acclimate.data.listing import list_images
from acclimate.errors import DataError
from acclimate.pipeline.starting import start

SMALL = DataOptions(image_size=8)
MakeFolder = Callable[..., Path]


@contextlib.contextmanager
def as_nobody(nobody: int = 65534) -> Iterator[None]:
    """Be a user who may not read everything: root may."""
    if os.geteuid():
        yield
        return
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


def words(domain: Domain) -> str:
    return "\n".join(reading(domain, every_class=True))


def copy_of(folder: Path, at: Path) -> Path:
    at.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(folder, at))


def test_unlabelled_images_for_testing_alone_are_what_there_is(make_folder: MakeFolder, tmp_path: Path) -> None:
    flat = copy_of(make_folder("pets") / "cat", tmp_path / "shots" / "test").parent
    domain = open_domain(flat, SMALL, ("cat", "dog"))
    assert domain.sizes() == {"train": 11, "val": 1, "test": 0}
    labelled = copy_of(tmp_path / "pets", tmp_path / "pets2" / "test").parent
    assert open_domain(labelled, SMALL, ("cat", "dog")).sizes() == {"train": 0, "val": 0, "test": 24}
    with pytest.raises(DataError, match="has no images for training, only 24 test"):
        start(tmp_path / "pets", labelled, image_size=8, batch_size=8, out=tmp_path / "run")


def test_folders_that_are_no_classes_of_the_source_are_told(make_folder: MakeFolder) -> None:
    shown = words(open_domain(make_folder("days", ("monday", "tuesday")), SMALL, ("cat", "dog")))
    assert "no class of the source is among monday, tuesday: the images count as unlabelled" in shown
    assert "no class" not in words(open_domain(make_folder("pets"), SMALL, ("cat", "dog")))


def test_a_source_above_its_target_is_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    make_folder("both/drawings")
    make_folder("both/photos")
    with pytest.raises(DataError, match=r"lies in the source .*both, where each folder is a class"):
        start(tmp_path / "both", tmp_path / "both" / "photos", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def understood(*files: str, classes: Iterable[str] = ()) -> dict[str, tuple[str, str | None]]:
    tree = read_tree([Path(file) for file in sorted(files)], tuple(classes))
    return {item.name: (item.label, item.split) for item in tree.items}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Train", "TRAINING", "training_set", "train-images", "trainset")),
        *((name, "val") for name in ("val", "valid", "Validation", "dev", "val_set")),
        *((name, "test") for name in ("test", "Testing", "TEST", "test_data", "Test Set")),
        *((name, None) for name in ("trains", "tests", "cat", "trainer", "contest", "latest", "validate", "")),
    ],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_name(name) == split


class TestTree:
    def test_the_first_folder_is_the_class_however_deep_an_image_lies(self) -> None:
        found = understood("cat/indoor/1.png", "cat/outdoor/2.png", "dog/indoor/x/3.png", "dog/4.png")
        assert [found[name][0] for name in sorted(found)] == ["cat", "cat", "dog", "dog"]
        assert understood("train/n01/images/1.png", "train/n02/images/2.png") == {
            "train/n01/images/1.png": ("n01", "train"),
            "train/n02/images/2.png": ("n02", "train"),
        }

    def test_a_class_may_be_called_as_a_split_is(self) -> None:
        assert understood("bus/1.png", "car/2.png", "train/3.png")["train/3.png"] == ("train", None)
        nested = understood("bus/a/1.png", "car/a/2.png", "train/a/3.png")
        assert nested["train/a/3.png"] == ("train", None)
        both = understood("train/bus/1.png", "train/train/2.png", "validation/train/3.png")
        assert both["train/train/2.png"] == ("train", "train")
        assert both["validation/train/3.png"] == ("train", "val")
        assert understood("train/1.png", classes=("bus", "train"))["train/1.png"] == ("train", None)

    def test_what_lies_in_a_split_without_a_class_has_none(self) -> None:
        kaggle = understood("train/cat/1.png", "train/dog/2.png", "test/3.png", "train/cover.png")
        assert kaggle["test/3.png"] == ("", "test")
        assert kaggle["train/cover.png"] == ("", "train")
        tiny = understood("train/n01/images/1.png", "train/n02/images/1.png", "val/images/2.png", "test/test/3.png")
        assert tiny["val/images/2.png"] == ("", "val")
        assert tiny["test/test/3.png"] == ("", "test")

    def test_splits_with_other_words_before_or_behind(self) -> None:
        intel = understood("seg_train/seg_train/sea/1.jpg", "seg_test/seg_test/sea/2.jpg", "seg_pred/seg_pred/3.jpg")
        assert intel["seg_train/seg_train/sea/1.jpg"] == ("sea", "train")
        assert intel["seg_test/seg_test/sea/2.jpg"] == ("sea", "test")
        assert intel["seg_pred/seg_pred/3.jpg"] == ("", None)
        years = understood("train2017/cat/1.jpg", "train2017/dog/1.jpg", "val2017/cat/2.jpg", "val2017/dog/2.jpg")
        assert years["val2017/dog/2.jpg"] == ("dog", "val")
        assert understood("night_train/1.jpg", "bus/1.jpg")["night_train/1.jpg"] == ("night_train", None)
        twice = understood("training_set/training_set/cat/1.jpg", "test_set/test_set/cat/2.jpg")
        assert twice["training_set/training_set/cat/1.jpg"] == ("cat", "train")

    def test_a_target_s_class_is_no_split_though_folders_lie_in_it(self) -> None:
        found = understood("bus/city/1.png", "train/ice/2.png", classes=("bus", "train"))
        assert found["train/ice/2.png"] == ("train", None)
        both = understood("train/bus/1.png", "train/train/2.png", classes=("bus", "train"))
        assert both["train/train/2.png"] == ("train", "train")

    def test_folders_beside_the_splits_are_no_classes(self) -> None:
        found = understood("Train/cat/1.png", "Train/dog/2.png", "Test/cat/3.png", "extra/4.png", "5.png")
        assert found["Train/cat/1.png"] == ("cat", "train")
        assert found["Test/cat/3.png"] == ("cat", "test")
        assert found["extra/4.png"] == found["5.png"] == ("", None)
        found = understood("train/cat/1.png", "train/dog/2.png", "test/3.png", "docs/4.png", "figures/5.png")
        assert found["train/cat/1.png"] == ("cat", "train")
        assert found["docs/4.png"] == ("", None)

    def test_a_target_s_splits_need_no_classes(self) -> None:
        assert understood("train/1.png", "test/2.png", classes=("cat", "dog")) == {
            "train/1.png": ("", "train"),
            "test/2.png": ("", "test"),
        }


def test_test_images_are_not_trained_on_whatever_their_folder_s_case(make_folder: MakeFolder) -> None:
    make_folder("sets/Train", count=10)
    domain = open_domain(make_folder("sets/Testing", count=4).parent, SMALL)
    assert domain.sizes() == {"train": 18, "val": 2, "test": 8}
    assert all(name.startswith("Testing/") for name in domain.names("test") or [])
    assert "splits: Testing/ is test, Train/ is train, val is drawn, a tenth" in words(domain)


def test_images_in_no_class_folder_are_left_out_of_a_source_and_counted(make_folder: MakeFolder) -> None:
    path = make_folder("sets/train", count=10).parent
    (path / "test").mkdir()
    for number in range(5):
        Image.new("RGB", (9, 9)).save(path / "test" / f"{number}.png")
    Image.new("RGB", (9, 9)).save(path / "train" / "cover.png")
    domain = open_domain(path, SMALL)
    assert domain.classes == ("cat", "dog")
    assert domain.sizes() == {"train": 16, "val": 2, "test": 2}
    assert "6 images in no class folder, left out" in words(domain)


def test_a_source_without_classes_is_told_where_they_may_be(make_folder: MakeFolder, tmp_path: Path) -> None:
    make_folder("outer/pets")
    with pytest.raises(DataError, match=r"at least two classes.*are they below .*outer/pets\?.*only 'pets'"):
        open_domain(tmp_path / "outer", SMALL)
    for number in range(3):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{number}.png")
    shutil.rmtree(tmp_path / "outer")
    with pytest.raises(DataError, match=r"at least two classes.*has none"):
        open_domain(tmp_path, SMALL)


class TestListing:
    def test_images_are_told_by_what_they_hold(self, make_folder: MakeFolder) -> None:
        path = make_folder("pets", count=10)
        for number, name in enumerate(("a.jfif", "b", "c.dat", "d.JPE", "e.tga", "f.jp2", "g.ico")):
            kind = {"e.tga": "TGA", "f.jp2": "JPEG2000", "g.ico": "ICO"}.get(name, "JPEG")
            Image.new("RGB", (16, 16), (number * 20,) * 3).save(path / "cat" / name, format=kind)
        (path / "cat" / "notes.txt").write_text("words")
        (path / "cat" / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
        (path / "dog" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
        (path / "dog" / "README").write_text("words")
        domain = open_domain(path, SMALL)
        assert sum(domain.sizes().values()) == 27
        assert domain.manifest()["skipped"] == []
        for part in ("1 .txt", "1 .heic", "1 .eps", "1 without a suffix"):
            assert part in words(domain)

    def test_a_program_is_not_run_whatever_it_is_called(self, tmp_path: Path) -> None:
        (tmp_path / "x.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
        with pytest.raises(DataError, match="not a readable image"):
            read_image(tmp_path / "x.png", 8, 3)

    def test_what_systems_leave_beside_images_is_passed_over(self, make_folder: MakeFolder) -> None:
        path = make_folder("pets", count=6)
        for name in (
            "__MACOSX/cat/._1.png",
            "@eaDir/2.png",
            ".ipynb_checkpoints/3.png",
            "cat/._4.png",
            "dog/Thumbs.db",
        ):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path / "cat" / "000.png", path / name)
        found = list_images(path)
        assert len(found.files) == 12
        assert found.passed_over["hidden folders and those of the system"] == 3
        assert found.passed_over["hidden files and those of the system"] == 2

    def test_a_folder_without_images_says_what_it_holds(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_bytes(bytes(99))
        with pytest.raises(DataError, match=r"no image in .*, only 1 \.mp4"):
            open_domain(tmp_path, SMALL)

    @pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and links")
    def test_links_and_pipes(self, make_folder: MakeFolder) -> None:
        path = make_folder("pets", count=10)
        (path / "cat" / "gone.png").symlink_to(path / "nowhere.png")
        (path / "cat" / "self.png").symlink_to(path / "cat" / "self.png")
        os.mkfifo(path / "cat" / "pipe.png")
        (path / "dog" / "round").symlink_to(path)
        (path / "lynx").symlink_to(path / "cat")
        domain = open_domain(path, SMALL)
        assert domain.classes == ("cat", "dog", "lynx")
        text = words(domain)
        assert "the link dog/round leads back to a folder that it lies in: not followed" in text
        assert "lynx and cat are the same folder, by a link: its images count twice" in text
        assert "2 pipes and devices" in text
        assert "skipped 4 of 34 files" in text
        assert "gone.png: No such file or directory" in text
        with pytest.raises(DataError, match=r"gone\.png: No such file"):
            open_domain(path, DataOptions(image_size=8, strict=True)).prepare()

    def test_a_file_that_goes_between_listing_and_reading(self, make_folder: MakeFolder) -> None:
        path = make_folder("pets", count=10)
        domain = open_domain(path, SMALL)
        (path / "cat" / "003.png").unlink()
        assert sum(domain.sizes().values()) == 19
        assert "003.png: No such file or directory" in words(domain)

    @pytest.mark.skipif(sys.platform == "win32", reason="needs Unix's permissions")
    def test_what_may_not_be_read_is_said(self) -> None:
        with as_nobody(), tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
            path = Path(name)
            for folder in ("cat", "lynx"):
                (path / folder).mkdir()
                Image.new("RGB", (9, 9)).save(path / folder / "0.png")
            (path / "cat" / "0.png").chmod(0)
            (path / "lynx").chmod(0)
            found = list_images(path)
            with pytest.raises(DataError, match=r"0\.png: Permission denied"):
                read_image(path / "cat" / "0.png", 8, 3)
            (path / "lynx").chmod(0o700)
        assert found.files == [path / "cat" / "0.png"]
        assert found.warnings == ["the folder lynx cannot be read: Permission denied"]
        assert found.passed_over == {"unreadable folders": 1}

    @pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="their names are Unicode")
    def test_names_that_are_no_utf8(self, make_folder: MakeFolder) -> None:
        path = make_folder("pets", count=10)
        (path / "cat" / "000.png").rename(os.fsdecode(os.fsencode(path / "cat") + b"/caf\xe9.png"))
        (path / "dog").rename(os.fsdecode(os.fsencode(path) + b"/caf\xe9"))
        (path / "cat" / "001.png").write_bytes(b"broken")
        domain = open_domain(path, SMALL)
        assert domain.classes == ("caf\\xe9", "cat")
        assert sum(domain.sizes().values()) == 19
        words(domain).encode()
        outer = os.fsdecode(os.fsencode(path.parent) + b"/fot\xe9s")
        shutil.copytree(path, outer)
        assert open_domain(Path(outer), SMALL).sizes() == domain.sizes()
        names = [name for split in ("train", "val", "test") for name in domain.names(split) or []]  # type: ignore[arg-type]
        assert len([name for name in names if (path / name).is_file()]) == 19


class TestWarnings:
    def test_classes_that_differ_in_spelling_only(self, make_folder: MakeFolder) -> None:
        make_folder("pets", ("cat", "Cat"), 10)
        text = words(open_domain(make_folder("pets", ("café", "cafe"), 10), SMALL))
        assert "the classes 'Cat' and 'cat' differ in case, accents or spacing only" in text
        assert "the classes 'cafe' and 'café' differ" in text

    def test_domains_in_place_of_classes(self, make_folder: MakeFolder) -> None:
        for domain in ("photos", "sketches"):
            path = make_folder(f"benchmark/{domain}", ("cat", "dog", "elk"), 3).parent
        text = words(open_domain(path, SMALL))
        assert "each class has the folders cat, dog, elk in it" in text
        assert f"photos, sketches domains, name one, such as {path / 'photos'}" in text
        assert "has the folders" not in words(open_domain(path, SMALL, classes=("cat", "dog", "elk")))
        make_folder("benchmark/photos", ("gnu",), 3)
        assert "cat, dog, elk in it" in words(open_domain(path, SMALL))
        make_folder("benchmark/sketches", ("gnu",), 3)
        assert "cat, dog, elk, ... in it" in words(open_domain(path, SMALL))
        for name in ("cat", "dog"):
            shutil.rmtree(path / "sketches" / name)
        assert "has the folders" not in words(open_domain(path, SMALL))

    def test_classes_in_one_split_only_and_with_few_images(self, make_folder: MakeFolder) -> None:
        make_folder("sets/train", ("cat", "dog"), 10)
        path = make_folder("sets/test", ("cat", "lynx"), 5).parent
        text = words(open_domain(path, SMALL))
        assert "the class 'dog' is in the split train only" in text
        assert "classes of which no image is for training, left out: lynx (5)" in text
        assert "5 images in no class folder, left out" in text
        few = words(open_domain(make_folder("few", ("cat", "dog"), 5), SMALL))
        assert "classes with few images: cat (5), dog (5)" in few

    def test_a_target_s_other_classes_are_counted(self, make_folder: MakeFolder) -> None:
        text = words(open_domain(make_folder("t", ("cat", "lynx", "dog"), 20), SMALL, ("cat", "dog")))
        assert "20 images of other classes, trained on but not measured: lynx (20)" in text

    def test_a_target_whose_classes_lie_deeper(self, make_folder: MakeFolder) -> None:
        path = make_folder("t/site1", count=20).parent
        text = words(open_domain(path, SMALL, ("cat", "dog")))
        assert "folders called as classes are lie deeper than the first: cat, dog: no labels" in text

    def test_copies_in_two_splits(self, make_folder: MakeFolder, tmp_path: Path) -> None:
        path = make_folder("sets/train", count=10).parent
        make_folder("sets/test", count=10)
        image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((96, 96))
        image.save(path / "train" / "cat" / "one.png")
        image.resize((70, 80)).save(path / "test" / "cat" / "copy.jpg", quality=90)
        text = words(open_domain(path, DataOptions(image_size=32)))
        assert "1 of 21 test images are nearly the same as others, such as test/cat/copy.jpg" in text
        assert "train/cat/one.png" in text


class TestDeepImages:
    def write(self, folder: Path, values: Iterable[int], kind: str = "uint16") -> Path:
        folder.mkdir(parents=True)
        for number, value in enumerate(values):
            Image.fromarray(np.full((12, 12), value, dtype=kind)).save(folder / f"{number:03d}.tif")
        return folder

    def test_a_set_has_one_scale(self, tmp_path: Path) -> None:
        self.write(tmp_path / "x" / "dark", [400] * 10)
        self.write(tmp_path / "x" / "light", [3000] * 9 + [4000])
        domain = open_domain(tmp_path / "x", SMALL)
        assert "images of more than 8 bits: 0 to 4095 becomes 0 to 255 in all of them" in words(domain)
        train = domain.labelled("train")
        assert set(train.pixels[train.labels == 0].unique().tolist()) == {round(400 / 4095 * 255)}
        forced = open_domain(tmp_path / "x", DataOptions(image_size=8, levels=(0, 1023)))
        dark = forced.labelled("train")
        assert dark.pixels[dark.labels == 0].unique().tolist() == [round(400 / 1023 * 255)]

    @pytest.mark.parametrize(
        ("low", "high", "kind", "expected"),
        [
            (0.25, 1.0, "float32", (0.25, 1.0)),
            (-1.0, 1.0, "float32", (0.0, 1.0)),
            (64.0, 255.0, "float32", (64 / 255, 1.0)),
            (0, 255, "uint16", (0.0, 1.0)),
            (512, 1023, "int32", (512 / 1023, 1.0)),
            (0.0, 1e6, "float32", (0.0, 1.0)),
        ],
    )
    def test_scales(self, low: float, high: float, kind: str, expected: tuple[float, float], tmp_path: Path) -> None:
        self.write(tmp_path / "x" / "a", [low] * 10, kind)  # type: ignore[list-item]
        self.write(tmp_path / "x" / "b", [high] * 10, kind)  # type: ignore[list-item]
        train = open_domain(tmp_path / "x", SMALL).labelled("train")
        found = [train.pixels[train.labels == label].float().mean().item() / 255 for label in (0, 1)]
        assert found == pytest.approx(expected, abs=0.003)

    def test_values_that_are_no_numbers(self, tmp_path: Path) -> None:
        values = np.full((12, 12), 0.5, np.float32)
        values[0], values[1] = np.nan, np.inf
        Image.fromarray(values).save(tmp_path / "x.tif")
        assert read_image(tmp_path / "x.tif", 12, 1)[0, :3, 0].tolist() == [0, 255, 128]


class TestDamagedMetadata:
    """Damage in what an image says of itself does not stop its being read."""

    def exif(self, *entries: tuple[int, int, int, bytes]) -> bytes:
        """Return EXIF with raw entries: tag, type, count, four bytes of value."""
        body = struct.pack("<H", len(entries))
        body += b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
        return b"Exif\0\0II*\0\x08\0\0\0" + body + b"\0\0\0\0"

    def saved(self, path: Path, exif: bytes) -> Path:
        image = Image.new("L", (16, 16))
        image.paste(255, (0, 0, 16, 4))
        image.save(path, exif=exif, quality=95)
        return path

    def test_a_wrong_type_beside_the_orientation(self, tmp_path: Path) -> None:
        orientation = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
        path = self.saved(tmp_path / "a.jpg", self.exif(orientation, (0x0128, 2, 2, b"x\0\0\0")))
        pixels = read_image(path, 16, 1)
        assert pixels[0, :, 15].min() > 200
        assert pixels[0, :, 0].max() < 50

    @pytest.mark.parametrize(
        "entry",
        [
            (0x0112, 2, 4, b"six\0"),
            (0x0112, 3, 0, bytes(4)),
            (0x0112, 3, 1, struct.pack("<HH", 99, 0)),
            (0x0112, 5, 1, struct.pack("<I", 5000)),
            (0x8769, 4, 1, struct.pack("<I", 8)),
            (0x0112, 77, 1, bytes(4)),
        ],
    )
    def test_a_damaged_orientation_is_not_believed(self, entry: tuple[int, int, int, bytes], tmp_path: Path) -> None:
        pixels = read_image(self.saved(tmp_path / "a.jpg", self.exif(entry)), 16, 1)
        assert pixels[0, 0].min() > 200

    @pytest.mark.parametrize(
        "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*", b"nonsense"]
    )
    def test_metadata_that_are_none(self, exif: bytes, tmp_path: Path) -> None:
        pixels = read_image(self.saved(tmp_path / "a.jpg", exif), 16, 1)
        assert pixels[0, 0].min() > 200


def test_shapes_of_all_kinds(tmp_path: Path) -> None:
    for fit in ("stretch", "crop", "pad"):
        for size in ((1, 3000), (3000, 1), (1, 1), (2, 7)):
            Image.new("RGB", size, (200, 0, 0)).save(tmp_path / "x.png")
            assert read_image(tmp_path / "x.png", 16, 3, fit).shape == (3, 16, 16)  # type: ignore[arg-type]


def test_animations_and_pages_are_counted(make_folder: MakeFolder) -> None:
    path = make_folder("pets", count=10)
    frames = [Image.new("RGB", (9, 9), (shade,) * 3) for shade in (0, 120, 250)]
    frames[0].save(path / "cat" / "moves.gif", save_all=True, append_images=frames[1:])
    frames[0].save(path / "cat" / "pages.tif", save_all=True, append_images=frames[1:])
    assert "2 files hold several images, such as animations: the first counts" in words(open_domain(path, SMALL))
    assert read_image(path / "cat" / "moves.gif", 8, 1).max() == 0
    assert read_image(path / "cat" / "pages.tif", 8, 1).max() == 0


def test_a_folder_to_evaluate_on_is_taken_whole(make_folder: MakeFolder) -> None:
    whole = DataOptions(image_size=8, whole=True)
    path = make_folder("more", count=15)
    assert open_domain(path, whole, ("cat", "dog")).sizes() == {"train": 0, "val": 0, "test": 30}
    assert open_domain(path, SMALL, ("cat", "dog")).sizes() == {"train": 24, "val": 3, "test": 3}
    make_folder("sets/train", count=10)
    own = make_folder("sets/test", count=4).parent
    assert open_domain(own, whole, ("cat", "dog")).sizes() == {"train": 0, "val": 0, "test": 8}
    for file in sorted((own / "test").rglob("*.png")):
        file.rename(own / "test" / f"{file.parent.name}{file.name}")
    for folder in ("cat", "dog"):
        (own / "test" / folder).rmdir()
    kaggle = open_domain(own, whole, ("cat", "dog"))
    assert len(kaggle.labelled("test")) == 20
