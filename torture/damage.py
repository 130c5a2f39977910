"""Damaged files of every kind: each is read to a value or refused in one line, in bounded time and memory."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tarfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from acclimate.commands import main
from acclimate.data.archive import read_archive
from acclimate.data.domains import DataOptions, open_domain
from acclimate.data.domains.mnist import read_idx
from acclimate.data.domains.mnist_m import read_photos
from acclimate.data.domains.svhn import read_mat
from acclimate.data.domains.usps import read_libsvm
from acclimate.data.images import read_image, survey
from acclimate.errors import AcclimateError
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.directory import Run
from acclimate.runs.inference import measure
from acclimate.training.state import load_tree

SECONDS = 20
"""A reader that takes longer hangs."""

MEMORY = 6 << 30
"""Bytes of address space beyond which a reader takes memory without bound."""

COUNTS = {
    "image": 5000,
    "idx": 800,
    "libsvm": 700,
    "mat": 700,
    "tar": 700,
    "table": 700,
    "config": 350,
    "checkpoint": 350,
    "metrics": 350,
    "command line": 350,
}
"""Files of each kind."""


EXTREMES = (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\x80")
"""Numbers that headers do not expect."""


@dataclass(frozen=True)
class Escape:
    """A file that was neither read nor refused as it should be."""

    kind: str
    seed: int
    what: str


class HangError(Exception):
    """A reader took too long."""


def mutate(data: bytes, random_: random.Random) -> bytes:
    """Return damaged bytes: bits flipped, parts exchanged, repeated, left out or cut off, numbers changed."""
    if not data:
        return random_.randbytes(random_.randint(0, 64))
    content = bytearray(data)
    head = random_.random() < 0.5  # headers are where damage tells
    for _ in range(random_.choice((1, 1, 1, 2, 4, 16))):
        place = random_.randrange(min(len(content), 512) if head else len(content)) if content else 0
        length = random_.choice((1, 2, 4, 8, 64, 1024))
        kind = random_.randrange(9)
        if kind == 0 and content:
            content[place] ^= 1 << random_.randrange(8)
        elif kind == 1:
            content[place : place + length] = random_.randbytes(length)
        elif kind == 2:
            del content[place:]
        elif kind == 3:
            del content[place : place + length]
        elif kind == 4:
            content[place:place] = content[place : place + length]
        elif kind == 5:
            content[place : place + 4] = random_.choice(
                (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\x80")
            )
        elif kind == 6:
            content[place : place + length] = bytes(min(length, len(content) - place))
        elif kind == 7:
            content += random_.randbytes(length)
        else:
            digits = [at for at, byte in enumerate(content[:4096]) if 48 <= byte <= 57]
            if digits:
                at = random_.choice(digits)
                content[at : at + 1] = random_.choice((b"9", b"0", b"-", b"99999999", b".", b"e9"))
    return bytes(content)


class Originals:
    """Whole files of each kind, small, and how each is read."""

    def __init__(self, folder: Path, run: Path) -> None:
        self.folder, self.run = folder, run
        self.images = _images()
        self.published = _published()
        self.tables = _tables(folder)

    def case(self, kind: str, seed: int) -> Callable[[], Any]:
        """Write a damaged file, and return what reads it."""
        random_ = random.Random(f"{kind} {seed}")
        path = self.folder / f"{os.getpid()}"
        if kind == "image":
            name, data = random_.choice(self.images)
            path = path.with_suffix(name)
            path.write_bytes(mutate(data, random_))
            fit = random_.choice(("stretch", "crop", "pad"))
            return lambda: (survey([path]), read_image(path, 32, 3, fit))  # type: ignore[arg-type]
        if kind in self.published:
            read, data = self.published[kind]
            if random_.random() < 0.3:  # damage within what is packed
                data = _repacked(data, random_)
            path.write_bytes(mutate(data, random_))
            return lambda: read(path)
        if kind == "table":
            suffix, data = random_.choice(self.tables)
            path = path.with_suffix(suffix)
            path.write_bytes(mutate(data, random_))
            return lambda: open_domain(path, DataOptions(image_size=8)).sizes()
        copy = self.folder / f"run-{os.getpid()}"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.run, copy)
        names = {
            "config": ("config.json", "data.json", "result.json", "models/method.json"),
            "checkpoint": ("models/adapted-0.safetensors", "familiar.safetensors", "snapshots/*", "checkpoints/*/*"),
            "metrics": ("metrics.jsonl",),
            "command line": ("config.json", "result.json", "models/*", "snapshots/*", "metrics.jsonl", "samples/*/*"),
        }[kind]
        file = random_.choice(sorted(found for name in names for found in copy.glob(name) if found.is_file()))
        file.write_bytes(mutate(file.read_bytes(), random_))
        if kind == "checkpoint":
            return lambda: (load_tree(file), measure(Adaptation(copy)))
        if kind == "metrics":
            return lambda: [float(entry["step"]) for entry in Run(copy).metrics()]
        if kind == "config":
            return lambda: (measure(Adaptation(copy)), Run(copy).result["accuracy"]["mean"])
        command = random_.choice(("evaluate", "predict", "table", "select", "resume"))
        images = str(self.folder / "images" / "cat")
        arguments = {
            "evaluate": ["evaluate", str(copy)],
            "predict": ["predict", str(copy), images],
            "table": ["table", str(copy)],
            "select": ["select", str(copy)],
            "resume": ["run", "--resume", str(copy)],
        }[command]
        return lambda: _command(arguments)


def _command(arguments: list[str]) -> None:
    """Run a command as a person does: it may end well, or with exit code 2 and a line that begins with its name."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
    said = err.getvalue()
    if "Traceback" in said or code not in (0, 2) or (code == 2 and "acclimate: " not in said):
        raise AssertionError(f"exit code {code} of {' '.join(arguments[:2])}: {said[-300:]}")


def _images() -> list[tuple[str, bytes]]:
    shapes = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(shapes).resize((40, 30))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0128] = 6, "Maker", 2
    wide = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 16)
    floats = Image.fromarray(np.asarray(image)[..., 0].astype(np.float32) / 255)
    found = []
    for suffix, format_, one, options in (
        (".jpg", "JPEG", image, {"exif": exif}),
        (".jpg", "JPEG", image.convert("CMYK"), {"progressive": True}),
        (".jpg", "JPEG", image.convert("L"), {"exif": exif}),
        (".png", "PNG", image, {"exif": exif}),
        (".png", "PNG", image.convert("P"), {"transparency": 0}),
        (".png", "PNG", image.convert("RGBA"), {}),
        (".png", "PNG", wide, {}),
        (".gif", "GIF", image, {"save_all": True, "append_images": [image.rotate(90)]}),
        (".tif", "TIFF", image, {"compression": "tiff_lzw", "exif": exif}),
        (".tif", "TIFF", wide, {}),
        (".tif", "TIFF", floats, {"save_all": True, "append_images": [floats]}),
        (".bmp", "BMP", image, {}),
        (".webp", "WEBP", image, {"exif": exif}),
        (".ppm", "PPM", image, {}),
        (".tga", "TGA", image, {}),
        (".jp2", "JPEG2000", image, {}),
        (".avif", "AVIF", image, {}),
        (".ico", "ICO", image, {}),
        (".pcx", "PCX", image, {}),
        (".dds", "DDS", image, {}),
    ):
        with contextlib.suppress(KeyError, OSError):  # what this Pillow does not write
            file = io.BytesIO()
            one.save(file, format=format_, **options)
            found.append((suffix, file.getvalue()))
    return found


def _published() -> dict[str, tuple[Callable[[Path], Any], bytes]]:
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    idx = bytes((0, 0, 8, 3)) + b"".join(size.to_bytes(4, "big") for size in digits.shape) + digits.tobytes()
    lines = [
        f"{label + 1} " + " ".join(f"{place + 1}:{value:.3f}" for place, value in enumerate(rng.uniform(-1, 1, 256)))
        for label in range(10)
    ]
    mat, tar = io.BytesIO(), io.BytesIO()
    content = {"X": rng.integers(0, 256, (32, 32, 3, 8), dtype=np.uint8), "y": np.arange(1, 9)[:, None]}
    savemat(mat, content, do_compression=True)
    photo = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(photo, format="JPEG")
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        for part in ("train", "test"):
            member = tarfile.TarInfo(f"BSR/BSDS500/data/images/{part}/1.jpg")
            member.size = len(photo.getvalue())
            archive.addfile(member, io.BytesIO(photo.getvalue()))
    return {
        "idx": (read_idx, gzip.compress(idx)),
        "libsvm": (read_libsvm, bz2.compress("\n".join(lines).encode())),
        "mat": (read_mat, mat.getvalue()),
        "tar": (lambda path: (read_photos(path), list(read_archive(path, "*"))), tar.getvalue()),
    }


def _repacked(data: bytes, random_: random.Random) -> bytes:
    if data[:2] == b"\x1f\x8b":
        return gzip.compress(mutate(gzip.decompress(data), random_))
    return bz2.compress(mutate(bz2.decompress(data), random_)) if data[:3] == b"BZh" else data


def _tables(folder: Path) -> list[tuple[str, bytes]]:
    rows = []
    for number in range(16):
        label = ("cat", "dog")[number % 2]
        file = folder / "images" / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (number * 15,) * 3).save(file)
        rows.append(
            {"path": f"images/{label}/{number}.png", "label": label, "split": ("train", "val", "test")[number // 2 % 3]}
        )
    text = "path,label,split\n" + "".join(f"{row['path']},{row['label']},{row['split']}\n" for row in rows)
    return [(".csv", text.encode()), (".jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())]


def _attempt(read: Callable[[], Any]) -> str:
    """Return how a file was taken: read, or refused; or what escaped."""

    def too_long(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
            read()
    except AcclimateError as error:
        return "refused" if str(error).strip() else "an empty message"
    except HangError:
        return f"took more than {SECONDS} s"
    except BaseException as error:  # whatever it is, it should not have come
        line = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(line.filename).name}:{line.lineno})"[:400]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return "read"


def _work(part: tuple[int, int], folder: Path, run: Path, scale: float, results: Any) -> None:
    """Try every case of one of some processes; tell the parent of each before and after."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff tells of damage by itself
    originals = Originals(folder / str(part[0]), run)
    for kind, seed in _cases(scale, *part):
        results.put((part[0], kind, seed, None))
        results.put((part[0], kind, seed, _attempt(originals.case(kind, seed))))
    results.put((part[0], "", 0, "done"))


def _cases(scale: float, first: int, step: int) -> Iterator[tuple[str, int]]:
    for kind, count in COUNTS.items():
        for seed in range(first, max(1, round(count * scale)), step):
            yield kind, seed


def torture(folder: Path, run: Path, scale: float = 1.0, processes: int = 2) -> tuple[Counter[str], list[Escape]]:
    """Read damaged files of every kind; return how many were taken how, and what escaped.

    Parameters
    ----------
    folder
        For the files.
    run
        A finished run.
    scale
        How many files, as a multiple of :data:`COUNTS`.
    processes
        At once.
    """
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    workers = {}
    for number in range(processes):
        (folder / str(number)).mkdir(parents=True)
        workers[number] = context.Process(target=_work, args=((number, processes), folder, run, scale, results))
        workers[number].start()
    counts, escapes, last = Counter[str](), list[Escape](), dict[int, tuple[str, int]]()
    while workers:
        while not results.empty():
            number, kind, seed, how = results.get()
            if how is None:
                last[number] = (kind, seed)
            elif how == "done":
                last.pop(number, None)
            else:
                counts[f"{kind}: {how if how in ('read', 'refused') else 'escaped'}"] += 1
                if how not in ("read", "refused"):
                    escapes.append(Escape(kind, seed, how))
        for number, worker in list(workers.items()):
            worker.join(0.05)
            if worker.exitcode is not None and results.empty():
                if worker.exitcode:
                    escapes.append(Escape(*last.get(number, ("", 0)), f"the process died ({worker.exitcode})"))
                del workers[number]
    return counts, escapes
