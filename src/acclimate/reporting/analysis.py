"""What figures and report show of a finished run: computed once, kept with the run.

Nothing here trains or chooses. Target labels are read as the evaluation reads them, after all training.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.classification import EVALUATION_BATCH, predict_logits
from acclimate.curves import Curves, read_curves
from acclimate.domains.base import UNKNOWN_LABEL, LabelledImages, digest
from acclimate.errors import RunError
from acclimate.images import to_float, to_uint8
from acclimate.progress import progress
from acclimate.results import KINDS
from acclimate.state import load_tree, save_tree
from acclimate.training import seed_for
from acclimate.translation import BATCH
from acclimate.vectors import features, nearest, tsne

if TYPE_CHECKING:
    from acclimate.adaptation import Adaptation

VERSION = 1
"""Grows when what is computed changes: analyses of older versions are computed anew."""

SAMPLE = 500
NEIGHBOURS_OF = 192
NEIGHBOURS_AMONG = 10_000
CYCLES = 10
REPEATED, REPETITIONS = 6, 8
FILM_IMAGES, FILM_FRAMES = 6, 12
FLIPS_OF = 2_000
MISTAKES = 36
MAP_PIXELS = 32
LEAST_FOR_A_MAP = 10


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What can be seen of a finished run. Images are uint8 ``[N, C, H, W]``; a part that makes no sense is None.

    Attributes
    ----------
    method, kind
        The method, and the kind of classifier that it is about, as in :data:`acclimate.results.KINDS`.
    source_name, target_name, classes
        The domains and their classes.
    source, source_labels
        Source validation images, at most 500, and their labels.
    target, target_labels
        Target test images, at most 500, and their labels; training images and -1 where there are none.
    target_predicted, target_confidence
        What the run's classifier sees in them, and the probability that it gives that.
    translated, translated_predicted, translated_confidence
        The source images in the target's style, and what the classifier sees in these.
    nearest
        The target training images nearest to the first translated ones: by ``pixels`` and by ``features``.
    cycles
        Source images ``x``, ``G(x)``, ``F(G(x))``, target images ``y``, ``F(y)``, ``G(F(y))``.
    repeats
        The first source images translated several times, ``[images, times, C, H, W]``.
    film, film_steps
        The first source images translated by snapshots, ``[snapshots, images, C, H, W]``, and the snapshots' steps.
    flips, judge
        How often the ``judge`` sees class j in a translated image of class i, int64 ``[classes, classes]``.
    pixel_map
        t-SNE of pixels in [0, 1], ``[N, 2]``: source, translated, target.
    before_map, after_map
        The same of the last convolutional features: source and target in the source-only classifier; source, translated
        where the method translates, and target in the method's.
    confusion
        By kind of classifier how often it takes a target test image of class i for class j, int64
        ``[classes, classes]``, summed over its trainings.
    mistakes
        The test images that the classifier is most sure about and wrong: ``images``, ``labels``, ``predicted``,
        ``confidence``.
    curves
        What was logged.
    settings
        Sample sizes, seeds and t-SNE's parameters, for people.
    missing
        Why a part is None, by the part's name.
    """

    method: str
    kind: str
    source_name: str
    target_name: str
    classes: tuple[str, ...]
    source: Tensor
    source_labels: Tensor
    target: Tensor
    target_labels: Tensor
    target_predicted: Tensor
    target_confidence: Tensor
    curves: Curves
    settings: dict[str, Any]
    translated: Tensor | None = None
    translated_predicted: Tensor | None = None
    translated_confidence: Tensor | None = None
    nearest: dict[str, Tensor] | None = None
    cycles: dict[str, Tensor] | None = None
    repeats: Tensor | None = None
    film: Tensor | None = None
    film_steps: tuple[int, ...] = ()
    flips: Tensor | None = None
    judge: str = ""
    pixel_map: Tensor | None = None
    before_map: Tensor | None = None
    after_map: Tensor | None = None
    confusion: dict[str, Tensor] | None = None
    mistakes: dict[str, Tensor] | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def has_labels(self) -> bool:
        """Whether the target's labels are known."""
        return self.confusion is not None

    @property
    def method_curves(self) -> Curves:
        """The curves of the method's own phases."""
        return {phase: curves for phase, curves in self.curves.items() if phase.rpartition("-")[0] not in KINDS}

    @property
    def classifier_curves(self) -> Curves:
        """The curves of the first training of each kind of classifier."""
        return {phase: self.curves[phase] for kind in KINDS if (phase := f"{kind}-0") in self.curves}


def analyse(adaptation: Adaptation) -> Analysis:
    """Return a finished run's analysis, from its folder of figures where it lies there and still holds.

    Raises
    ------
    RunError
        The run has not finished.
    """
    _ = adaptation.run.result
    path, key = adaptation.run.path / "figures" / "analysis.safetensors", _key(adaptation)
    if path.exists():
        try:
            stored = load_tree(path)
        except RunError:  # damaged: made anew
            stored = {"key": None}
        if stored["key"] == key:
            return Analysis(**stored["analysis"])
    analysis = Analysis(**_Parts(adaptation).compute())
    save_tree(path, {"key": key, "analysis": vars(analysis)})
    return analysis


def _key(adaptation: Adaptation) -> str:
    """Identify everything that an analysis depends on: data, settings, weights, logs."""
    run, snapshots = adaptation.run, adaptation.run.snapshots()
    files = [run.path / "metrics.jsonl", *sorted((run.path / "models").glob("*.safetensors"))]
    files += [snapshots[step] for step in _film_steps(adaptation)]
    data = [str(domain.manifest()["md5"]) for domain in (adaptation.source, adaptation.target)]
    there = (_checksum(file) for file in files if file.exists())  # a run whose classifiers were all shared logs nothing
    return digest(VERSION, sorted(run.config["config"].items()), *data, *there)


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _film_steps(adaptation: Adaptation) -> list[int]:
    """Return the steps of the first snapshot, of the chosen one, and of evenly spaced ones between."""
    if not adaptation.method_class.adapts:
        return []
    chosen = adaptation.chosen_snapshot
    steps = [step for step in adaptation.run.snapshots() if step <= chosen]
    count = min(FILM_FRAMES, len(steps))
    return [steps[round(number * (len(steps) - 1) / max(1, count - 1))] for number in range(count - 1)] + [chosen]


class _Parts:
    """Computes an analysis part by part; each method fills what it is named after, or says why it cannot."""

    def __init__(self, adaptation: Adaptation) -> None:
        self.adaptation, self.engine = adaptation, adaptation.engine
        self.kind, self.classes = adaptation.own_kind, adaptation.task.classes
        self.classifier = adaptation.classifier()
        self.pool = adaptation.data.target_train.first(NEIGHBOURS_AMONG).pixels
        self.validation = adaptation.data.source_val
        self.test = adaptation.target.labelled("test") if adaptation.target.has_labels else None
        if self.test is not None and len(self.test) == 0:
            self.test = None
        unlabelled = torch.full((len(self.pool),), UNKNOWN_LABEL)
        self.source = self.validation.first(SAMPLE)
        self.target = (self.test or LabelledImages(self.pool, unlabelled)).first(SAMPLE)
        self.found: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        self.tsne_settings: dict[str, dict[str, Any]] = {}

    def compute(self) -> dict[str, Any]:
        adaptation = self.adaptation
        predicted = self.classifier.probabilities(self.target.pixels).max(1)
        self.found = {
            "method": adaptation.method_class.name,
            "kind": self.kind,
            "source_name": Path(adaptation.source.name).name,
            "target_name": Path(adaptation.target.name).name,
            "classes": self.classes,
            "source": self.source.pixels,
            "source_labels": self.source.labels,
            "target": self.target.pixels,
            "target_labels": self.target.labels,
            "target_predicted": predicted.indices,
            "target_confidence": predicted.values,
            "curves": read_curves(adaptation.run.metrics()),
        }
        if not any(phase.rpartition("-")[0] not in KINDS for phase in self.found["curves"]):
            self.missing["training"] = f"the method {adaptation.method_class.name} trains nothing but classifiers"
        of_translation = (self.translated, self.nearest, self.cycles, self.repeats, self.film, self.flips)
        parts = (*of_translation, self.maps, self.confusion)
        with progress("analysis", len(parts), unit="parts") as bar:
            for part in parts:
                bar.note(part.__name__)
                if part in of_translation and not adaptation.method_class.translates:
                    self.missing[part.__name__] = f"the method {adaptation.method_class.name} does not translate images"
                else:
                    part()
                bar.advance()
        return self.found | {"settings": self.settings(), "missing": self.missing}

    def seed(self, *purpose: object) -> int:
        return seed_for(self.adaptation.config.seed, "analysis", *purpose) % 2**32

    def translate(self, pixels: Tensor, *purpose: object, snapshot: int | None = None) -> Tensor:
        translator = self.translator if snapshot is None else self.adaptation.translator(snapshot)
        with self.engine.seeded(self.seed(*purpose)):
            return torch.cat([translator(chunk).cpu() for chunk in pixels.split(BATCH)])

    def translated(self) -> None:
        self.translator = self.adaptation.translator()
        translated = self.translate(self.source.pixels, "sample")
        seen = self.classifier.probabilities(translated).max(1)
        self.found |= {
            "translated": translated,
            "translated_predicted": seen.indices,
            "translated_confidence": seen.values,
        }

    def nearest(self) -> None:
        translated = self.found["translated"][:NEIGHBOURS_OF]
        network = self.classifier.networks[0]
        by_pixels = nearest(translated.flatten(1), self.pool.flatten(1))
        by_features = nearest(*(features(network, images, self.engine) for images in (translated, self.pool)))
        self.found["nearest"] = {"pixels": self.pool[by_pixels], "features": self.pool[by_features]}

    def cycles(self) -> None:
        method = self.translator.method
        if not method.translates_back:
            self.missing["cycles"] = f"the method {method.name} has no generator back to the source"
            return
        x = self.source.pixels[one_of_each(self.source.labels, CYCLES)]
        y = self.target.pixels[one_of_each(self.target.labels, CYCLES)]

        def back(pixels: Tensor) -> Tensor:
            return to_uint8(method.translate_back(to_float(pixels.to(self.engine.device)))).cpu()

        with self.engine.seeded(self.seed("cycles")):
            there, home = self.translator(x).cpu(), back(y)
            self.found["cycles"] = {
                "x": x,
                "G(x)": there,
                "F(G(x))": back(there),
                "y": y,
                "F(y)": home,
                "G(F(y))": self.translator(home).cpu(),
            }

    def repeats(self) -> None:
        images = self.source.pixels[one_of_each(self.source.labels, REPEATED)]
        times = [self.translate(images, "repeat", number) for number in range(REPETITIONS)]
        if all(torch.equal(again, times[0]) for again in times):
            self.missing["repeats"] = "an image is always translated alike: nothing random is alive while translating"
        else:
            self.found["repeats"] = torch.stack(times, 1)

    def film(self) -> None:
        steps = _film_steps(self.adaptation)
        if len(steps) < 2:
            self.missing["film"] = "the run has a single snapshot"
            return
        images = self.source.pixels[one_of_each(self.source.labels, FILM_IMAGES)]
        frames = [self.translate(images, "film", snapshot=step) for step in steps]
        self.found |= {"film": torch.stack(frames), "film_steps": tuple(steps)}

    def flips(self) -> None:
        images = self.validation.first(FLIPS_OF)
        judge = "target-only" if "target-only" in self.adaptation.trained_kinds() else self.kind
        seen = self.adaptation.classifier(judge).probabilities(self.translate(images.pixels, "flips")).argmax(1)
        self.found |= {"flips": count_pairs(images.labels, seen, len(self.classes)), "judge": judge}

    def maps(self) -> None:
        translated = self.found.get("translated")
        target, source = self.target.pixels, self.source.pixels
        if translated is None:
            self.missing["pixel_map"] = self.missing["translated"]
        else:
            chunks = torch.cat([source, translated, target]).split(EVALUATION_BATCH)
            size = min(MAP_PIXELS, source.shape[-1])
            small = torch.cat([F.adaptive_avg_pool2d(to_float(chunk), size) for chunk in chunks])
            self._map("pixel_map", small.flatten(1))
        before = self.adaptation.classifier("source-only").networks[0]
        self._map("before_map", features(before, torch.cat([source, target]), self.engine))
        if self.kind == "source-only":
            self.missing["after_map"] = "source-only does not adapt"
            return
        adapted = source if translated is None else translated
        self._map("after_map", features(self.classifier.networks[0], torch.cat([adapted, target]), self.engine))

    def _map(self, name: str, vectors: Tensor) -> None:
        if len(vectors) < LEAST_FOR_A_MAP:
            self.missing[name] = f"{len(vectors)} images are too few for a map"
        elif not bool((vectors != vectors[0]).any()):
            self.missing[name] = "the classifier sees the same in all images"
        else:
            self.found[name], self.tsne_settings[name] = tsne(vectors, self.seed("t-SNE"))

    def confusion(self) -> None:
        if self.test is None:
            self.missing |= dict.fromkeys(("confusion", "mistakes"), "the target has no labels")
            return
        matrices, probabilities = {}, torch.empty(0)
        for kind in dict.fromkeys(("source-only", self.kind)):
            networks = self.adaptation.classifier(kind).networks
            logits = [predict_logits(network, self.test.pixels, self.engine) for network in networks]
            counts = [count_pairs(self.test.labels, one.argmax(1), len(self.classes)) for one in logits]
            matrices[kind] = torch.stack(counts).sum(0)
            probabilities = torch.stack([one.softmax(1) for one in logits]).mean(0)
        confidence, predicted = probabilities.max(1)
        wrong = (predicted != self.test.labels).nonzero()[:, 0]
        worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES]
        self.found["confusion"] = matrices
        self.found["mistakes"] = {
            "images": self.test.pixels[worst],
            "labels": self.test.labels[worst],
            "predicted": predicted[worst],
            "confidence": confidence[worst],
        }

    def settings(self) -> dict[str, Any]:
        return {
            "seed": self.adaptation.config.seed,
            "snapshot": self.adaptation.chosen_snapshot if self.adaptation.method_class.adapts else None,
            "source_images": f"first {len(self.source)} validation images",
            "target_images": f"first {len(self.target)} {'test' if self.test else 'training'} images",
            "nearest_among": f"first {len(self.pool)} target training images",
            "tsne": self.tsne_settings,
        }


def count_pairs(rows: Tensor, columns: Tensor, classes: int) -> Tensor:
    """Count how often class i of ``rows`` meets class j of ``columns``, int64 ``[classes, classes]``."""
    return torch.bincount(rows * classes + columns, minlength=classes**2).view(classes, classes)


def precision_recall(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return each class's precision and recall, ``[classes]``, from a confusion matrix; NaN where there is no case."""
    right = counts.diagonal()
    return right / counts.sum(0), right / counts.sum(1)


def one_of_each(labels: Tensor, count: int) -> Tensor:
    """Return the indices of the first image of each class, of the second of each and so on, ``count`` at most."""
    seen: dict[int, int] = {}
    ranks = []
    for label in labels.tolist():
        ranks.append((seen.get(label, 0), label))
        seen[label] = ranks[-1][0] + 1
    return torch.tensor(sorted(range(len(ranks)), key=ranks.__getitem__)[:count], dtype=torch.int64)
