"""What one GPU does with acclimate, in one command of a few minutes: first whether it is right, then how fast it is.

``python benchmarks/gpu.py --data-root DATA --out docs/results/gpu.json`` prints after each part and writes its file as
it goes; a part that fails is in it with its error, and the next one follows. ``--rehearse`` runs every part in tiny
sizes, on a CPU too. Nothing is fetched: DATA has the publishers' files of MNIST and BSDS500, and for ``svhn`` SVHN's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from speed import in_turns, synchronise
from textbook import TextbookCycleGAN, TextbookSelfTraining

from acclimate.data.augmentation import POLICIES
from acclimate.data.domains import DataOptions, open_domain
from acclimate.data.images import to_float
from acclimate.data.sets import Images, LabelledImages
from acclimate.methods import find_config, find_method
from acclimate.methods.base import AdaptationData, Method, Task
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.methods.cyclegan.method import CycleGAN
from acclimate.pipeline.environment import environment
from acclimate.pipeline.self_training import SelfTraining
from acclimate.runs.directory import Run
from acclimate.runs.evaluation import Classifier
from acclimate.runs.translation import Translator
from acclimate.training.compilation import compile_networks
from acclimate.training.engine import Engine
from acclimate.training.loop import Phase, train

DIGITS = tuple("0123456789")
KINDS = ("cyclegan", "pixelda", "dann", "adamatch")
"""A method that redraws, one that redraws and classifies, one that moves features, one that labels the target."""


class Bench:
    """Images, device and sizes of everything that is measured."""

    def __init__(self, device: str, root: Path | None, target: str, tiny: bool) -> None:
        self.tiny, self.size = tiny, 16 if tiny else 32
        self.engine = Engine.choose(device)
        self.exact = replace(self.engine, dtype=None)
        self.eager = replace(self.engine, replays=False)
        options = DataOptions(image_size=self.size, download=False, **({"data_root": root} if root else {}))
        names = ("digits", "digits-m") if tiny else ("mnist", target)
        self.source_domain, self.target_domain = (open_domain(name, options) for name in names)
        self.source: LabelledImages = self.source_domain.labelled("train")
        self.target: Images = self.target_domain.images("train")
        self.task = Task(3, self.size, DIGITS)

    def few(self, many: int, few: int = 2) -> int:
        return few if self.tiny else many

    def data(self, count: int | None = None) -> AdaptationData:
        source = self.source.first(count)
        return AdaptationData(source, source.first(64), self.target.first(count), paired=True)

    def method(self, name: str, engine: Engine | None = None, **settings: Any) -> Method:
        config_class = find_config(name)
        config = config_class.preset("short" if "short" in config_class.presets else "fast", **settings)
        torch.manual_seed(0)
        return find_method(name)(config, self.task, engine or self.engine)

    def stage(self, engine: Engine | None = None, **settings: Any) -> SelfTraining:
        config = find_config("self-training")(ramp_start=0, ramp_end=1, **settings)
        return SelfTraining("stage", self.source, None, self.target, config, self.task, engine or self.engine, 0)


def ceilings(bench: Bench) -> dict[str, float]:
    """What the device multiplies and moves at most, measured."""
    device, found = bench.engine.device, {}
    side = bench.few(8192, 128)
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        seconds = in_turns({"product": lambda a=a, b=b: [a @ b for _ in range(10)]}, 5, device)["product"] / 10
        found[f"{dtype}".removeprefix("torch.") + "_tflops"] = round(2 * side**3 / seconds / 1e12, 2)
    memory = torch.empty(bench.few(2**30, 2**20), dtype=torch.uint8, device=device)
    other = torch.empty_like(memory)
    seconds = in_turns({"copy": lambda: [other.copy_(memory) for _ in range(10)]}, 5, device)["copy"] / 10
    return found | {"copy_gb_per_second": round(2 * memory.nbytes / seconds / 1e9, 1)}


def against_cpu(bench: Bench) -> dict[str, Any]:
    """Fifty steps in float32 on the device and on the CPU: how far the losses come apart, by step."""
    steps, cpu = bench.few(50, 3), Engine()
    settings = {"dropout": 0.0, "training_noise": 0.0, "width": 8, "discriminator_width": 8, "steps": steps}
    traces = []
    for engine in (cpu, bench.exact):
        method = bench.method("cyclegan", cpu, **settings)
        weights = method.state_dict()
        method = bench.method("cyclegan", engine, **settings)
        method.load_state_dict(weights)  # drawn on the CPU for both
        (phase,) = method.phases(bench.data(1024))
        traces.append([float(phase.step(number)["generators"].detach()) for number in range(steps)])
    apart = [abs(one - two) / abs(one) for one, two in zip(*traces, strict=True)]
    return {"first_step": apart[0], "largest_of_first_ten": max(apart[:10]), "last": apart[-1], "losses": traces}


def resumed(bench: Bench) -> dict[str, Any]:
    """Train, and train half, stop, resume: are the weights the same to the byte? And without replays?"""
    steps = bench.few(40, 4)

    def cyclegan(engine: Engine) -> Phase:
        method = bench.method("cyclegan", engine, width=8, discriminator_width=8, steps=steps)
        return method.phases(bench.data(1024))[0]

    def stage(engine: Engine) -> Phase:
        return bench.stage(engine, stage_steps=steps, classifier_batch_size=32, target_batch_size=32).phase

    def trained(build: Callable[[Engine], Phase], engine: Engine, *stops: int) -> dict[str, torch.Tensor]:
        with tempfile.TemporaryDirectory() as folder:
            run = Run.create(Path(folder) / "run", {})
            for stop in stops:
                phase = build(engine)
                phase.steps = stop
                train(phase, run, engine, 0, checkpoint_every=steps // 2)
        return phase.state["networks" if "networks" in phase.state else "student"].state_dict()

    found: dict[str, Any] = {"steps": steps}
    for name, build in {"cyclegan": cyclegan, "self-training": stage}.items():
        whole = trained(build, bench.engine, steps)
        halves = trained(build, bench.engine, steps // 2, steps)
        eager = trained(build, bench.eager, steps)
        apart = max(float((value.float() - eager[key].float()).abs().max()) for key, value in whole.items())
        found[name] = {
            "equal_to_the_byte": all(torch.equal(value, halves[key]) for key, value in whole.items()),
            "apart_from_eager_at_most": apart,
        }
    return found


def kinds(bench: Bench) -> dict[str, Any]:
    """Some steps of a method of each kind, and of the stage: finite, and no wait for the device inside a step."""
    found = {}
    cuda = bench.engine.device.type == "cuda"
    for name in (*KINDS, "self-training"):
        if name == "self-training":
            step: Callable[[int], Mapping[str, Any]] = bench.stage(stage_steps=100).step
        else:
            step = bench.method(name).phases(bench.data())[-1].step
        values = [step(number) for number in range(bench.few(20))]
        waits = 0
        if cuda:
            torch.cuda.set_sync_debug_mode("error")
            try:
                step(len(values))
            except RuntimeError as error:
                waits = f"{error}".splitlines()[0]  # type: ignore[assignment]
            finally:
                torch.cuda.set_sync_debug_mode("default")
        finite = all(bool(torch.isfinite(value.detach()).all()) for one in values for value in one.values())
        found[name] = {
            "finite": finite,
            "waits_inside_a_step": waits,
            "loss": float(next(iter(values[-1].values())).detach()),
        }
    return found


def cyclegan_step(bench: Bench) -> dict[str, Any]:
    """A step of ``notebook``: the textbook's, ours operation by operation, ours replayed, ours compiled; ms each."""
    config = CycleGANConfig.preset("notebook", steps=10_000)
    if bench.tiny:
        config = replace(config, width=4, discriminator_width=4, batch_size=8)
    data = bench.data(4096)

    def ours(engine: Engine, compiled: bool = False) -> Callable[[int], Any]:
        torch.manual_seed(0)
        method = CycleGAN(config, bench.task, engine)
        if compiled:
            compile_networks(method)
        return method.phases(data)[0].step

    x, y = data.source_train.pixels, data.target_train.pixels
    peer = TextbookCycleGAN(x, y, config.width, config.batch_size, str(bench.engine.device))
    steps = {"textbook": lambda _: peer.step(), "ours, eager": ours(bench.eager), "ours": ours(bench.engine)}
    if bench.engine.device.type == "cuda":
        steps["ours, eager, compiled"] = ours(bench.eager, compiled=True)
    return _steps_in_turns(bench, steps)


def stage_step(bench: Bench) -> dict[str, Any]:
    """A step of self-training, 64 + 64 images: the textbook's, ours operation by operation, ours replayed; ms each."""
    peer = TextbookSelfTraining(bench.source, bench.target, POLICIES["symbols"], 64, str(bench.engine.device))
    return _steps_in_turns(
        bench,
        {
            "textbook": lambda _: peer.step(),
            "ours, eager": bench.stage(bench.eager, stage_steps=10**6).step,
            "ours": bench.stage(stage_steps=10**6).step,
        },
    )


def _steps_in_turns(bench: Bench, steps: Mapping[str, Callable[[int], Any]]) -> dict[str, float]:
    count = bench.few(20)

    def several(step: Callable[[int], Any]) -> Callable[[], Any]:
        numbers = iter(range(10**6))
        return lambda: [step(next(numbers)) for _ in range(count)]

    seconds = in_turns({name: several(step) for name, step in steps.items()}, bench.few(5), bench.engine.device)
    return {name: round(1000 * value / count, 3) for name, value in seconds.items()}


def throughput(bench: Bench) -> dict[str, Any]:
    """Images a second: redrawn by ``notebook``'s generator, classified by each network."""
    device = bench.engine.device
    pixels = bench.source.pixels[: bench.few(20_000, 64)].to(device)
    settings = {"width": 4, "discriminator_width": 4} if bench.tiny else {}
    method = CycleGAN(CycleGANConfig.preset("notebook", **settings), bench.task, bench.engine)
    translator = Translator(method, bench.engine)
    jobs: dict[str, Callable[[], Any]] = {"redrawn": lambda: [translator(part) for part in pixels.split(1000)]}
    for name in ("gta", "conv7", "wrn-28-2"):
        network = bench.task.classifier(name).eval()
        bench.engine.place(network)

        @torch.no_grad()
        def classify(network: torch.nn.Module = network) -> None:
            with bench.engine.autocast():
                for part in pixels.split(1000):
                    network(to_float(part))

        jobs[f"classified by {name}"] = classify
    return {name: round(len(pixels) / seconds) for name, seconds in in_turns(jobs, 3, device).items()}


def notebook(bench: Bench) -> dict[str, Any]:
    """The author's 6,400 steps, wall time; a peak of memory."""
    config = CycleGANConfig.preset("notebook")
    if bench.tiny:
        config = replace(config, width=4, discriminator_width=4, steps=4, batch_size=8)
    torch.manual_seed(0)
    method = CycleGAN(config, bench.task, bench.engine)
    (phase,) = method.phases(bench.data(4096))
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        train(phase, Run.create(Path(folder) / "run", {}), bench.engine, 0)
        synchronise(bench.engine.device)
        seconds = time.perf_counter() - begin
    return {
        "steps": phase.steps,
        "seconds": round(seconds, 1),
        "memory_mb": environment(bench.engine)["peak_memory_mb"],
    }


def adapted(bench: Bench, classifier: str, batch: int, steps: int) -> dict[str, Any]:
    """Self-training as a person runs it, on a device's scale: accuracy on the target's test images over wall time.

    The test images' labels are read for this curve alone; nothing is chosen by it.
    """
    settings = {"classifier_batch_size": batch, "target_batch_size": batch, "classifier": classifier}
    steps = bench.few(steps, 4)
    config = find_config("self-training")(stage_steps=steps, **settings)
    stage = SelfTraining("adapted-0", bench.source, None, bench.target, config, bench.task, bench.engine, 0)
    test, curve, begin, spent = bench.target_domain.labelled("test"), [], time.perf_counter(), 0.0
    for number in range(steps):
        stage.step(number)
        if (number + 1) % max(1, steps // 10) == 0:
            synchronise(bench.engine.device)
            pause = time.perf_counter()
            (accuracy,) = Classifier([stage.teacher], DIGITS, bench.engine).accuracies(test)
            classes, _ = stage.check()
            curve.append(
                {"step": number + 1, "seconds": round(pause - begin - spent, 1), "accuracy": round(accuracy, 6)}
            )
            curve[-1] |= {name: round(value, 4) for name, value in classes.items()}
            print(json.dumps(curve[-1]), flush=True)
            spent += time.perf_counter() - pause
    names = [domain.name for domain in (bench.source_domain, bench.target_domain)]
    return {"pair": names, "settings": settings | {"steps": steps}, "inductive": True, "seed": 0, "curve": curve}


def parts(bench: Bench, wanted: str) -> dict[str, Callable[[], Any]]:
    """Return what is to be done, shortest and most telling first."""
    all_parts: dict[str, Callable[[], Any]] = {
        "ceilings": lambda: ceilings(bench),
        "against_cpu": lambda: against_cpu(bench),
        "resumed": lambda: resumed(bench),
        "kinds": lambda: kinds(bench),
        "cyclegan_step_ms": lambda: cyclegan_step(bench),
        "self_training_step_ms": lambda: stage_step(bench),
        "images_per_second": lambda: throughput(bench),
        "notebook": lambda: notebook(bench),
        "adapted_conv7_wide": lambda: adapted(bench, "conv7-wide", 128, 10_000),
        "adapted_wrn": lambda: adapted(bench, "wrn-28-2", 128, 5_000),
    }
    return {name: part for name, part in all_parts.items() if wanted == "all" or name in wanted.split(",")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--target", default="mnist-m", help="mnist-m, svhn-8k or usps")
    parser.add_argument("--parts", default="all", help="names with commas between")
    parser.add_argument("--seconds", type=float, default=450.0, help="start no part after this")
    parser.add_argument("--rehearse", action="store_true", help="every part in tiny sizes, on embedded images")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    start = time.monotonic()
    bench = Bench(arguments.device, arguments.data_root, arguments.target, arguments.rehearse)
    result: dict[str, Any] = {
        "rehearsal": arguments.rehearse,
        "seconds_of_preparation": round(time.monotonic() - start, 1),
        "domains": [
            {"name": domain.name, "sizes": domain.sizes(), "md5": domain.manifest()["md5"]}
            for domain in (bench.source_domain, bench.target_domain)
        ],
    }
    for name, part in parts(bench, arguments.parts).items():
        if time.monotonic() - start > arguments.seconds:
            result[name] = {"left_out": "no time left"}
            continue
        begin = time.monotonic()
        try:
            result[name] = part()
        except Exception as error:
            traceback.print_exc()
            result[name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        shown = {key: value for key, value in result[name].items() if key not in ("losses", "curve")}
        print(f"{name} ({time.monotonic() - begin:.0f} s): {json.dumps(shown)}", flush=True)
        whole = result | environment(bench.engine)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
