"""How fast acclimate is against a textbook loop with the same networks and against the machine's own ceiling.

``python benchmarks/speed.py --pipeline runs/fast --out docs/results/speed-cpu.json`` (nothing else may run meanwhile).
Peers are timed in turns within one process, medians are reported. Real images: MNIST and MNIST-M from
``$ACCLIMATE_DATA``, else the embedded digits.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from textbook import TextbookClassifier, TextbookCycleGAN
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from acclimate.config import Config
from acclimate.data.domains import DataOptions, open_domain
from acclimate.data.sets import Images, LabelledImages
from acclimate.methods.base import AdaptationData, Task
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.methods.cyclegan.method import CycleGAN
from acclimate.pipeline.benchmark import Matrix, estimate
from acclimate.pipeline.classification import ClassifierTraining
from acclimate.pipeline.environment import environment
from acclimate.progress import say
from acclimate.runs.translation import Translator
from acclimate.training.distributed import joined
from acclimate.training.engine import Engine

DIGITS = tuple("0123456789")


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(candidates: dict[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, float]:
    """Return the median seconds of each candidate, called by turns after one warming call."""
    for candidate in candidates.values():
        candidate()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            synchronise(device)
            begin = time.perf_counter()
            candidate()
            synchronise(device)
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def images(root: str | None, size: int) -> tuple[LabelledImages, Images, str]:
    options = DataOptions(image_size=size, download=False, **({"data_root": Path(root)} if root else {}))
    names = ("mnist", "mnist-m") if root else ("digits", "digits-m")
    source, target = (open_domain(name, options) for name in names)
    return source.labelled("train"), target.images("train"), " -> ".join(names)


def our_step(
    x: LabelledImages, y: Images, engine: Engine, config: CycleGANConfig
) -> tuple[Callable[[], Any], CycleGAN]:
    size = x.pixels.shape[-1]
    method = CycleGAN(config, Task(3, size, DIGITS), engine)
    (phase,) = method.phases(AdaptationData(x, x.first(8), y))
    numbers = iter(range(10**9))
    return lambda: phase.step(next(numbers)), method


def ceilings(engine: Engine, rounds: int) -> dict[str, float]:
    """Best matrix product and convolution in the working precision (GFLOP/s), best copy (GB/s)."""
    dtype, device = engine.dtype or torch.float32, engine.device
    n = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    image = torch.randn(32, 128, 32, 32, device=device, dtype=dtype)
    kernel = torch.randn(128, 128, 3, 3, device=device, dtype=dtype)
    memory = torch.empty(2**27, device=device, dtype=torch.uint8)
    candidates: dict[str, Callable[[], Any]] = {
        "matmul": lambda: a @ b,
        "convolution": lambda: torch.nn.functional.conv2d(image, kernel, padding=1),
        "copy": lambda: memory.clone(),
    }
    calls = 1 if device.type == "cpu" else 100  # one alone takes a GPU less time than it takes to start it

    def repeated(call: Callable[[], Any]) -> None:
        for _ in range(calls):
            call()

    many = {name: partial(repeated, call) for name, call in candidates.items()}
    times = {name: seconds / calls for name, seconds in in_turns(many, rounds, device).items()}
    return {
        "matmul_gflops": 2 * n**3 / times["matmul"] / 1e9,
        "convolution_gflops": 2 * 32 * 32 * 32 * 128 * 128 * 9 / times["convolution"] / 1e9,
        "copy_gb_per_s": 2 * memory.numel() / times["copy"] / 1e9,
    }


def step_flops(x: LabelledImages, y: Images, config: CycleGANConfig) -> float:
    step, _ = our_step(x, y, Engine(), config)
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def measure_steps(x: LabelledImages, y: Images, engine: Engine, rounds: int, limit: dict[str, float]) -> dict[str, Any]:
    ceiling = max(limit["matmul_gflops"], limit["convolution_gflops"])
    found = {}
    for width in (32, 16):
        config = CycleGANConfig(width=width)
        textbook = TextbookCycleGAN(x.pixels, y.pixels, width, device=str(engine.device))
        ours, _ = our_step(x, y, engine, config)
        in_float32, _ = our_step(x, y, Engine(engine.device), config)
        times = in_turns(
            {"textbook": textbook.step, "ours": ours, "ours in float32": in_float32}, rounds, engine.device
        )
        flops = step_flops(x, y, config)
        found[f"width {width}, batch 32"] = {
            **{f"{name} ms": 1000 * seconds for name, seconds in times.items()},
            "ratio": times["textbook"] / times["ours"],
            "gflop": flops / 1e9,
            "share of the ceiling": flops / 1e9 / times["ours"] / ceiling,
        }
    return found


def measure_epoch(x: LabelledImages, y: Images, engine: Engine) -> dict[str, float]:
    """Time one epoch of the notebook's settings: 128 batches of 32, its data loading included."""
    textbook = TextbookCycleGAN(x.pixels, y.pixels, 32, device=str(engine.device))
    ours, _ = our_step(x, y, engine, CycleGANConfig())

    def epoch(step: Callable[[], Any]) -> float:
        step()
        synchronise(engine.device)
        begin = time.perf_counter()
        for _ in range(len(x) // 32):
            step()
        synchronise(engine.device)
        return time.perf_counter() - begin

    times = {"textbook": epoch(textbook.step), "ours": epoch(ours)}
    return {f"{name} s": seconds for name, seconds in times.items()} | {"ratio": times["textbook"] / times["ours"]}


def measure_pipeline(root: str | None, device: str, out: Path, steps: dict[str, Any]) -> dict[str, Any]:
    """Run the whole ``short`` pipeline from an empty cache; beside it, the textbook's 6,400 steps of the notebook."""
    pair = ["mnist", "mnist-m"] if root else ["digits", "digits-m"]
    words = [sys.executable, "-m", "acclimate", "run", *pair, "--preset", "short", "--device", device]
    words += ["--out", str(out), *(["--data-root", root] if root else [])]
    with tempfile.TemporaryDirectory() as cache:
        begin = time.perf_counter()
        subprocess.run(words, env=os.environ | {"ACCLIMATE_CACHE": cache}, check=True, capture_output=True)
        minutes = (time.perf_counter() - begin) / 60
    result = json.loads((out / "result.json").read_text())
    kept = {key: result[key] for key in ("accuracy", "seconds", "peak_memory_mb")}
    textbook = steps["width 32, batch 32"]["textbook ms"] * 6400 / 60_000
    return {"minutes": minutes, "minutes of the textbook's translator": textbook, "ratio": textbook / minutes, **kept}


def measure_keras(x: LabelledImages, y: Images, engine: Engine, rounds: int) -> dict[str, float] | None:
    """Time a step of Keras 3 on its PyTorch backend beside ours; None where Keras is not installed.

    Keras takes a GPU wherever there is one: None too where ours does not.
    """
    if torch.cuda.is_available() and engine.device.type == "cpu":
        return None
    try:
        from keras_peer import KerasCycleGAN
    except ImportError:
        return None
    peer, (ours, _) = KerasCycleGAN(x.pixels, y.pixels), our_step(x, y, engine, CycleGANConfig())
    times = in_turns({"keras": peer.step, "ours": ours}, rounds, engine.device)
    return {f"{name} ms": 1000 * seconds for name, seconds in times.items()} | {"ratio": times["keras"] / times["ours"]}


def measure_presets(root: str | None, device: str) -> dict[str, Any]:
    """Estimate the minutes of CycleGAN's training, and measure the peak memory, of each preset, in its own process."""
    pair = ("mnist", "mnist-m") if root else ("digits", "digits-m")
    found = {}
    for preset in CycleGANConfig.presets:
        options = {"device": device} | ({"data-root": root} if root else {})
        matrix = Matrix((pair,), ("cyclegan",), 1, preset, Path("unused"), {}, options)
        (cell,) = matrix.cells()
        if (guess := estimate(matrix, cell)) is not None:
            found[preset] = {"translator minutes": guess.seconds / 60, "peak memory MB": guess.memory_mb}
    return found


def measure_processes(device: str) -> dict[str, float]:
    """Milliseconds a step of the embedded digits, width 32, batch 32, over one and two processes of one thread each."""
    found = {}
    on_one_gpu = Engine.choose(device).device.type == "cuda" and torch.cuda.device_count() == 1
    for count in (1,) if on_one_gpu else (1, 2):
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", __file__]
        done = subprocess.run(
            [*words, "--one-of-several", "paper", "--device", device],
            capture_output=True,
            check=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        found[str(count)] = float(done.stdout.split()[-1])
    return found


def one_of_several(preset: str, device: str, rounds: int) -> None:
    """Time steps of a preset on the embedded digits, alone or as one of the processes of a run; print the median ms."""
    with joined(device):
        engine = Engine.choose(device)
        x, y, _ = images(None, 32)
        step, _ = our_step(x, y, engine, CycleGANConfig.preset(preset))
        seconds = in_turns({"step": step}, rounds, engine.device)["step"]
        if engine.processes.first:
            print(1000 * seconds)


def measure_two_runs(device: str, rounds: int) -> dict[str, float]:
    """Milliseconds until both of two runs made a step: after each other on all threads, or at once on half of them."""
    threads = os.cpu_count() or 1
    words = [sys.executable, __file__, "--one-of-several", "short", "--device", device, "--rounds", str(5 * rounds)]

    def at_once(count: int, threads: int) -> float:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        runs = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(count)]
        return max(float(run.communicate()[0].split()[-1]) for run in runs)

    return {"after each other": 2 * at_once(1, threads), "at once": at_once(2, max(1, threads // 2))}


def measure_growth(root: str | None, engine: Engine, rounds: int) -> dict[str, Any]:
    """Milliseconds a step as width, batch, image size and the number of images grow."""
    x, y, _ = images(root, 32)
    found: dict[str, Any] = {}
    for name, values in {"width": (16, 32, 64), "batch_size": (8, 32, 128, 256)}.items():
        settings = {str(value): CycleGANConfig(**({"width": 16} | {name: value})) for value in values}
        steps = {value: our_step(x, y, engine, config)[0] for value, config in settings.items()}
        times = in_turns(steps, rounds, engine.device)
        found[name] = {value: 1000 * seconds for value, seconds in times.items()}
    found["images"] = {}
    for count in (1_000, 8_000, 64_000):
        many = torch.arange(count) % len(x)
        enlarged = LabelledImages(x.pixels[many], x.labels[many]), Images(y.pixels[many % len(y)])
        step, _ = our_step(*enlarged, engine, CycleGANConfig(width=16))
        found["images"][str(count)] = 1000 * in_turns({"step": step}, rounds, engine.device)["step"]
    found["image_size"] = {}
    for size in (32, 64, 128):
        x, y, _ = images(root, size) if size == 32 else (*resized(x, y, size), "")
        step, _ = our_step(x, y, engine, CycleGANConfig(width=16, batch_size=8))
        found["image_size"][str(size)] = 1000 * in_turns({"step": step}, rounds, engine.device)["step"]
    return found


def resized(x: LabelledImages, y: Images, size: int) -> tuple[LabelledImages, Images]:
    def enlarge(pixels: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(pixels[:256].float(), size, mode="bilinear").to(torch.uint8)

    return LabelledImages(enlarge(x.pixels), x.labels[:256]), Images(enlarge(y.pixels))


def measure_translation(x: LabelledImages, y: Images, engine: Engine, rounds: int) -> dict[str, float]:
    textbook = TextbookCycleGAN(x.pixels, y.pixels, 32, device=str(engine.device))
    _, method = our_step(x, y, engine, CycleGANConfig())
    some = x.pixels[:1024]
    translator = Translator(method, engine)
    times = in_turns(
        {"textbook": lambda: textbook.translate(some), "ours": lambda: translator.all(some, 0)}, rounds, engine.device
    )
    rates = {f"{name} images/s": len(some) / seconds for name, seconds in times.items()}
    return rates | {"ratio": times["textbook"] / times["ours"]}


def measure_classifier(x: LabelledImages, engine: Engine, rounds: int) -> dict[str, float]:
    textbook = TextbookClassifier(x.pixels, x.labels, device=str(engine.device))
    training = ClassifierTraining("bench", x, x.first(256), Config(), Task(3, x.pixels.shape[-1], DIGITS), engine, 0)
    numbers = iter(range(10**9))
    times = in_turns({"textbook": textbook.step, "ours": lambda: training.step(next(numbers))}, rounds, engine.device)
    return {f"{name} ms": 1000 * seconds for name, seconds in times.items()} | {
        "ratio": times["textbook"] / times["ours"]
    }


def measure_start(root: str | None) -> dict[str, float]:
    """Seconds of the command line: help, and preparing and showing a domain with an empty cache."""
    commands = {"--help": ["--help"], "data show digits": ["data", "show", "digits", "--out"]}
    if root:
        commands["data prepare mnist mnist-m usps"] = [
            "data",
            "prepare",
            "mnist",
            "mnist-m",
            "usps",
            "--data-root",
            root,
        ]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"ACCLIMATE_CACHE": folder}
        for name, words in commands.items():
            if words[-1] == "--out":
                words = [*words, f"{folder}/shown.png"]
            command = [sys.executable, "-m", "acclimate", *words]
            times = []
            for _ in range(1 if "prepare" in name else 5):
                begin = time.perf_counter()
                subprocess.run(command, env=environment, capture_output=True, check=True)
                times.append(time.perf_counter() - begin)
            found[name] = statistics.median(times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--data-root", default=os.environ.get("ACCLIMATE_DATA"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pipeline", type=Path, metavar="RUN", help="a new folder: run the pipeline short in it too")
    parser.add_argument("--one-of-several", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_of_several:
        one_of_several(arguments.one_of_several, arguments.device, arguments.rounds)
        return
    if arguments.pipeline and arguments.pipeline.exists():
        parser.error(f"{arguments.pipeline} exists, the pipeline needs a new folder")
    engine = Engine.choose(arguments.device)
    root, rounds = arguments.data_root, arguments.rounds
    x, y, pair = images(root, 32)
    x, y = x.first(4096), y.first(4096)
    result: dict[str, Any] = {"benchmark": "speed", "images": pair, "rounds": rounds}
    parts: dict[str, Callable[[], Any]] = {
        "ceilings": lambda: ceilings(engine, rounds),
        "cyclegan step": lambda: measure_steps(x, y, engine, rounds, result["ceilings"]),
        "epoch of 4,096 images, width 32, batch 32": lambda: measure_epoch(x, y, engine),
        "keras 3 step, width 32, batch 32": lambda: measure_keras(x, y, engine, rounds),
        "presets": lambda: measure_presets(root, arguments.device),
        "data parallel, ms a step of both": lambda: measure_processes(arguments.device),
        "two runs, ms a step of short": lambda: measure_two_runs(arguments.device, rounds),
        "growth, ms a step": lambda: measure_growth(root, engine, max(3, rounds // 3)),
        "translation": lambda: measure_translation(x, y, engine, rounds),
        "classifier step": lambda: measure_classifier(x, engine, rounds),
        "command line, s": lambda: measure_start(root),
    }
    if arguments.pipeline:
        parts["short pipeline"] = lambda: measure_pipeline(
            root, arguments.device, arguments.pipeline, result["cyclegan step"]
        )
    for name, measure in parts.items():
        say(name)
        result[name] = measure()
        text = written(result | environment(engine), arguments.out)  # after each part: one that fails takes nothing
    print(text)


def written(result: Mapping[str, Any], out: Path | None) -> str:
    """Return a result as JSON, which is also written to a file if there is one to be."""
    text = json.dumps(rounded(result), indent=1)
    if out:
        out.write_text(text + "\n")
    return text


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
