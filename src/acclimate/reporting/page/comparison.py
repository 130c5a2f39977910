"""What stands in the comparison of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from acclimate.reporting.analysis import Analysis
from acclimate.reporting.counts import one_of_each, precision_recall
from acclimate.reporting.page.pages import Picture
from acclimate.reporting.page.sprites import Sheet
from acclimate.reporting.page.summary import Summary, word
from acclimate.runs.adaptation import Adaptation

STRIP = 10


class Comparison:
    """Everything that the comparison of several runs shows.

    Parameters
    ----------
    runs
        The runs with their analyses.
    """

    title, large = "Comparison of runs", None

    def __init__(self, runs: Sequence[tuple[Adaptation, Analysis]]) -> None:
        self.runs = [Summary(adaptation, analysis) for adaptation, analysis in runs]
        self.sheet = Sheet(max(analysis.source.shape[-1] for _, analysis in runs))

    @property
    def names(self) -> list[str]:
        """The runs' folders, numbered where these have the same name."""
        folders = [run.path.resolve().name for run in self.runs]
        return [
            name if folders.count(name) == 1 else f"{name} ({folders[: index + 1].count(name)})"
            for index, name in enumerate(folders)
        ]

    @cached_property
    def strips(self) -> list[list[tuple[str, list[Picture]]]]:
        """Of each run rows of source images and their translations: each row's name and pictures."""
        return [self._strip(run.analysis) for run in self.runs]

    def _strip(self, analysis: Analysis) -> list[tuple[str, list[Picture]]]:
        chosen = one_of_each(analysis.source_labels, STRIP)
        labels = [analysis.classes[label] for label in analysis.source_labels[chosen]]
        rows = [(analysis.source_name, analysis.source)]
        if analysis.translated is not None:
            rows.append(("translated", analysis.translated))
        strip = []
        for name, images in rows:
            pairs = zip(self.sheet.add(images[chosen]), labels, strict=True)
            strip.append((name, [Picture(cell, f"{name}, class {label}") for cell, label in pairs]))
        return strip

    @property
    def caveats(self) -> list[str]:
        """What keeps the runs' numbers from being compared."""
        checksums: dict[str, set[str]] = {}
        splits: dict[str, set[tuple[int, ...]]] = {}
        for run in self.runs:
            protocol = run.result["protocol"]
            for name, checksum in protocol["data"].items():
                checksums.setdefault(name.rpartition("/")[2], set()).add(checksum)
            for role, name in (("source", run.analysis.source_name), ("target", run.analysis.target_name)):
                splits.setdefault(name, set()).add(tuple(protocol["splits"][role]))
        found = [f"The runs have different copies of {name}." for name, kinds in checksums.items() if len(kinds) > 1]
        found += [f"The runs split {name} differently." for name, kinds in splits.items() if len(kinds) > 1]
        if len({run.title for run in self.runs}) > 1:
            found.append("The runs are on different pairs of domains.")
        elif len({run.result["protocol"]["content"] for run in self.runs}) > 1:
            found.append("In some runs both domains show the same objects, in others they do not.")
        if len({(run.result["device"], run.result["threads"]) for run in self.runs}) > 1:
            found.append("The runs had different devices or numbers of threads: their minutes do not compare.")
        return found

    @property
    def settings(self) -> list[tuple[str, list[str]]]:
        """The settings that differ, with each run's value."""
        names = dict.fromkeys(name for run in self.runs for name in run.config)
        rows = [(name, [word(run.config.get(name)) for run in self.runs]) for name in names]
        return [(name, values) for name, values in rows if len(set(values)) > 1]

    @property
    def recalls(self) -> list[tuple[str, list[float]]]:
        """Each class's recall in each run, in %; empty where the runs have not the same labelled target."""
        targets = {(run.analysis.target_name, run.analysis.classes) for run in self.runs}
        matrices = [run.analysis.confusion[run.kind] for run in self.runs if run.analysis.confusion is not None]
        if len(targets) > 1 or len(matrices) < len(self.runs):
            return []
        columns = [(100 * precision_recall(counts)[1]).tolist() for counts in matrices]
        rows = [list(row) for row in zip(*columns, strict=True)]
        return list(zip(self.runs[0].analysis.classes, rows, strict=True))
