"""How many images a second ``acclimate serve`` answers, how long one waits, and whether it stays whole under load.

``python benchmarks/serving.py RUN --out docs/results/serving-cpu.json`` (nothing else may run meanwhile). The server
is a process of its own on ``--threads`` threads, asked over kept connections by as many clients as the table says, each
one image a request, the next as soon as the last is answered. It computes by torch, and by onnxruntime from an export
of the same run. Beside it: a plain loop that reads and classifies one file after the other, on as many threads, and
``predict`` over the folder. Then the load: minutes of sound requests with malformed ones among them.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import io
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from speed import written

from acclimate.data.images import read_image
from acclimate.pipeline.environment import environment
from acclimate.pipeline.export import export
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.inference import predict_files

CLIENTS = (1, 8, 32)
WARM_SECONDS = 2.0


def request(path: str, content: bytes, *, field: str = "files", name: str = "a.png") -> bytes:
    """Return a request that uploads a file."""
    head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return raw(path, head.encode() + content + b"\r\n--x--\r\n")


def raw(path: str, body: bytes, method: str = "POST") -> bytes:
    kind = "Content-Type: multipart/form-data; boundary=x\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Seen:
    """What clients saw."""

    seconds: list[float] = field(default_factory=list)
    statuses: collections.Counter[str] = field(default_factory=collections.Counter)

    def table(self, elapsed: float) -> dict[str, Any]:
        cuts = statistics.quantiles(self.seconds, n=100)
        return {
            "images/s": len(self.seconds) / elapsed,
            "p50 ms": 1000 * statistics.median(self.seconds),
            "p99 ms": 1000 * cuts[98],
        }


async def client(port: int, until: float, pick: Callable[[], tuple[str, bytes]], seen: Seen) -> None:
    """Ask one thing after the other over a kept connection, opened anew where the server closed it."""
    connection = None
    while time.perf_counter() < until:
        kind, message = pick()
        start = time.perf_counter()
        try:
            connection = connection or await asyncio.open_connection("127.0.0.1", port)
            reader, writer = connection
            writer.write(message)
            if kind == "gone":  # the client leaves in the middle of its request
                await writer.drain()
                writer.close()
                connection = None
                seen.statuses["gone"] += 1
                continue
            status, closes = await answer(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            seen.statuses[f"{kind}: closed"] += 1
            connection = None
            continue
        seen.statuses[f"{kind}: {status}"] += 1
        if kind == "sound":
            seen.seconds.append(time.perf_counter() - start)
        if closes:
            writer.close()
            connection = None
    if connection:
        connection[1].close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read an answer whole; return its status, and whether the server closes the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = re.search(r"content-length: (\d+)", head)
    if length:
        await reader.readexactly(int(length[1]))
    return int(head.split()[1]), "connection: close" in head


def ask(port: int, clients: int, seconds: float, pick: Callable[[], tuple[str, bytes]]) -> tuple[Seen, float]:
    """Let so many clients ask for so long."""

    async def all_clients() -> tuple[Seen, float]:
        await asyncio.gather(*(client(port, time.perf_counter() + WARM_SECONDS, pick, Seen()) for _ in range(clients)))
        seen, start = Seen(), time.perf_counter()
        await asyncio.gather(*(client(port, start + seconds, pick, seen) for _ in range(clients)))
        return seen, time.perf_counter() - start

    return asyncio.run(all_clients())


@contextmanager
def server(path: Path, threads: int) -> Iterator[tuple[int, int]]:
    """Serve a run or an export in a process of its own; yield its port and its number."""
    command = [sys.executable, "-m", "acclimate", "serve", str(path), "--port", "0", "--threads", str(threads)]
    with tempfile.TemporaryDirectory() as scratch, open(f"{scratch}/said", "w") as said:
        with subprocess.Popen(command, stderr=said, text=True) as process:
            while not (found := re.search(r"http://\S+:(\d+)\n", Path(said.name).read_text())):
                if process.poll() is not None:
                    raise SystemExit(f"the server did not start: {Path(said.name).read_text()}")
                time.sleep(0.1)
            try:
                yield int(found[1]), process.pid
            finally:
                process.terminate()
        if process.returncode or not (told := Path(said.name).read_text()).endswith("stopped\n"):
            raise SystemExit(f"the server did not stop in order: {told[-2000:]}")


def holding(pid: int) -> dict[str, int]:
    """Return what a process holds: MB of memory, open files, threads."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory, threads = (int(re.search(rf"^{name}:\s+(\d+)", status, re.M)[1]) for name in ("VmRSS", "Threads"))
    return {"MB": memory // 1024, "open files": len(list(Path(f"/proc/{pid}/fd").iterdir())), "threads": threads}


def plain_loop(adaptation: Adaptation, files: list[Path], seconds: float) -> dict[str, Any]:
    """Read and classify one file after the other."""
    classifier, options = adaptation.calibrated().uncached(), adaptation.seen_options
    seen, start = Seen(), time.perf_counter()
    while (begin := time.perf_counter()) < start + seconds:
        file = files[len(seen.seconds) % len(files)]
        classifier.probabilities(read_image(file, options.image_size, options.channels, options.fit)[None])
        seen.seconds.append(time.perf_counter() - begin)
    return seen.table(time.perf_counter() - start)


def predict(adaptation: Adaptation, folder: Path) -> dict[str, Any]:
    """Classify a folder as the command does, five hundred images at a time."""
    start = time.perf_counter()
    count = len(list(predict_files(adaptation, [folder])))
    return {"images/s": count / (time.perf_counter() - start)}


def malformed(png: bytes) -> list[tuple[str, bytes]]:
    """Return requests that are wrong, with a name for each kind."""
    huge = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(huge, "PNG")
    return [
        ("no image", request("/predict", b"hello")),
        ("empty file", request("/predict", b"")),
        ("cut off", request("/predict", png[: len(png) // 2])),
        ("too many pixels", request("/predict", huge.getvalue())),
        ("another field", request("/predict", png, field="other")),
        ("no multipart", raw("/predict", b"garbage")),
        ("no end", raw("/predict", b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc')),
        ("a wrong question", request("/predict?abstain=7", png)),
        ("nowhere", request("/nowhere", png)),
        ("another method", raw("/predict", b"", "DELETE")),
        ("too many images", raw("/predict", b"".join(part(png) for _ in range(65)) + b"--x--\r\n")),
        ("too many bytes", b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99000000\r\n\r\n"),
        ("gone", request("/predict", png)[:-40]),
    ]


def part(png: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + png + b"\r\n"


def under_load(path: Path, threads: int, pngs: list[bytes], seconds: float) -> dict[str, Any]:
    """Ask for minutes, one request of five malformed; return what came back and what the server held."""
    chance, wrong = random.Random(0), malformed(pngs[0])
    sound = [("sound", request("/predict?likeness=true", png)) for png in pngs]

    def pick() -> tuple[str, bytes]:
        return chance.choice(wrong if chance.random() < 0.2 else sound)

    with server(path, threads) as (port, pid):
        ask(port, 16, min(60.0, seconds / 5), pick)
        before = holding(pid)
        seen, elapsed = ask(port, 16, seconds, pick)
        time.sleep(2)
        after = holding(pid)
    failed = {kind: count for kind, count in seen.statuses.items() if re.search(r": 5\d\d$|^sound: (?!200)", kind)}
    return {
        "minutes": elapsed / 60,
        "requests": sum(seen.statuses.values()),
        "failed": sum(failed.values()),
        "answers": dict(sorted(seen.statuses.items())),
        **{f"{name} before": value for name, value in before.items()},
        **{f"{name} after": value for name, value in after.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1, help="of the server; the clients need some, too")
    parser.add_argument("--seconds", type=float, default=10, help="of each line")
    parser.add_argument("--load-minutes", type=float, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    adaptation = Adaptation(arguments.run, "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        folder, exported = Path(scratch, "images"), Path(scratch, "exported")
        folder.mkdir()
        for number, pixels in enumerate(adaptation.target.images("test").pixels[:400]):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number:04d}.png")
        files = sorted(folder.iterdir())
        pngs = [file.read_bytes() for file in files]
        export(adaptation, exported)
        sound = [("sound", request("/predict", png)) for png in pngs]
        served: dict[str, Any] = {
            "plain loop": plain_loop(adaptation, files, arguments.seconds),
            "predict, images/s": predict(adaptation, folder)["images/s"],
        }
        for name, path in (("torch", arguments.run), ("onnxruntime", exported)):
            with server(path, arguments.threads) as (port, _):
                for clients in CLIENTS:
                    seen, elapsed = ask(port, clients, arguments.seconds, lambda: random.choice(sound))
                    assert set(seen.statuses) == {"sound: 200"}, seen.statuses
                    served[f"{name}, {clients} client{'s' * (clients > 1)}"] = seen.table(elapsed)
        load = under_load(arguments.run, arguments.threads, pngs, 60 * arguments.load_minutes)
    loop, predicted = served.pop("plain loop"), served.pop("predict, images/s")
    for line in served.values():
        line["times the plain loop"] = line["images/s"] / loop["images/s"]
    result = {
        "benchmark": "serving",
        "pair": f"{adaptation.run.result['source']} to {adaptation.run.result['target']}",
        "classifier": adaptation.config.classifier,
        "image size": adaptation.config.image_size,
        "predict over the folder, images/s": predicted,
        "served": {"plain loop": loop | {"times the plain loop": 1.0}} | served,
        "under load": load,
        **environment(adaptation.engine),
    }
    print(written(result, arguments.out))


if __name__ == "__main__":
    main()
