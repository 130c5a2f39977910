"""What stands in the report of a run: everything that its template shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from acclimate.reporting.accuracies import KIND_NAMES
from acclimate.reporting.analysis import Analysis
from acclimate.reporting.counts import one_of_each
from acclimate.reporting.curves import Panel, classifier_panels, method_panels
from acclimate.reporting.page.charts import Chart, Group, Map, line_chart, scatter
from acclimate.reporting.page.matrices import Matrix, matrix
from acclimate.reporting.page.sprites import Sheet
from acclimate.reporting.page.summary import Summary
from acclimate.runs.adaptation import Adaptation


@dataclass(frozen=True)
class Picture:
    """A cell of the sheet: its number, the words for those who do not see it, and perhaps a word below it."""

    cell: int
    description: str
    word: str = ""


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
        self.sheet = Sheet(analysis.source.shape[-1])
        self.source_cells, self.target_cells = self.sheet.add(analysis.source), self.sheet.add(analysis.target)
        self.translated_cells = None if analysis.translated is None else self.sheet.add(analysis.translated)

    @cached_property
    def gallery(self) -> list[Card]:
        """Source images with their translations and the real images nearest to these."""
        analysis, classes = self.analysis, self.analysis.classes
        if self.translated_cells is None or analysis.nearest is None:
            return []
        assert analysis.translated_predicted is not None
        assert analysis.translated_confidence is not None
        near = {by: self.sheet.add(images) for by, images in analysis.nearest.items()}
        cards = []
        for index in range(len(analysis.nearest["pixels"])):
            label = classes[analysis.source_labels[index]]
            seen = classes[analysis.translated_predicted[index]]
            sure = 100 * float(analysis.translated_confidence[index])
            pictures = [
                Picture(self.source_cells[index], f"{analysis.source_name} image of class {label}", "source"),
                Picture(self.translated_cells[index], f"its translation, seen as {seen}", "translated"),
                *(
                    Picture(cells[index], f"real {analysis.target_name} image nearest to it by {by}", f"by {by}")
                    for by, cells in near.items()
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
        return [
            (f"{word}: {name}", [Picture(cell, f"{name}, image {number + 1}") for number, cell in enumerate(cells)])
            for (name, cells), word in zip(
                ((name, self.sheet.add(images)) for name, images in found.items()), words, strict=True
            )
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
        rows = zip(self.sheet.add(found["images"]), labels, seen, found["confidence"].tolist(), strict=True)
        return [
            Card([Picture(cell, f"image of class {label}")], f"{label}, seen as {wrong}", f"{100 * sure:.1f} %")
            for cell, label, wrong, sure in rows
        ]

    @cached_property
    def method_charts(self) -> list[Chart]:
        """The method's losses and accuracies."""
        return [line_chart(panel) for panel in method_panels(self.analysis.method_curves)]

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
