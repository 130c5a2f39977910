"""What stands in the report of a run: everything that its template shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import torch
from torch import Tensor

from acclimate.reporting.analysis import Analysis
from acclimate.reporting.counts import one_of_each
from acclimate.reporting.curves import Panel, classifier_panels, method_panels, self_training_panels
from acclimate.reporting.page.charts import Chart, Group, Map, line_chart, scatter
from acclimate.reporting.page.matrices import MOST_CLASSES, Matrix, matrix
from acclimate.reporting.page.sprites import LARGEST, LARGEST_PHOTO, Sheet
from acclimate.reporting.page.summary import Summary
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.kinds import KIND_NAMES

STRIP = 7
"""Pictures of a row, where they are large."""

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of images that are answered, where the others are abstained from."""

MOST_SEEN_AS = 20
"""Classes that have a row of pictures."""

LARGE_CARDS = 60
"""Cards of the gallery where its pictures are large, which bounds the file's size."""


@dataclass(frozen=True)
class Picture:
    """A cell of a sheet: its number, the words for those who do not see it, and perhaps a word below it.

    ``large`` says that the sheet is that of large pictures; ``flag``, that the picture shows something amiss.
    """

    cell: int
    description: str
    word: str = ""
    large: bool = False
    flag: bool = False


@dataclass(frozen=True)
class Card:
    """Pictures that belong together, with a caption, and what is remarkable about them."""

    pictures: list[Picture]
    caption: str
    remark: str = ""


class RunPage(Summary):
    """Everything that the report of one run shows; its images go to a sheet as they are asked for."""

    def __init__(self, adaptation: Adaptation, analysis: Analysis) -> None:
        super().__init__(adaptation, analysis)
        size = analysis.source.shape[-1]
        self.sheet = Sheet(size)
        self.large = Sheet(size, LARGEST_PHOTO) if size > LARGEST else None
        self.source_cells, self.target_cells = self.sheet.add(analysis.source), self.sheet.add(analysis.target)
        self.translated_cells = None if analysis.translated is None else self.sheet.add(analysis.translated)

    def _pictures(self, images: Tensor, descriptions: Iterable[str], flags: Iterable[bool] = ()) -> list[Picture]:
        """Return pictures of images that are to be looked at closely, flagged or not."""
        cells = (self.large or self.sheet).add(images)
        rows = zip_longest(cells, descriptions, flags, fillvalue=False)
        return [Picture(cell, str(words), "", self.large is not None, bool(flag)) for cell, words, flag in rows]

    @cached_property
    def seen_as(self) -> list[tuple[str, list[Picture]]]:
        """Target images by what the classifier sees in them, and those that it is least sure of."""
        analysis, classes = self.analysis, self.analysis.classes
        predicted, confidence, labels = analysis.target_predicted, analysis.target_confidence, analysis.target_labels

        def row(name: str, chosen: Tensor) -> tuple[str, list[Picture]]:
            seen, true = predicted[chosen].tolist(), labels[chosen].tolist()
            words = [
                f"{analysis.target_name}, seen as {classes[one]} ({100 * sure:.0f} %)"
                + ("" if label < 0 else f", class {classes[label]}")
                for one, label, sure in zip(seen, true, confidence[chosen].tolist(), strict=True)
            ]
            wrong = [label not in (-1, one) for one, label in zip(seen, true, strict=True)]
            return name, self._pictures(analysis.target[chosen], words, wrong)

        counts = torch.bincount(predicted, minlength=len(classes))
        shown = sorted(counts.argsort(descending=True, stable=True)[:MOST_SEEN_AS].tolist())
        rows = [
            row(f"{classes[one]} ({counts[one]:,})", (predicted == one).nonzero()[:STRIP, 0])
            for one in shown
            if counts[one] > 0
        ]
        return [*rows, row("least sure", confidence.argsort(stable=True)[:STRIP])]

    @property
    def abstaining(self) -> list[tuple[float, float, float, float | None]]:
        """What abstaining buys: images answered in %, the least probability, the accuracy to expect, and that found."""
        confidence, order = self.analysis.target_confidence.sort(descending=True, stable=True)
        right = (self.analysis.target_predicted == self.analysis.target_labels)[order].double()
        rows = []
        for share in COVERAGES:
            kept = max(1, round(share * len(confidence)))
            found = 100 * float(right[:kept].mean()) if self.analysis.has_labels else None
            rows.append((100 * share, float(confidence[kept - 1]), 100 * float(confidence[:kept].mean()), found))
        return rows

    @property
    def shares(self) -> list[tuple[str, list[float]]]:
        """Class shares in %, those that differ most first where there are many: the class, and a value a column."""
        found = self.analysis.shares
        if not found:
            return []
        columns = torch.stack(list(found.values()), 1)
        order = torch.arange(len(columns))
        if len(columns) > MOST_CLASSES:
            order = (found["given"] - found["source"]).abs().argsort(descending=True, stable=True)[:MOST_CLASSES]
        return [(self.analysis.classes[one], (100 * columns[one]).tolist()) for one in order.tolist()]

    @cached_property
    def gallery(self) -> list[Card]:
        """Source images with their translations and the real images nearest to these."""
        analysis, classes = self.analysis, self.analysis.classes
        if self.translated_cells is None or analysis.nearest is None:
            return []
        assert analysis.translated_predicted is not None
        assert analysis.translated_confidence is not None
        assert analysis.translated is not None
        count = len(analysis.nearest["pixels"])
        source, translated, near = self.source_cells, self.translated_cells, analysis.nearest
        if self.large is not None:
            count = min(count, LARGE_CARDS)
            source, translated = (self.large.add(one[:count]) for one in (analysis.source, analysis.translated))
        sheet, large = self.large or self.sheet, self.large is not None
        near_cells = {by: sheet.add(images[:count]) for by, images in near.items()}
        cards = []
        for index in range(count):
            label = classes[analysis.source_labels[index]]
            seen = classes[analysis.translated_predicted[index]]
            sure = 100 * float(analysis.translated_confidence[index])
            pictures = [
                Picture(source[index], f"{analysis.source_name} image of class {label}", "source", large),
                Picture(translated[index], f"its translation, seen as {seen}", "translated", large),
                *(
                    Picture(cells[index], f"real {analysis.target_name} image nearest to it by {by}", f"by {by}", large)
                    for by, cells in near_cells.items()
                ),
            ]
            remark = "" if label == seen else "other class"
            cards.append(Card(pictures, f"{label}, seen as {seen} ({sure:.0f} %)", remark))
        return cards

    @cached_property
    def film(self) -> list[tuple[str, list[Picture]]]:
        """A fixed batch, and what the snapshots make of it: each row's name and pictures."""
        analysis = self.analysis
        if analysis.film is None:
            return []
        chosen = one_of_each(analysis.source_labels, analysis.film.shape[1]).tolist()
        labels = [analysis.classes[analysis.source_labels[index]] for index in chosen]
        cells = [self.source_cells[index] for index in chosen]
        rows = [
            ("source", [Picture(cell, f"source, class {label}") for cell, label in zip(cells, labels, strict=True)])
        ]
        for step, frame in zip(analysis.film_steps, analysis.film, strict=True):
            pairs = zip(self.sheet.add(frame), labels, strict=True)
            pictures = [Picture(cell, f"class {label}, translated at step {step:,}") for cell, label in pairs]
            rows.append((f"step {step:,}", pictures))
        return rows

    @cached_property
    def cycles(self) -> list[tuple[str, list[Picture]]]:
        """From each domain to the other and back: each row's name and pictures."""
        found, x, y = self.analysis.cycles, self.analysis.source_name, self.analysis.target_name
        if found is None:
            return []
        words = (x, f"to {y}", "and back", y, f"to {x}", "and back")
        most = STRIP if self.large else None
        return [
            (
                f"{word}: {name}",
                self._pictures(images[:most], (f"{name}, image {number + 1}" for number in range(len(images[:most])))),
            )
            for (name, images), word in zip(found.items(), words, strict=True)
        ]

    @cached_property
    def flips(self) -> Matrix | None:
        """The classes that translated images seem to have."""
        analysis = self.analysis
        if analysis.flips is None:
            return None
        rows, columns = f"{analysis.source_name} label", f"translated, to the {analysis.judge} classifier"
        return matrix("Translations that keep their class", rows, columns, analysis.flips, analysis.classes)

    @cached_property
    def confusion(self) -> list[Matrix]:
        """The confusion matrices before and after."""
        return [
            matrix(KIND_NAMES[kind], "true class", "predicted class", counts, self.analysis.classes)
            for kind, counts in (self.analysis.confusion or {}).items()
        ]

    @cached_property
    def mistakes(self) -> list[Card]:
        """The test images that the classifier is most sure about and wrong."""
        found, classes = self.analysis.mistakes, self.analysis.classes
        if found is None:
            return []
        labels, seen = ([classes[index] for index in found[name]] for name in ("labels", "predicted"))
        pictures = self._pictures(found["images"], (f"image of class {label}" for label in labels))
        rows = zip(pictures, labels, seen, found["confidence"].tolist(), strict=True)
        return [
            Card([picture], f"{label}, seen as {wrong}", f"{100 * sure:.1f} %") for picture, label, wrong, sure in rows
        ]

    @cached_property
    def method_charts(self) -> list[Chart]:
        """The method's losses and accuracies."""
        return [line_chart(panel) for panel in method_panels(self.analysis.method_curves)]

    @cached_property
    def self_training_charts(self) -> list[Chart]:
        """How self-training went, by what needs no label."""
        return [line_chart(panel) for panel in self_training_panels(self.analysis.classifier_curves)]

    @cached_property
    def classifier_charts(self) -> list[Chart]:
        """How the classifiers did on their own validation images."""
        return [line_chart(panel) for panel in classifier_panels(self.analysis.classifier_curves)]

    @cached_property
    def selection_charts(self) -> list[Chart]:
        """The label-free scores of the snapshots."""
        if self.selection is None:
            return []
        scores: dict[str, list[tuple[float, float]]] = {}
        for step, named in sorted(self.selection["scores"].items(), key=lambda item: int(item[0])):
            for name, value in named.items():
                scores.setdefault(name, []).append((float(step), value))
        panels = (Panel(name, {name: torch.tensor(points, dtype=torch.float64)}) for name, points in scores.items())
        return [line_chart(panel, marked=self.selection["chosen"]) for panel in panels]

    @cached_property
    def maps(self) -> list[Map]:
        """The t-SNE maps."""
        analysis = self.analysis
        x, y = analysis.source_name, analysis.target_name
        source = Group(x, "source", analysis.source_labels, self.source_cells)
        target = Group(y, "target", analysis.target_labels, self.target_cells)
        seen = analysis.target_predicted, analysis.target_confidence
        judged = Group(y, "target", analysis.target_labels, self.target_cells, *seen)
        adapted = source
        if self.translated_cells is not None:
            guessed = analysis.translated_predicted, analysis.translated_confidence
            adapted = Group(f"{x}, translated", "adapted", analysis.source_labels, self.translated_cells, *guessed)
        drawn = (
            ("Pixels", "All images in one map", analysis.pixel_map, [source, adapted, target]),
            ("Features before", "Seen by the source-only classifier", analysis.before_map, [source, target]),
            ("Features after", f"Seen by the {self.kind} classifier", analysis.after_map, [adapted, judged]),
        )
        return [scatter(title, note, points, groups) for title, note, points, groups in drawn if points is not None]
