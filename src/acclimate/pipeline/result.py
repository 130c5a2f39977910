"""A run's result: accuracies with the protocol that they were measured under, costs, and what they depend on."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import torch

from acclimate._version import __version__
from acclimate.domains import check_pair, open_domain
from acclimate.errors import DataError
from acclimate.forecast import forecast_accuracy
from acclimate.state import load_tree
from acclimate.training import Engine

if TYPE_CHECKING:
    from acclimate.adaptation import Adaptation

SCHEMA = 1
FORECAST_SAMPLE = 2_000
"""Images a domain that the target accuracy is forecast from."""
KINDS = ("source-only", "adapted", "target-only")
"""The classifiers that a run trains."""


def build_result(adaptation: Adaptation) -> dict[str, Any]:
    """Measure every trained classifier on the target's test images; return the result with its protocol."""
    own = adaptation.own_kind
    measured: dict[str, Any] = dict.fromkeys(KINDS)
    ensemble = None
    if adaptation.has_target_labels("test"):
        test = adaptation.target.labelled("test")
        measured |= {kind: summary(adaptation.classifier(kind).accuracies(test)) for kind in adaptation.trained_kinds()}
        right = adaptation.classifier().probabilities(test.pixels).argmax(1) == test.labels
        ensemble = round(right.float().mean().item(), 6)
    stored = adaptation.run.config
    return {
        "schema": SCHEMA,
        "method": adaptation.method_class.name,
        "preset": stored["preset"],
        "changes": stored.get("changes", {}),
        "source": stored["source"],
        "target": stored["target"],
        "seed": adaptation.config.seed,
        "accuracy": measured[own],
        "ensemble_accuracy": ensemble,
        "forecast": _forecast(adaptation),
        "baselines": {"source_only": measured["source-only"], "target_only": measured["target-only"]},
        "selection": {
            "rule": adaptation.config.select,
            "checkpoint": adaptation.chosen_snapshot if adaptation.method_class.adapts else 0,
            "target_labels_used": False,
        },
        "protocol": {
            "splits": {name: list(getattr(adaptation, name).sizes().values()) for name in ("source", "target")},
            "content": adaptation.content,
            "transductive": False,
            "data": {domain.name: domain.manifest()["md5"] for domain in (adaptation.source, adaptation.target)},
        },
        "config": asdict(adaptation.config),
        **_costs(adaptation),
        **environment(adaptation.engine),
    }


def _forecast(adaptation: Adaptation) -> dict[str, Any]:
    """Forecast the accuracy on the target from its training images, whose labels stay unread."""
    classifier, val = adaptation.classifier(), adaptation.validation(adaptation.own_kind).first(FORECAST_SAMPLE)
    target = adaptation.data.target_train.first(FORECAST_SAMPLE)
    on_val, on_target = (classifier.each_probabilities(images.pixels) for images in (val, target))
    adapts = adaptation.method_class.adapts
    unadapted = adaptation.classifier("source-only").each_probabilities(target.pixels) if adapts else []
    return forecast_accuracy(on_val, val.labels, on_target, unadapted)


def measure(adaptation: Adaptation, domain: str | Path | None = None) -> dict[str, Any]:
    """Measure every trained classifier on a labelled domain's test images; the run's target by default.

    Raises
    ------
    DataError
        The domain has other classes, or no labels.
    """
    classes = adaptation.source.classes
    tested = adaptation.target if domain is None else open_domain(domain, adaptation.data_options, classes)
    check_pair(adaptation.source, tested)
    if not tested.has_labels:
        raise DataError(f"{tested.name} has no labels of the classes {', '.join(classes[:12])}: nothing to measure")
    test = tested.labelled("test")
    accuracy = {kind: summary(adaptation.classifier(kind).accuracies(test)) for kind in adaptation.trained_kinds()}
    return {"domain": tested.name, "test_images": len(test), "accuracy": accuracy}


def _costs(adaptation: Adaptation) -> dict[str, Any]:
    """Add up what each part took, over every process that worked on the run."""
    phases = json.loads(path.read_text()) if (path := adaptation.method_done).exists() else {}
    written = [json.loads(path.read_text()) for path in (adaptation.run.path / "translated").glob("*.json")]
    models = {path.stem: load_tree(path) for path in (adaptation.run.path / "models").glob("*.safetensors")}
    kinds = {kind: sum(model["seconds"] for name, model in models.items() if name.startswith(kind)) for kind in KINDS}
    chosen = adaptation.run.path / "selection.json"
    selection = json.loads(chosen.read_text())["seconds"] if chosen.exists() else 0.0
    translator, once = sum(phases.values()), sum(file["seconds"] for file in written)
    on_the_fly = [model["translation"] for model in models.values()]
    seconds = {
        "translator": translator,
        "selection": selection,
        "translation": once + sum(cost["seconds"] for cost in on_the_fly),
        "classifier": kinds[adaptation.own_kind],
        "source_only": kinds["source-only"],
        "target_only": kinds["target-only"],
        "total": translator + selection + once + sum(kinds.values()),
    }
    return {
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "translation": {
            "images": sum(file["images"] for file in written) + sum(cost["images"] for cost in on_the_fly),
            "bytes_on_disk": folder_bytes(adaptation.run.path / "translated"),
        },
    }


def summary(accuracies: Sequence[float], spread: str = "classifier seeds") -> dict[str, Any]:
    """Return mean, population standard deviation (the paper's), the runs, and what they are."""
    rounded = [round(value, 6) for value in accuracies]
    return {"mean": round(fmean(rounded), 6), "std": round(pstdev(rounded), 6), "runs": rounded, "spread": spread}


def environment(engine: Engine) -> dict[str, Any]:
    """Return what a result depends on besides its settings: device, precision, threads, versions, commit, memory."""
    device = engine.device
    if device.type == "cuda":
        name, peak = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device) / 2**20
    else:
        name, peak = f"{_processor()}, {os.cpu_count()} cores", _peak_memory()
    return {
        "peak_memory_mb": round(peak, 1),
        "device": name,
        "precision": "bfloat16" if engine.dtype else "float32",
        "threads": torch.get_num_threads(),
        "processes": engine.processes.count,
        "versions": {"acclimate": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "commit": _commit(),
    }


def _peak_memory() -> float:
    """Return the MB that this process has held at most.

    The kernel's own mark where there is one: getrusage starts from what the process held that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """Return the commit of the source tree that this code runs from, empty where it is installed from a package."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here)]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=False)
        if tracked.returncode:
            return ""
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
