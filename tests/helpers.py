"""What tests share: settings that take seconds, random images, small data in the publishers' formats."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acclimate.data.sets import Images, LabelledImages
from acclimate.methods import find_config
from acclimate.methods.base import AdaptationData, Method

REAL_DATA = Path(os.environ.get("ACCLIMATE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

TINY: dict[str, Any] = {
    "image_size": 8,
    "steps": 6,
    "width": 4,
    "discriminator_width": 4,
    "batch_size": 8,
    "snapshots": 3,
    "repeats": 2,
    "classifier_epochs": 2,
    "classifier_images": 256,
    "precision": "float32",
    "adapt": "offline",
    "translation_noise": 0.0,
    "training_noise": 0.0,
    "classifier_batch_size": 256,
    "share_bars": False,
    "semantic_weight": 0.0,
    "classifier": "gta",
    "classifier_stage": "supervised",
    "augment": "none",
}
"""Settings that run the paper's pipeline, CycleGAN with its classifier stage, in seconds."""

FINISHED = TINY | {
    "classifier_lr": 3e-3, "classifier_batch_size": 64, "classifier_images": 512, "classifier_epochs": 4,
}  # fmt: skip
"""Of the run that tests share: its classifiers do not give all images the same class."""

SHORT = {"steps": 4, "epochs": 1, "width": 4, "latent": 8, "noise": 8}
"""For settings that are not in TINY, by the last part of their name."""


def tiny(method: str, **changes: Any) -> dict[str, Any]:
    """Return settings that run a method's whole pipeline in seconds, whatever fields its config has."""
    names = {field.name for field in fields(find_config(method))}
    short = {name: SHORT[last] for name in names if (last := name.rpartition("_")[2]) in SHORT}
    if method in ("self-training", "adamatch", "mean-teacher"):  # these are about another stage than the paper's
        names -= {"classifier", "classifier_stage", "augment"}
    return short | {name: value for name, value in TINY.items() if name in names} | changes


def batch(seed: int, count: int = 6, channels: int = 3, size: int = 16) -> Tensor:
    """Return random images, float in [-1, 1]."""
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def random_data(source: int = 20, target: int = 24, classes: int = 2, size: int = 16) -> AdaptationData:
    """Return random images of two domains."""
    pixels = torch.randint(0, 256, (max(source, target), 3, size, size), dtype=torch.uint8)
    labelled = LabelledImages(pixels[:source], torch.arange(source) % classes)
    return AdaptationData(labelled, labelled, Images(pixels[:target]))


def watch_updates(method: Method) -> list[tuple[str, set[str]]]:
    """Return a list that will hold, for each of a method's updates, its name and the parameters that it changed."""
    seen = []
    update = method._descend

    def spy(name: str, *arguments: Any) -> None:
        before = {key: parameter.detach().clone() for key, parameter in method.named_parameters()}
        update(name, *arguments)
        after = method.named_parameters()
        seen.append((name, {key for key, parameter in after if not torch.equal(parameter, before[key])}))

    method._descend = spy  # type: ignore[method-assign]
    return seen


def watch_losses(method: Method) -> list[tuple[str, float]]:
    """Return a list that will hold, for each of a method's updates, its name and the loss whose gradient it follows."""
    seen = []
    update = method._update

    def spy(name: str, loss: Tensor, *arguments: Any) -> None:
        seen.append((name, loss.item()))
        update(name, loss, *arguments)

    method._update = spy  # type: ignore[method-assign]
    return seen


def schedule(method: Method, optimizer: str, *numbers: int) -> tuple[list[tuple[Any, ...]], list[float]]:
    """Return what a method's only phase hands its step at some steps besides the images, and the learning rates."""
    handed, rates = [], []

    def step(x: Tensor, labels: Tensor, t: Tensor, *others: Any) -> dict[str, Tensor]:
        handed.append(others)
        rates.append(method.optimizers[optimizer].param_groups[0]["lr"])
        return {}

    method.step = step  # type: ignore[assignment]
    (phase,) = method.phases(random_data())
    for number in numbers:
        phase.step(number)
    return handed, rates


def gradients(method: Method, *networks: str) -> Tensor:
    """Return the gradients that a method's last updates left on some of its networks, in one vector."""
    named = [(name, one) for name, one in method.named_parameters() if name.partition(".")[0] in networks]
    return torch.cat([(torch.zeros_like(one) if one.grad is None else one.grad).flatten() for _, one in named])


def without_dropout(method: Method) -> Method:
    """Return a method whose dropout drops nothing."""
    for layer in method.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    return method


def parameters_of(method: Method, *networks: str) -> set[str]:
    """Return the names of all parameters of some of a method's networks."""
    return {name for name, _ in method.named_parameters() if name.partition(".")[0] in networks}


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def libsvm_bytes(pixels: np.ndarray, digits: np.ndarray) -> bytes:
    lines = []
    for image, digit in zip(pixels.reshape(len(pixels), -1), digits, strict=True):
        lines.append(f"{digit + 1} " + " ".join(f"{i}:{v / 127.5 - 1:.3f}" for i, v in enumerate(image, 1)))
    return bz2.compress(("\n".join(lines) + "\n").encode())


def tar_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
