"""A run's classifier or translator for use without acclimate: ONNX, a torch.export program, weights, a card."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from acclimate.errors import AcclimateError
from acclimate.pipeline.card import Weights, What, about_run, card
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.deployed import deployed_classifier, deployed_translator
from acclimate.runs.familiar import target_images
from acclimate.runs.translation import Translator

CHECKED = 256
"""Real images that an export is compared on."""

CLOSE = 1e-3
"""Difference of a probability from the run's own that float32 may have; of redrawn images, in steps of 255, one."""

BATCH = 64

OPSET = 18

EXAMPLE = Template('''"""Usage: python predict.py IMAGES... (needs numpy, Pillow and onnxruntime)"""

import json, pathlib, sys
import numpy, onnxruntime
from PIL import Image, ImageOps

model = onnxruntime.InferenceSession(str(pathlib.Path(__file__).with_name("model.onnx")))
about = json.loads(model.get_modelmeta().custom_metadata_map["acclimate"])
size, by = (about["image_size"],) * 2, Image.Resampling[about["interpolation"].upper()]


def as_rgb(image):
    if image.mode == "F" or image.mode.startswith("I"):  # more than 8 bits
        values = numpy.asarray(image, float)
        steps = (step for step in (1, 255, 1023, 4095, 16383, 65535) if values.max() <= step)
        low, high = about["levels"] or (min(values.min(), 0), next(steps, values.max()))
        scaled = (values - low) * 255 / max(high - low, 1e-30)
        image = Image.fromarray(numpy.clip(scaled + 0.5, 0, 255).astype(numpy.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


for name in sys.argv[1:]:
    image = as_rgb(ImageOps.exif_transpose(Image.open(name)))
    image = $fit.convert("RGB" if about["channels"] == 3 else "L")
    pixels = numpy.asarray(image, numpy.uint8).reshape(*size, -1).transpose(2, 0, 1)[None]
    $use
''')

FITS = {
    "stretch": "image.resize(size, by)",
    "crop": "ImageOps.fit(image, size, by)",
    "pad": "ImageOps.pad(image, size, by)",
}

USES = {
    "classifier": (
        '(probabilities,) = model.run(None, {"images": pixels})[0]\n'
        '    print(name, about["classes"][probabilities.argmax()], f"{probabilities.max():.3f}")'
    ),
    "translator": (
        '(redrawn,) = model.run(None, {"images": pixels})[0]\n'
        '    Image.fromarray(redrawn.transpose(1, 2, 0).squeeze()).save(pathlib.Path(name).stem + "-redrawn.png")'
    ),
}


@dataclass(frozen=True)
class Parity:
    """How an exported file compares with the run itself on real images.

    Attributes
    ----------
    images
        How many were compared.
    same_class
        Share that get the same class; None for a translator.
    largest_difference
        Of a probability, or of a redrawn value in [0, 255].
    """

    images: int
    same_class: float | None
    largest_difference: float

    def __str__(self) -> str:
        same = "" if self.same_class is None else f"{100 * self.same_class:.1f} % the same class, "
        return f"{self.images} images, {same}largest difference {self.largest_difference:.2g}"


def export(run: Adaptation, out: Path, what: What = "classifier", weights: Weights = "float32") -> dict[str, Parity]:
    """Write ``model.onnx``, ``model.pt2``, ``model.safetensors``, ``predict.py`` and a card ``README.md`` to a folder.

    Preprocessing to the working size is in the metadata; the range, mean and deviation, features, temperature and the
    mean over trainings are in the graph, which takes uint8 images ``[N, C, H, W]``, any N. With other ``weights`` than
    float32 the ONNX file has these.

    Returns
    -------
    dict
        By file, how it compares with the run itself.

    Raises
    ------
    AcclimateError
        The extra ``export`` is not installed, ``out`` is not empty, or an exported file says something else.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise AcclimateError(f"export needs {error.name}: pip install 'acclimate[export]'") from None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AcclimateError(f"{out} is not empty: name another folder")
    adaptation = Adaptation(run.run, "cpu")
    adaptation.engine = replace(adaptation.engine, dtype=None)
    if what == "translator":
        pixels = adaptation.data.source_val.pixels[:CHECKED]
        network = deployed_translator(adaptation)
        own: Callable[[Tensor], Tensor] = Translator(adaptation.translator().method, adaptation.engine)
    else:
        pixels = target_images(adaptation, CHECKED, CHECKED)[1]
        network, own = deployed_classifier(adaptation), adaptation.calibrated().probabilities
    network.requires_grad_(False)
    wanted = _in_batches(own, pixels)
    about = about_run(adaptation, what, weights)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        folder = Path(temporary, "export")  # of the usual permissions, which a temporary folder has not
        folder.mkdir()
        found = _write(network, folder, about, pixels, wanted)
        for name, parity in found.items():
            exact = name != "model.onnx" or weights == "float32"
            if exact and parity.largest_difference > (CLOSE if what == "classifier" else 1.0):
                raise AcclimateError(f"{name} says something else than the run: {parity}")
        example = EXAMPLE.substitute(fit=FITS[adaptation.config.fit], use=USES[what])
        (folder / "predict.py").write_text(example, encoding="utf-8")
        compared = {name: str(parity) for name, parity in found.items()}
        (folder / "README.md").write_text(card(adaptation, about, compared), encoding="utf-8")
        shutil.copytree(folder, out, dirs_exist_ok=True)
    return found


def _write(
    network: nn.Module, folder: Path, about: Mapping[str, Any], pixels: Tensor, wanted: Tensor
) -> dict[str, Parity]:
    """Write the model files, and compare what can be run with what the run says."""
    program = _program(network, pixels)
    torch.export.save(program, folder / "model.pt2", extra_files={"acclimate.json": json.dumps(about)})
    _write_onnx(program, folder / "model.onnx", about)
    _write_weights(network, folder / "model.safetensors", about)
    loaded = torch.export.load(folder / "model.pt2").module()
    both: dict[str, Callable[[Tensor], Tensor]] = {"model.pt2": loaded, "model.onnx": _onnx(folder / "model.onnx")}
    return {name: _parity(_in_batches(compute, pixels), wanted, about["what"]) for name, compute in both.items()}


def _program(network: nn.Module, pixels: Tensor) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes = ({0: torch.export.Dim("batch")},)
            return torch.export.export(network, (pixels[:2],), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        first = f"{error}".strip().splitlines()[0]
        raise AcclimateError(f"this run cannot be exported: {type(error).__name__}: {first}") from error


def _write_onnx(program: torch.export.ExportedProgram, file: Path, about: Mapping[str, Any]) -> None:
    import onnx

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        exact = Path(folder) / "model.onnx"
        torch.onnx.export(
            program,
            (),
            exact,
            input_names=["images"],
            output_names=["probabilities" if about["what"] == "classifier" else "redrawn"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        model = onnx.load(exact)
        if about["weights"] == "float16":
            from onnxruntime.transformers.float16 import convert_float_to_float16

            model = convert_float_to_float16(model, keep_io_types=True)
        elif about["weights"] == "int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic

            model.graph.ClearField("value_info")  # shapes that onnx 1.17 takes for those of the quantised weights
            onnx.save(model, exact)
            quantize_dynamic(exact, Path(folder) / "int8.onnx", weight_type=QuantType.QUInt8)
            model = onnx.load(Path(folder) / "int8.onnx")
    entry = model.metadata_props.add()
    entry.key, entry.value = "acclimate", json.dumps(about)
    onnx.save(model, file)


def _write_weights(network: nn.Module, file: Path, about: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    state = {name: value.detach().contiguous().clone() for name, value in network.state_dict().items()}
    save_file(state, file, metadata={"acclimate": json.dumps(about)})


def _onnx(file: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(np.asarray(session.run(None, {"images": pixels.numpy()})[0]))


@torch.no_grad()
def _in_batches(compute: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    return torch.cat([compute(part) for part in pixels.split(BATCH)])


def _parity(found: Tensor, wanted: Tensor, what: What) -> Parity:
    same = (found.argmax(1) == wanted.argmax(1)).double().mean().item() if what == "classifier" else None
    return Parity(len(wanted), same, float((found.double() - wanted.double()).abs().max()))
