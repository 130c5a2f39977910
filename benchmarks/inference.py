"""Networks that are only asked, in ways to ask them on a CPU: images a second, and how far the answers are off.

``python benchmarks/inference.py --out docs/results/inference-cpu.json`` asks the backbone of photos (at 160 pixels),
the U-Net of CycleGAN ``short`` and the classifier ``conv7`` (at 32), as acclimate does (in bfloat16, and channels last
the backbone), and as torch's graph compilers and onnxruntime do, in turns; images are noise, weights the backbone's own
or drawn. It needs the extra ``export``, and a C++ compiler for what is compiled. A way that fails is in the file with
its error.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import in_turns, written
from torch import Tensor, nn

from acclimate.networks import UNet, build_classifier
from acclimate.networks.backbones import LITE0_SIZE, BackboneFeatures, open_backbone
from acclimate.pipeline.environment import environment
from acclimate.progress import say
from acclimate.runs.features import CPU_BATCH
from acclimate.training.engine import Engine

Ask = Callable[[Tensor], Tensor]


def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    """Return networks, and images in [-1, 1] that each is asked for at once."""
    torch.manual_seed(0)
    found = {
        "backbone efficientnet-lite0, 160 px": BackboneFeatures(
            "efficientnet-lite0", open_backbone("efficientnet-lite0"), LITE0_SIZE
        ),
        "translator U-Net, 32 px": UNet(3, 16, 32, dropout=0.0),
        "classifier conv7, 32 px": build_classifier("conv7", 3, 10, 32),
    }
    sizes = {"backbone": (CPU_BATCH, LITE0_SIZE), "translator": (250, 32), "classifier": (250, 32)}
    batches = {name: sizes[name.split()[0]] for name in found}
    return {
        name: (network.eval().requires_grad_(False), torch.rand(batches[name][0], 3, *batches[name][1:] * 2) * 2 - 1)
        for name, network in found.items()
    }


def as_we_do(network: nn.Module, engine: Engine, laid_out: torch.memory_format) -> Ask:
    network = network.to(memory_format=laid_out)  # type: ignore[call-overload]

    def ask(images: Tensor) -> Tensor:
        with torch.no_grad(), engine.autocast():
            found: Tensor = network(images.contiguous(memory_format=laid_out))
        return found.float()

    return ask


def compiled(network: nn.Module, images: Tensor, engine: Engine, mode: str) -> Ask:
    """Return what inductor makes of it, weights frozen into the graph."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    torch.compiler.reset()
    ready = torch.compile(network, mode=mode, dynamic=False)

    def ask(images: Tensor) -> Tensor:
        with torch.no_grad(), engine.autocast():
            found: Tensor = ready(images)
        return found.float()

    ask(images)
    return ask


def frozen(network: nn.Module, images: Tensor) -> Ask:
    """Return TorchScript's frozen graph, its operations fused by oneDNN."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch.jit.optimize_for_inference(torch.jit.trace(network, images))
        graph(images), graph(images)

    def ask(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = graph(images)
        return found

    return ask


def by_onnxruntime(network: nn.Module, images: Tensor, folder: Path, int8: bool) -> Ask:
    """Return onnxruntime's; with ``int8`` weights and activations quantised, ranges from the images themselves."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    file = folder / "exact.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (images,), file, input_names=["images"], dynamo=True, verbose=False)
    if int8:

        class Once(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self.left = [{"images": images.numpy()}]

            def get_next(self) -> Any:
                return self.left.pop() if self.left else None

        quant_pre_process(str(file), str(folder / "prepared.onnx"))
        quantize_static(str(folder / "prepared.onnx"), str(folder / "int8.onnx"), Once(), per_channel=True)
        file = folder / "int8.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(np.asarray(session.run(None, {"images": images.numpy()})[0]))


def ways(network: nn.Module, images: Tensor, folder: Path) -> dict[str, Ask | str]:
    """Return every way to ask a network, or why there is none."""
    engine, exact = Engine.choose("cpu"), Engine()
    last = torch.channels_last
    makers: dict[str, Callable[[nn.Module], Ask]] = {
        "torch, float32": lambda one: as_we_do(one, exact, torch.contiguous_format),
        "torch, bfloat16": lambda one: as_we_do(one, engine, torch.contiguous_format),
        "torch, float32, channels last": lambda one: as_we_do(one, exact, last),
        "torch, bfloat16, channels last": lambda one: as_we_do(one, engine, last),
        "torch.compile, frozen, float32": lambda one: compiled(one, images, exact, "default"),
        "torch.compile, frozen, bfloat16": lambda one: compiled(one, images, engine, "default"),
        "torch.compile, max-autotune, bfloat16": lambda one: compiled(one, images, engine, "max-autotune"),
        "TorchScript frozen, float32": lambda one: frozen(one, images),
        "onnxruntime, float32": lambda one: by_onnxruntime(one, images, folder, int8=False),
        "onnxruntime, int8": lambda one: by_onnxruntime(one, images, folder, int8=True),
    }
    found: dict[str, Ask | str] = {}
    for name, make in makers.items():
        say(f"  {name}")
        try:
            found[name] = make(copy.deepcopy(network))
        except Exception as error:
            found[name] = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    return found


def measure(network: nn.Module, images: Tensor, rounds: int) -> dict[str, Any]:
    """Return images a second and the mean difference from float32 over the answers' deviation, by way."""
    with tempfile.TemporaryDirectory() as folder:
        every = ways(network, images, Path(folder))
        asked = {name: ask for name, ask in every.items() if not isinstance(ask, str)}
        with torch.no_grad():
            wanted = network(images)
        off = {name: ((ask(images) - wanted).abs().mean() / wanted.std()).item() for name, ask in asked.items()}
        seconds = in_turns({name: lambda ask=ask: ask(images) for name, ask in asked.items()}, rounds, images.device)
    return {
        name: {"images/s": round(len(images) / seconds[name], 1), "off": round(off[name], 4)}
        if name in asked
        else {"images/s": every[name], "off": ""}
        for name in every
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0, help="0 for all cores")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {"benchmark": "inference", "rounds": arguments.rounds}
    for name, (network, images) in networks().items():
        say(name)
        result[name] = measure(network, images, arguments.rounds)
        text = written(result | environment(Engine.choose("cpu")), arguments.out)
    print(text)


if __name__ == "__main__":
    main()
