"""A finished run put to use: image files in, redrawn files or classes out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acclimate.data.domains import DOMAINS, Domain, check_classes, open_domain
from acclimate.data.domains.base import SPLITS, SplitName
from acclimate.data.images import read_image, read_whole, write_png
from acclimate.data.listing import as_path, list_images
from acclimate.data.reading import read_in_order
from acclimate.errors import DataError, RunError
from acclimate.progress import progress, say, shown
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.evaluation import EVALUATION_BATCH, interval, share, summary
from acclimate.runs.familiar import familiarity_if_known
from acclimate.runs.kept import Kept
from acclimate.runs.kinds import Kind
from acclimate.runs.last_features import last_features
from acclimate.runs.translation import Translator
from acclimate.training.engine import seed_for
from acclimate.training.state import writing
from acclimate.trust.familiarity import ALIEN

FEW = 5
"""Images below which nothing is said of how strange they are."""


def translate_files(adaptation: Adaptation, source: str | Path, output: Path, snapshot: int | None = None) -> int:
    """Redraw a domain's or folder's images as PNG files below ``output``; return how many.

    A folder's images keep their relative paths, and their sizes where the method redraws images of any size; a domain's
    go to ``SPLIT/CLASS/NUMBER.png``. The folder appears when it is whole.

    Raises
    ------
    DataError
        ``output`` is not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} is not empty: name another folder")
    output = output.resolve()
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(output):
            count = _translate(adaptation, source, partial, snapshot)
            partial.mkdir(parents=True, exist_ok=True)
            if output.exists():
                output.rmdir()
            partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count


def _translate(adaptation: Adaptation, source: str | Path, output: Path, snapshot: int | None) -> int:
    translator = adaptation.translator(snapshot)
    if translator.method.redraws_any_size and as_path(source).is_dir() and str(source) not in DOMAINS:
        return _translate_whole(adaptation, translator, as_path(source), output)
    domain = open_domain(source, adaptation.source_options, adaptation.classes)
    written: set[Path] = set()
    for split in SPLITS:
        images = domain.images(split)
        if len(images) == 0:
            continue
        batches = translator.batches(images.pixels, seed_for(adaptation.config.seed, "files", split))
        translated = chain.from_iterable(batches)
        for path, pixels in zip(_file_names(domain, split), translated, strict=True):
            _write(pixels, output, path, written)
    return len(written)


def _translate_whole(adaptation: Adaptation, translator: Translator, folder: Path, output: Path) -> int:
    """Redraw the images of a folder, each at its own size; unreadable ones are named and skipped."""
    files, written = _listed(folder), set[Path]()
    if not files:
        raise DataError(f"no image in {folder} or below it")
    levels = adaptation.source_options.levels
    seed = seed_for(adaptation.config.seed, "files")
    with adaptation.engine.seeded(seed), progress("translating", len(files), unit="images") as bar:
        for file in files:
            try:
                pixels = read_whole(file, adaptation.config.channels, levels)
            except DataError as error:
                say(f"skipped {error}")
            else:
                _write(translator.whole(pixels), output, file.relative_to(folder), written)
            bar.advance()
    return len(written)


def _listed(folder: Path) -> list[Path]:
    """Return the image files below a folder; say what is passed over."""
    listing = list_images(folder)
    if listing.passed_over:
        others = ", ".join(f"{count:,} {kind}" for kind, count in listing.passed_over.most_common())
        say(f"passed over in {shown(folder)}: {others}")
    for text in listing.warnings:
        say(f"warning: {text}")
    return listing.files


def _write(pixels: Tensor, output: Path, name: Path, written: set[Path]) -> None:
    """Write an image as a PNG file of its name below ``output``, wherever it came from, and note it."""
    name = Path(*(part for part in name.parts if part not in (name.anchor, "..")))
    file = output / name.with_suffix(".png")
    if file in written:  # a.jpg beside a.png
        file = output / name.with_name(f"{name.name}.png")
    written.add(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_png(pixels, file)


def predict_files(
    adaptation: Adaptation, paths: Sequence[Path], *, kind: Kind | None = None, strict: bool = False
) -> Iterator[tuple[Path, str, float]]:
    """Classify image files, or folders of them; yield path, class name and its probability.

    Unreadable images are named and skipped. In the end it is said if the images look like nothing that the run's own
    classifier was adapted to.

    Parameters
    ----------
    kind
        Which of the run's classifiers; None for its own, whose probabilities alone are calibrated.

    Raises
    ------
    DataError
        A path does not exist, no image is readable, or with ``strict`` one is not.
    RunError
        The run has no classifier of that kind.
    """
    kinds, own = adaptation.trained_kinds(), kind in (None, adaptation.own_kind)
    if not own and kind not in kinds:
        raise RunError(f"{adaptation.run.path} has no classifier {kind}; it has {', '.join(kinds)}")
    classifier = (adaptation.calibrated() if own else adaptation.classifier(kind)).uncached()
    known, strangeness = familiarity_if_known(adaptation) if own else None, list[Tensor]()
    for names, pixels in _batches(adaptation, paths, strict):
        seen = classifier.seen(pixels)
        best = classifier.probabilities(seen).max(1)
        if known is not None and not strangeness:  # the first batch tells enough
            strangeness.append(known.strangeness(last_features(classifier, seen)))
        for file, probability, label in zip(names, best.values.tolist(), best.indices.tolist(), strict=True):
            yield file, classifier.classes[label], probability
    if strangeness and len(strangeness[0]) >= FEW and strangeness[0].mean() >= ALIEN:
        advice = f"do not rely on it here (acclimate check {adaptation.run.path} IMAGES says more)"
        say(f"these images look like nothing that the classifier was adapted to: {advice}")


def read_files(adaptation: Adaptation, paths: Sequence[Path]) -> tuple[list[Path], Tensor]:
    """Read image files, or folders of them, as a run sees them: the readable ones, uint8 ``[N, C, H, W]``.

    Raises
    ------
    DataError
        A path does not exist, or no image is readable.
    """
    parts = list(_batches(adaptation, paths, strict=False))
    return [file for names, _ in parts for file in names], torch.cat([pixels for _, pixels in parts])


def _batches(adaptation: Adaptation, paths: Sequence[Path], strict: bool) -> Iterator[tuple[list[Path], Tensor]]:
    """Yield image files and what is in them, some at a time."""
    files = []
    for path in paths:
        if not path.exists():
            raise DataError(f"no such file or folder: {path}")
        files += _listed(path) if path.is_dir() else [path]
    options, readable = adaptation.seen_options, 0

    def read(file: Path) -> Tensor:
        how = options.fit, options.interpolation, options.levels
        return read_image(file, options.image_size, options.channels, *how)

    for start in range(0, len(files), EVALUATION_BATCH):
        names, images = [], []
        for file, image in read_in_order(read, files[start : start + EVALUATION_BATCH], strict):
            if isinstance(image, Tensor):
                names.append(file)
                images.append(image)
            else:
                say(f"skipped {image}")
        if images:
            readable += len(images)
            yield names, torch.stack(images)
    if not readable:
        raise DataError("no readable image among: " + ", ".join(map(str, paths[:5])))


def _file_names(domain: Domain, split: SplitName) -> list[Path]:
    names = domain.names(split)
    if names is not None:
        return [Path(name) for name in names]
    labels = domain.labelled(split).labels.tolist()
    return [Path(split, domain.classes[label], f"{index:05d}") for index, label in enumerate(labels)]


def measure(adaptation: Adaptation, domain: str | Path | None = None) -> dict[str, Any]:
    """Measure every trained classifier on a labelled domain's test images; the run's target by default.

    A folder, or a table, is measured whole, unless it has a test split of its own.

    Returns
    -------
    dict
        ``domain``; ``test_images``; ``accuracy`` by classifier; of the run's own, ``interval``, which holds its
        accuracy on all such images 95 times of 100, and ``by_class``, images and accuracy of each class that has some.

    Raises
    ------
    DataError
        The domain has other classes, or no labels.
    """
    classes, options = adaptation.classes, replace(adaptation.seen_options, whole=True)
    tested = adaptation.target if domain is None else open_domain(domain, options, classes)
    check_classes(classes, tested)
    if isinstance(tested, Kept):
        tested.check_whole("test")
    if not tested.has_labelled("test"):
        raise DataError(f"{tested.name} has no labels of the classes {', '.join(classes[:12])}: nothing to measure")
    test = tested.labelled("test")
    answers = {kind: adaptation.classifier(kind).right(test) for kind in adaptation.trained_kinds()}
    own = torch.stack(answers[adaptation.own_kind]).float().mean(0)
    return {
        "domain": tested.name,
        "test_images": len(test),
        "accuracy": {kind: summary(list(map(share, right))) for kind, right in answers.items()},
        "interval": interval(own.mean().item(), len(test)),
        "by_class": {
            name: {"images": len(part), "accuracy": round(part.mean().item(), 6)}
            for index, name in enumerate(classes)
            if len(part := own[test.labels == index])
        },
    }
