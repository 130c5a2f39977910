"""Commands that put a run to use: on a labelled set, on image files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Literal

from acclimate.commands.options import RunDevice, RunPath
from acclimate.errors import AcclimateError
from acclimate.runs.kinds import Kind


def evaluate(run: RunPath, domain: str | None = None, /, *, device: RunDevice = None) -> None:
    """Measure a run's classifiers on the target's test images, or on another labelled domain or folder.

    Parameters
    ----------
    domain
        A domain or folder with the same classes; by default the run's target.
    """
    from acclimate.runs.adaptation import Adaptation
    from acclimate.runs.inference import measure

    print(json.dumps(measure(Adaptation(run, device), domain), indent=1))


def translate(
    run: RunPath, source: str, output: Path, /, *, snapshot: int | None = None, device: RunDevice = None
) -> None:
    """Redraw images in the target's style, as PNG files that keep class folders and names.

    Parameters
    ----------
    source
        A domain, or a folder of images in any nesting.
    output
        The folder to write; it must be empty or not there yet.
    snapshot
        The step of the translator's snapshot; by default the one that the run chose.
    """
    from acclimate.runs.adaptation import Adaptation
    from acclimate.runs.inference import translate_files

    count = translate_files(Adaptation(run, device), source, output, snapshot)
    print(f"wrote {count:,} images to {output}")


def predict(
    run: RunPath,
    images: list[Path],
    /,
    *,
    kind: Kind | None = None,
    format: Literal["csv", "jsonl"] = "csv",  # noqa: A002
    abstain_below: float = 0.0,
    strict: bool = False,
    device: RunDevice = None,
) -> None:
    """Classify images with a run's classifier; file, class and probability go to standard output.

    Parameters
    ----------
    images
        Image files, or folders of them in any nesting.
    kind
        Which of the run's classifiers: by default its own, the adapted one; source-only and source-only-augmented are
        those without adaptation, for a run that recommends them.
    format
        csv with a header, or one JSON object a line.
    abstain_below
        Name no class where its probability is smaller: an empty field in csv, null in jsonl.
    strict
        Stop at the first unreadable image instead of skipping it.
    """
    from acclimate.runs.adaptation import Adaptation
    from acclimate.runs.inference import predict_files

    if not 0 <= abstain_below <= 1:
        raise AcclimateError(f"--abstain-below must be 0 to 1, not {abstain_below:g}")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    predictions = predict_files(Adaptation(run, device), images, kind=kind, strict=strict)
    for number, (file, best, probability) in enumerate(predictions):
        name = best if probability >= abstain_below else None
        if format == "csv":
            if number == 0:
                writer.writerow(["file", "class", "probability"])
            writer.writerow([file, name, f"{probability:.6f}"])
        else:
            print(json.dumps({"file": str(file), "class": name, "probability": round(probability, 6)}))


def check(run: RunPath, images: list[Path], /, *, out: Path = Path("check.png"), device: RunDevice = None) -> None:
    """Tell whether new images look like those that a run was adapted to, and what accuracy to expect on them.

    Parameters
    ----------
    images
        Image files, or folders of them in any nesting.
    out
        The picture of the strangest.
    """
    from acclimate.pipeline.check import check as check_images
    from acclimate.runs.adaptation import Adaptation

    found = check_images(Adaptation(run, device), images, out)
    print(found.verdict)
    for name, value in found.lines():
        print(f"  {name:<41}{value}")


def export(
    run: RunPath,
    out: Path,
    /,
    *,
    what: Literal["classifier", "translator"] = "classifier",
    weights: Literal["float32", "float16", "int8"] = "float32",
) -> None:
    """Write a run's classifier for use without acclimate: ONNX, a torch.export program, weights, a card, an example.

    Each file is compared with the run on real images before it counts. Needs pip install 'acclimate[export]'.

    Parameters
    ----------
    out
        The folder to write; it must be empty or not there yet.
    what
        The classifier, or the translator of methods that redraw images.
    weights
        Of the ONNX file; others than float32 make it smaller, and the classes of some images other ones.
    """
    from acclimate.pipeline.export import export as write
    from acclimate.runs.adaptation import Adaptation

    for name, parity in write(Adaptation(run, "cpu"), out, what, weights).items():
        print(f"{out / name}: {parity}")
    print(f"next: python {out / 'predict.py'} IMAGES")
