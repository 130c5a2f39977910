"""Files made to harm: they run no code, write nothing outside their folder, and take no memory without bound."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import multiprocessing
import os
import pickle
import resource
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from acclimate.data.archive import read_archive
from acclimate.data.domains import open_domain
from acclimate.data.domains.mnist import read_idx
from acclimate.data.domains.mnist_m import read_photos
from acclimate.data.domains.usps import read_libsvm
from acclimate.data.images import read_image
from acclimate.errors import AcclimateError
from acclimate.networks import open_backbone
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.directory import Run
from acclimate.runs.inference import measure, translate_files
from acclimate.training.state import load_tree, read_json

MEMORY = 3 << 30
"""Bytes that a reader may take, at most."""


SECONDS = 120
"""A reader that takes longer hangs."""


class Harm:
    """What runs code when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.witness}'",)


def torture(folder: Path, run: Path) -> tuple[int, list[str]]:
    """Try every file; return how many there were, and what did harm."""
    folder.mkdir(parents=True)
    names = list(_cases(folder, run))
    with ThreadPoolExecutor(2) as threads:
        harms = threads.map(lambda name: _in_a_process(name, folder, run), names)
        return len(names), [f"{name}: {harm}" for name, harm in zip(names, harms, strict=True) if harm]


def _in_a_process(name: str, folder: Path, run: Path) -> str:
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=_try, args=(name, folder, run, results))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        return f"takes more than {SECONDS} s"
    harm: str = f"the process died ({process.exitcode})" if process.exitcode else results.get()
    return harm


def _try(name: str, folder: Path, run: Path, results: Any) -> None:
    place = folder / "".join(one if one.isalnum() else "-" for one in name)
    shutil.rmtree(place, ignore_errors=True)
    (place / "inside").mkdir(parents=True)
    do = _cases(place / "inside", run)[name]()
    before = {path for path in place.rglob("*") if (place / "inside") not in path.parents}
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    harm = ""
    try:
        do()
    except AcclimateError as error:
        harm = "" if str(error).strip() and len(str(error)) < 2000 else "its message is empty, or of pages"
    except BaseException as error:  # whatever it is, it should not have come
        harm = f"{type(error).__name__}: {str(error)[:200]}"
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - taken) * 1024
    if more > MEMORY:
        harm = f"took {more >> 20} MB"
    after = {path for path in place.rglob("*") if (place / "inside") not in path.parents}
    if after != before or (place / "inside" / "witness").exists():
        harm = f"left {sorted(map(str, after - before))[:3] or 'its witness'}: it has written elsewhere, or run"
    results.put(harm)


def _cases(folder: Path, run: Path) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Return what writes each file, and then returns what reads it."""
    file, witness = folder / "file", folder / "witness"

    def written(
        data: bytes | Callable[[], bytes], read: Callable[[], Any], name: str = "file"
    ) -> Callable[[], Callable[[], Any]]:
        def write() -> Callable[[], Any]:
            (folder / name).write_bytes(data if isinstance(data, bytes) else data())
            return read

        return write

    def header(text: bytes, length: int | None = None) -> bytes:
        return struct.pack("<Q", len(text) if length is None else length) + text

    def in_run(name: str, data: bytes, use: Callable[[Path], Any]) -> Callable[[], Callable[[], Any]]:
        def write() -> Callable[[], Any]:
            copy = folder / "run"
            shutil.copytree(run, copy)
            (copy / name).write_bytes(data)
            return lambda: use(copy)

        return write

    def use(path: Path) -> Any:
        return measure(Adaptation(path)), Run(path).result

    pickled, deep = pickle.dumps(Harm(witness)), b"[" * 5_000_000
    huge = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    wrap = json.dumps({"w": {"dtype": "F32", "shape": [1 << 31, 1 << 31, 4], "data_offsets": [0, 0]}}).encode()
    tree = json.dumps({"__metadata__": {"tree": "[" * 1_000_000}}).encode()
    names = json.dumps({"__metadata__": {"tree": json.dumps({"$tensor": "gone"})}}).encode()
    model = "models/adapted-0.safetensors"
    return {
        "a checkpoint that is a pickle": written(pickled, lambda: load_tree(file)),
        "a classifier that is a pickle": in_run(model, pickled, use),
        "a result that is a pickle": in_run("result.json", pickled, use),
        "weights of a backbone that are a pickle": written(pickled, lambda: open_backbone("timm:resnet18", str(file))),
        "a header longer than memory": written(header(b"{}", 1 << 60), lambda: load_tree(file)),
        "a header that is cut off": written(header(b'{"w":', 400), lambda: load_tree(file)),
        "a tensor of terabytes": written(header(huge), lambda: load_tree(file)),
        "a shape beyond 64 bits": written(header(wrap), lambda: load_tree(file)),
        "a tree of a million brackets": written(header(tree), lambda: load_tree(file)),
        "a tree of tensors that are not there": written(header(names), lambda: load_tree(file)),
        "a classifier of terabytes": in_run(model, header(huge), use),
        "JSON of five million brackets": written(deep, lambda: read_json(file)),
        "a number of a million digits": written(b'{"n": ' + b"9" * 1_000_000 + b"}", lambda: read_json(file)),
        "a result of five million brackets": in_run("result.json", deep, use),
        "settings of five million brackets": in_run("config.json", deep, use),
        "metrics of five million brackets": in_run("metrics.jsonl", deep, lambda path: list(Run(path).metrics())),
        "a table of five million brackets": written(deep, lambda: open_domain(folder / "t.jsonl"), "t.jsonl"),
        "a table of one endless line": written(
            lambda: b"path,label\n" + b"a" * 50_000_000, lambda: open_domain(folder / "t.csv").sizes(), "t.csv"
        ),
        "an archive that climbs out": written(_tar("../../outside"), lambda: list(read_archive(file, "*"))),
        "an archive with an absolute name": written(
            _tar(str(folder.parent / "outside")), lambda: list(read_archive(file, "*"))
        ),
        "an archive with a link out": written(
            _tar("link", tarfile.SYMTYPE, str(folder.parent)), lambda: list(read_archive(file, "*"))
        ),
        "an archive with a hard link": written(
            _tar("link", tarfile.LNKTYPE, "/etc/passwd"), lambda: list(read_archive(file, "*"))
        ),
        "an archive with a device": written(_tar("device", tarfile.CHRTYPE), lambda: list(read_archive(file, "*"))),
        "an archive that claims terabytes": written(_tar("x", size=1 << 42), lambda: list(read_archive(file, "*"))),
        "an archive that unpacks to terabytes": written(_bomb_tar, lambda: list(read_archive(file, "*"))),
        "photos that are a bomb": written(
            _tar("BSR/BSDS500/data/images/test/1.jpg", content=_png_bomb()), lambda: read_photos(file)
        ),
        "gzip of gigabytes": written(_gzip_bomb, lambda: read_idx(file)),
        "idx of terabytes": written(b"\0\0\x08\x03" + b"\xff" * 12, lambda: read_idx(file)),
        "idx of 255 dimensions": written(b"\0\0\x08\xff" + b"\xff" * 1020, lambda: read_idx(file)),
        "bzip2 of gigabytes": written(lambda: bz2.compress(bytes(1 << 29)), lambda: read_libsvm(file)),
        "an image of terabytes": written(_png_bomb(), lambda: read_image(folder / "x.png", 32, 3), "x.png"),
        "an image with a profile of gigabytes": written(
            _png_profile, lambda: read_image(folder / "x.png", 32, 3), "x.png"
        ),
        "an image that is a program": written(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n("
            + str(witness).encode()
            + b") (w) file closefile showpage\n",
            lambda: read_image(folder / "x.png", 32, 3),
            "x.png",
        ),
        "names that climb out, translated": _climbing(folder, run),
    }


def _climbing(folder: Path, run: Path) -> Callable[[], Callable[[], Any]]:
    """Return a table of images that lie outside, by relative and absolute names, for translation."""

    def write() -> Callable[[], Any]:
        outside = folder.parent / "images"
        outside.mkdir(exist_ok=True)
        for name in ("a.jpg", "b.jpg"):
            Image.new("RGB", (9, 9)).save(outside / name)
        (folder / "t.csv").write_text(f"path\n../images/a.jpg\n{outside / 'b.jpg'}\n" + "../images/a.jpg\n" * 8)
        return lambda: translate_files(Adaptation(run), folder / "t.csv", folder / "out")

    return write


def _tar(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, content: bytes = b"") -> bytes:
    file, member = io.BytesIO(), tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size or len(content)
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.fileobj.write(member.tobuf()) if size else archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _bomb_tar() -> bytes:
    member = tarfile.TarInfo("zeros")
    member.size = 1 << 42
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 24)
    return packer.compress(member.tobuf()) + b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()


def _gzip_bomb() -> bytes:
    file, zeros = io.BytesIO(), bytes(1 << 24)
    with gzip.GzipFile(fileobj=file, mode="wb") as packed:
        for _ in range(256):
            packed.write(zeros)
    return file.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 1_000_000, 1_000_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _png_profile() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(file, format="PNG")
    whole = file.getvalue()
    profile = _chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 30)))
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 28)))
    return whole[:33] + profile + text + whole[33:]
