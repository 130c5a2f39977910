"""The parts of an analysis, computed one by one from a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.data.images import to_float
from acclimate.data.sets import UNKNOWN_LABEL, LabelledImages
from acclimate.progress import progress
from acclimate.reporting.counts import count_pairs, one_of_each
from acclimate.reporting.curves import read_curves
from acclimate.reporting.vectors import nearest, tsne
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.evaluation import EVALUATION_BATCH
from acclimate.runs.kinds import KINDS
from acclimate.runs.last_features import last_features
from acclimate.runs.source_view import as_seen_from_source
from acclimate.runs.translation import BATCH
from acclimate.training.engine import in_parts, seed_for
from acclimate.trust.estimators import tempered

SAMPLE = 500
NEIGHBOURS_OF = 192
POOL, POOL_BYTES = 10_000, 2**28
"""Target training images that are looked at, by their number and by their size."""

CYCLES = 10
REPEATED, REPETITIONS = 6, 8
FILM_IMAGES, FILM_FRAMES = 6, 12
FLIPS_OF = 2_000
MISTAKES = 36
MAP_PIXELS = 32
LEAST_FOR_A_MAP = 10


class Parts:
    """Computes an analysis part by part; each method fills what it is named after, or says why it cannot."""

    def __init__(self, adaptation: Adaptation) -> None:
        self.adaptation, self.engine = adaptation, adaptation.engine
        self.kind, self.classes = adaptation.own_kind, adaptation.task.classes
        self.classifier = adaptation.calibrated()
        target = adaptation.data.target_train
        self.pool = target.first(max(SAMPLE, min(POOL, POOL_BYTES // target.pixels[0].numel()))).pixels
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
        parts = (*of_translation, self.shares, self.maps, self.confusion)
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
            return in_parts(lambda part: translator(part).cpu(), pixels, self.engine.at_once(BATCH, pixels))

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
        by_pixels = nearest(translated.flatten(1), self.pool.flatten(1))
        by_features = nearest(*(last_features(self.classifier, images) for images in (translated, self.pool)))
        self.found["nearest"] = {"pixels": self.pool[by_pixels], "features": self.pool[by_features]}

    def cycles(self) -> None:
        method = self.translator.method
        if not method.translates_back:
            self.missing["cycles"] = f"the method {method.name} has no generator back to the source"
            return
        x = self.source.pixels[one_of_each(self.source.labels, CYCLES)]
        y = self.target.pixels[one_of_each(self.target.labels, CYCLES)]

        with self.engine.seeded(self.seed("cycles")):
            there, home = self.translator(x).cpu(), self.translator.back(y)
            self.found["cycles"] = {
                "x": x,
                "G(x)": there,
                "F(G(x))": self.translator.back(there),
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
        steps = film_steps(self.adaptation)
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

    def shares(self) -> None:
        seen = self.classifier.probabilities(self.pool).argmax(1)
        labels = {"source": self.adaptation.data.source_train.labels, "given": seen}
        if self.test is not None:
            labels["true"] = self.test.labels
        count = len(self.classes)
        self.found["shares"] = {
            name: torch.bincount(one, minlength=count).double() / len(one) for name, one in labels.items()
        }

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
        before = self.adaptation.classifier("source-only")
        self._map("before_map", last_features(before, torch.cat([source, target])))
        if self.kind == "source-only":
            self.missing["after_map"] = "source-only does not adapt"
            return
        if translated is not None:
            seen = last_features(self.classifier, translated)
        else:
            seen = last_features(as_seen_from_source(self.adaptation, self.kind, source), source)
        self._map("after_map", torch.cat([seen, last_features(self.classifier, target)]))

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
            logits = self.adaptation.classifier(kind).each_logits(self.test.pixels)
            counts = [count_pairs(self.test.labels, one.argmax(1), len(self.classes)) for one in logits]
            matrices[kind] = torch.stack(counts).sum(0)
            mean = torch.stack([one.softmax(1) for one in logits]).mean(0)
            probabilities = tempered(mean, self.classifier.temperature)
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
            "snapshot": self.adaptation.chosen_snapshot if self.adaptation.method_class.has_snapshots else None,
            "source_images": f"first {len(self.source)} validation images",
            "target_images": f"first {len(self.target)} {'test' if self.test else 'training'} images",
            "nearest_among": f"first {len(self.pool)} target training images",
            "tsne": self.tsne_settings,
        }


def film_steps(adaptation: Adaptation) -> list[int]:
    """Return the steps of the first snapshot, of the chosen one, and of evenly spaced ones between."""
    if not adaptation.method_class.has_snapshots:
        return []
    chosen = adaptation.chosen_snapshot
    steps = [step for step in adaptation.run.snapshots() if step <= chosen]
    count = min(FILM_FRAMES, len(steps))
    return [steps[round(number * (len(steps) - 1) / max(1, count - 1))] for number in range(count - 1)] + [chosen]
