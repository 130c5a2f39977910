"""Commands that put a run to use: on a labelled set, on image files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Literal


def evaluate(run: Path, domain: str | None = None, /, *, device: str | None = None) -> None:
    """Measure a run's classifiers on the target's test images, or on another labelled domain or folder.

    Parameters
    ----------
    run
        The run directory.
    domain
        A domain or folder with the same classes; by default the run's target.
    device
        Where to compute; by default where the run was trained.
    """
    from acclimate.runs.adaptation import Adaptation
    from acclimate.runs.inference import measure

    print(json.dumps(measure(Adaptation(run, device), domain), indent=1))


def translate(
    run: Path, source: str, output: Path, /, *, snapshot: int | None = None, device: str | None = None
) -> None:
    """Redraw images in the target's style, as PNG files that keep class folders and names.

    Parameters
    ----------
    run
        The run directory.
    source
        A domain, or a folder of images in any nesting.
    output
        The folder to write; it must be empty or not there yet.
    snapshot
        The step of the translator's snapshot; by default the one that the run chose.
    device
        Where to compute; by default where the run was trained.
    """
    from acclimate.runs.adaptation import Adaptation
    from acclimate.runs.inference import translate_files

    count = translate_files(Adaptation(run, device), source, output, snapshot)
    print(f"wrote {count:,} images to {output}")


def predict(
    run: Path,
    images: list[Path],
    /,
    *,
    format: Literal["csv", "jsonl"] = "csv",  # noqa: A002
    strict: bool = False,
    device: str | None = None,
) -> None:
    """Classify images with a run's adapted classifier; file, class and probability go to standard output.

    Parameters
    ----------
    run
        The run directory.
    images
        Image files, or folders of them in any nesting.
    format
        csv with a header, or one JSON object a line.
    strict
        Stop at the first unreadable image instead of skipping it.
    device
        Where to compute; by default where the run was trained.
    """
    from acclimate.runs.adaptation import Adaptation
    from acclimate.runs.inference import predict_files

    writer = csv.writer(sys.stdout, lineterminator="\n")
    predictions = predict_files(Adaptation(run, device), images, strict=strict)
    for number, (file, name, probability) in enumerate(predictions):
        if format == "csv":
            if number == 0:
                writer.writerow(["file", "class", "probability"])
            writer.writerow([file, name, f"{probability:.6f}"])
        else:
            print(json.dumps({"file": str(file), "class": name, "probability": round(probability, 6)}))
