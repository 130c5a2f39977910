"""What a run's result says, in words and rows: what the report of one run and the comparison of several share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from acclimate.methods import find_config
from acclimate.reporting.analysis import Analysis
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.kinds import KIND_NAMES, accuracies
from acclimate.training.state import read_json

MEANINGS = {
    "source-only": "a classifier without adaptation, trained as in the paper",
    "source-only-augmented": "the run's own network and augmentation, without the target",
    "adapted": "what this run is about",
    "target-only": "trained on target labels, which adaptation does not have",
    "target-only-augmented": "the run's own network and augmentation, trained on target labels",
}


ON_FEATURES = {
    "source-only": "a linear classifier of the backbone's features, without adaptation",
    "target-only": "the same, trained on target labels, which adaptation does not have",
}
"""What the bars are in a run with a backbone."""


@dataclass(frozen=True)
class Bar:
    """A classifier's accuracy on the target's test images, in %, and what the classifier is."""

    kind: str
    name: str
    meaning: str
    mean: float
    std: float
    runs: list[float]


def bars(result: Mapping[str, Any], kind: str) -> list[Bar]:
    """Return the accuracies that a result has, lowest bar first."""
    meanings = {**MEANINGS, **(ON_FEATURES if result.get("config", {}).get("backbone") else {})}
    return [Bar(one, KIND_NAMES[one], meanings[one], *_percent(part)) for one, part in accuracies(result, kind).items()]


def _percent(part: Mapping[str, Any]) -> tuple[float, float, list[float]]:
    return 100 * part["mean"], 100 * part["std"], [100 * value for value in part["runs"]]


def gap_closed(shown: Sequence[Bar]) -> float | None:
    """Return how much of the way from source-only to target-only adaptation went, in %; None without all three."""
    means = {bar.kind: bar.mean for bar in shown}
    if not {"source-only", "adapted", "target-only"} <= means.keys() or means["target-only"] <= means["source-only"]:
        return None
    return 100 * (means["adapted"] - means["source-only"]) / (means["target-only"] - means["source-only"])


def verdict(result: Mapping[str, Any], kind: str, shown: Sequence[Bar]) -> str:
    """Say in a sentence or two what came out."""
    if result["accuracy"] is None:
        return "The target has no labels, so the accuracy there is unknown."
    means = {bar.kind: bar.mean for bar in shown}
    if kind != "adapted":
        return f"{means[kind]:.1f} % of the target's test images are classified right. This run does not adapt."
    gain = means["adapted"] - means["source-only"]
    text = f"{means['adapted']:.1f} % of the target's test images are classified right, "
    text += f"{abs(gain):.1f} points {'more' if gain >= 0 else 'fewer'} than without adaptation."
    closed = gap_closed(shown)
    if closed is not None and closed > 100:
        text += f" That is more than a classifier trained on target labels reached, {means['target-only']:.1f} %."
    elif closed is not None and closed > 0:
        text += f" That is {closed:.0f} % of the way to a classifier trained on target labels."
    return text


class Summary:
    """A finished run in words and rows.

    Parameters
    ----------
    adaptation
        The run.
    analysis
        Its analysis.

    Attributes
    ----------
    title, verdict
        The pair of domains, and in a sentence what came out.
    bars, gap_closed
        The accuracies, and how far adaptation went from source-only to target-only, in %.
    selection
        What ``selection.json`` says, None where there is none.
    """

    def __init__(self, adaptation: Adaptation, analysis: Analysis) -> None:
        self.analysis, self.kind = analysis, adaptation.own_kind
        self.stored, self.result, self.config = adaptation.run.config, adaptation.run.result, asdict(adaptation.config)
        self.path = adaptation.run.path
        self.title = f"{analysis.source_name} → {analysis.target_name}"
        self.bars = bars(self.result, self.kind)
        self.verdict, self.gap_closed = verdict(self.result, self.kind, self.bars), gap_closed(self.bars)
        path = self.path / "selection.json"
        self.selection: dict[str, Any] | None = read_json(path) if path.exists() else None

    @property
    def protocol(self) -> list[tuple[str, str]]:
        """What the numbers were measured under, a line each."""
        result, protocol = self.result, self.result["protocol"]
        lines = []
        for role, name in (("source", self.analysis.source_name), ("target", self.analysis.target_name)):
            train, val, test = protocol["splits"][role]
            lines.append(
                (f"{role.capitalize()}, {name}", f"{train:,} training, {val:,} validation, {test:,} test images")
            )
        contents = {
            "shared": "shared: both domains show the same objects",
            "disjoint": "disjoint: the domains were given different halves of the same objects",
            "separate": "separate: each domain has its own objects",
        }
        lines += [
            ("Content", contents[protocol["content"]]),
            *((f"MD5 of {name.rpartition('/')[2]}", checksum) for name, checksum in protocol["data"].items()),
            ("Seed of the run", str(result["seed"])),
        ]
        if result["accuracy"] is not None:
            count, spread = len(result["accuracy"]["runs"]), result["accuracy"]["spread"]
            lines.append(("± is the spread over", f"{count} {spread}, population standard deviation"))
        step = result["selection"]["checkpoint"]
        return [
            *lines,
            *([("Checkpoint", f"step {step:,}, by the rule “{result['selection']['rule']}”")] if step else []),
            ("Device", f"{result['device']}; {_count(result['threads'], 'thread')}, {result['precision']}"),
            ("Peak memory", f"{result['peak_memory_mb']:,.0f} MB"),
            ("Versions", ", ".join(f"{name} {version}" for name, version in result["versions"].items())),
            *([("Commit", result["commit"])] if result["commit"] else []),
            ("Started", self.stored["created"]),
        ]

    @property
    def minutes(self) -> list[tuple[str, float]]:
        """What each part took."""
        names = {"translator": "the method", "translation": "translating", "classifier": "its classifiers"}
        return [
            (names.get(part, part.replace("_", "-")), seconds / 60)
            for part, seconds in self.result["seconds"].items()
            if seconds
        ]

    @property
    def seen(self) -> list[tuple[str, bool, str]]:
        """What could have been seen of the target, whether it was, and how that is known."""
        result, name = self.result, self.analysis.target_name
        rule = f"the rule “{result['selection']['rule']}”"
        chose, transductive = result["selection"]["target_labels_used"], result["protocol"]["transductive"]
        lines = [
            (
                "Target labels, by the method",
                self.kind == "target-only",
                f"It is the bar that trains on {name}'s own labels."
                if self.kind == "target-only"
                else f"It is handed {name}'s images in a type that has no labels.",
            ),
            (
                "Target labels, by the choice of the checkpoint",
                chose,
                f"It used them, by {rule}: the accuracy is too good." if chose else f"It needs none, by {rule}.",
            ),
            (
                "Target test images, by any training",
                transductive,
                "Without their labels: the accuracy is transductive."
                if transductive
                else "The accuracy is on images that are new to every network.",
            ),
        ]
        if not self.analysis.has_labels:
            return [*lines, ("Target labels, by the evaluation", False, "There are none.")]
        if result["baselines"]["target_only"] is not None and self.kind != "target-only":
            lines.append(("Target labels, by the target-only bar", True, "It is trained on them, for comparison only."))
        after = "After all training: for the accuracy, the confusion, the mistakes and the classes in the maps."
        return [*lines, ("Target labels, by the evaluation and this page", True, after)]

    @property
    def settings(self) -> list[tuple[str, str, str]]:
        """Every setting with its value, and the preset's where the run was told another."""
        preset = find_config(self.result["method"]).preset(self.result["preset"])
        return [
            (name, word(value), word(getattr(preset, name)) if name in self.result["changes"] else "")
            for name, value in self.config.items()
        ]


def word(value: object) -> str:
    """Return a setting as it is shown."""
    return "–" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
