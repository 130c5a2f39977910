"""Tables of results, from result files alone: every number with its spread, its published peer and its files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib.resources import files
from itertools import product
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, Literal

from acclimate.config import SELF_TRAINED
from acclimate.errors import AcclimateError, RunError
from acclimate.methods.registry import find_config
from acclimate.training.state import read_json

Format = Literal["markdown", "csv", "latex"]
BARS = ("source-only", "target-only")

BESIDE = frozenset({"target_only", "share_bars", "checkpoint_every", "compile"})
"""Settings that make no other row: they change what is measured beside, or how, but not what is learnt."""


@dataclass(frozen=True)
class Result:
    """A result file.

    Attributes
    ----------
    path
        Where it lies.
    content
        What it says.
    """

    path: Path
    content: Mapping[str, Any]

    def seen_from(self, folder: Path) -> Result:
        """Return the same with its path relative to a folder, for links in a document there."""
        return replace(self, path=Path(os.path.relpath(self.path, folder)))


@dataclass(frozen=True)
class Spread:
    """A mean with its spread, in %.

    Attributes
    ----------
    mean, std
        Over ``count`` accuracies; the population standard deviation, as in the paper.
    count, over
        How many, and of what: ``classifier seeds`` of one run, or ``pipeline seeds``.
    """

    mean: float
    std: float
    count: int
    over: str

    @classmethod
    def of(cls, accuracies: Sequence[Mapping[str, Any] | None]) -> Spread | None:
        """Return one run's own spread, or that of the means of several; None where nothing was measured."""
        known = [accuracy for accuracy in accuracies if accuracy is not None]
        if not known:
            return None
        means = [accuracy["mean"] for accuracy in known]
        if len(known) == 1:
            return cls(100 * means[0], 100 * known[0]["std"], len(known[0]["runs"]), known[0]["spread"])
        return cls(100 * fmean(means), 100 * pstdev(means), len(known), "pipeline seeds")

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.std:.1f}" if self.count > 1 else f"{self.mean:.1f}"


@dataclass(frozen=True)
class Row:
    """All runs of one method with the same settings on one pair.

    Attributes
    ----------
    changes
        The settings that differ from the preset's, as text.
    """

    source: str
    target: str
    method: str
    preset: str
    changes: str
    runs: tuple[Result, ...]

    @property
    def pair(self) -> str:
        """The two domains, for people."""
        return f"{self.source} → {self.target}"

    @property
    def settings(self) -> str:
        """The preset, and what differs from it."""
        return f"{self.preset}, {self.changes}" if self.changes else self.preset

    @property
    def accuracy(self) -> Spread | None:
        """The method's own accuracy."""
        return Spread.of([run.content["accuracy"] for run in self.runs])

    def bar(self, name: str) -> Spread | None:
        """``source-only``, ``target-only`` or an augmented one of the same runs."""
        return Spread.of([run.content["baselines"].get(name.replace("-", "_")) for run in self.runs])

    @property
    def costs(self) -> str:
        """Mean minutes of training on each kind of machine."""
        machines: dict[str, list[float]] = {}
        for run in (run.content for run in self.runs):
            machine = f"{run['device'].split(',')[0]}, {_count(run['threads'], 'thread')}"
            machines.setdefault(machine, []).append(run["seconds"]["total"] / 60)
        return "; ".join(f"{fmean(minutes):.0f} on {machine}" for machine, minutes in sorted(machines.items()))


def read_results(paths: Iterable[Path]) -> list[Result]:
    """Read result files; a folder stands for every result file below it.

    Raises
    ------
    RunError
        A file is not there or is no result, or there is none at all.
    """
    results: list[Result] = []
    for path in paths:
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            content = read_json(file)
            if isinstance(content, dict) and {"schema", "method", "accuracy", "baselines"} <= content.keys():
                results.append(Result(file, content))
            elif not path.is_dir():
                raise RunError(f"{file} is not a result file")
    if not results:
        raise RunError("no result file there")
    return results


def group(results: Iterable[Result]) -> list[Row]:
    """Gather the runs of each pair, method, preset and changes to it."""
    groups: dict[tuple[str, str, str, str, str], list[Result]] = {}
    for result in results:
        one = result.content
        key = (one["source"], one["target"], one["method"], preset_of(one), _told(one.get("changes", {})))
        groups.setdefault(key, []).append(result)
    return [Row(*key, tuple(runs)) for key, runs in sorted(groups.items())]


def _told(changes: Mapping[str, Any]) -> str:
    """Return changed settings as text; of a self-training stage, those that it has in every preset are one word."""
    left = {name: value for name, value in changes.items() if name not in BESIDE}
    words = []
    if left.get("classifier_stage") == SELF_TRAINED["classifier_stage"]:
        left = {name: value for name, value in left.items() if value != SELF_TRAINED.get(name)}
        words = ["self-trained"]
    for name, value in left.items():
        word = name.replace("_", " ")
        words.append(f"{word} {value}" if not isinstance(value, bool) else word if value else f"no {word}")
    return ", ".join(words)


def preset_of(result: Mapping[str, Any]) -> str:
    """Return the preset of a result: as it is called now if renamed since; of which version, if it changed."""
    name: str = result["preset"]
    try:
        presets = find_config(result["method"])
    except AcclimateError:  # a method that is not installed here
        return name
    recorded, told = result.get("config", {}), result.get("changes", {})
    aside = {"seed", *told, *BESIDE, *(("image_size", "interpolation") if recorded.get("backbone") else ())}
    before: Mapping[str, Any] = {**{field.name: field.default for field in fields(presets)}, **presets.formerly}

    def is_it(preset: str) -> bool:
        now = asdict(presets.preset(preset))
        return all(recorded.get(key, before[key]) == value for key, value in now.items() if key not in aside)

    if not recorded or name not in presets.presets or is_it(name):
        return name
    return next((other for other in presets.presets if is_it(other)), f"{name} of {result['versions']['acclimate']}")


@cache
def _published() -> Mapping[str, Any]:
    value: Mapping[str, Any] = read_json(files(__package__).joinpath("published.json"))
    return value


@dataclass(frozen=True)
class Published:
    """A published accuracy, in %; ``std`` is None where its paper has none."""

    mean: float
    std: float | None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.std is None else f"{self.mean:.1f} ± {self.std:.1f}"

    def distance(self, own: Spread) -> str:
        """Return by how many points our mean is above it (+) or below it (-)."""
        return f"{own.mean - self.mean:+.1f}"


def published(source: str, target: str, method: str) -> Published | None:
    """Return the published accuracy, None where there is none that we know.

    For a part of a domain (``svhn-8k``) it is that on the whole.
    """
    wholes = _published()["parts"]
    key = (wholes.get(source, source), wholes.get(target, target), method)
    for one in _published()["results"]:
        if (one["source"], one["target"], one["method"]) == key:
            return Published(100 * one["accuracy"], None if one["std"] is None else 100 * one["std"])
    return None


def list_table(results: Sequence[Result], style: Format = "markdown") -> str:
    """Return a table with a row a pair, method and preset, between the bars, in % on the target's test images.

    *Augmented* is source-only with the network and the augmentation of the run's own classifier, where the paper's has
    others.
    One run shows its classifier seeds' spread; several runs show the spread of their means over pipeline seeds.
    """
    header = ["source → target", "method", "source only", "augmented", "adapted", "target only"]
    header += ["published", "distance", "± over", "minutes", "files"]
    body = []
    for row in group(results):
        own = row.accuracy
        over = _count(own.count, own.over) if own else "–"
        known = published(row.source, row.target, row.method)
        cells = [
            row.pair,
            f"{row.method} {row.settings}",
            row.bar("source-only"),
            row.bar("source-only-augmented"),
            _bold(own, style),
            row.bar("target-only"),
            known,
            known.distance(own) if known and own else None,
            over,
            row.costs,
        ]
        body.append([*("–" if cell is None else str(cell) for cell in cells), _links(row.runs, style)])
    return _write(header, body, style)


def matrix_table(results: Sequence[Result], style: Format = "markdown", *, folded: bool = False) -> str:
    """Return a table of methods by pairs, in brackets the published number and our distance; each pair's best in bold.

    The two bars are those that the runs trained beside the methods, a row for each classifier network. Below the table
    stands what ± is over, and every cell's files; folded away, as GitHub shows it, if ``folded``.
    """
    rows = group(results)
    pairs = list(dict.fromkeys((row.source, row.target) for row in rows))
    settings = {row.settings for row in rows}
    cells: dict[tuple[str, tuple[str, str]], Spread] = {}
    methods: dict[str, str | None] = {}  # by what stands in the first column
    notes = []
    for row in rows:
        name = row.method if len(settings) == 1 else f"{row.method} {row.settings}"
        if row.accuracy is not None:
            methods[name] = row.method
            cells[name, (row.source, row.target)] = row.accuracy
            over = _count(row.accuracy.count, row.accuracy.over)
            notes.append(f"{row.pair}, {name} ({over}): {_links(row.runs, style)}")
    trained = sorted({one.trained for row in rows for run in row.runs for one in bars_of(run.content)})
    bars: dict[str, dict[str, str | None]] = {bar: {} for bar in BARS}
    for bar, training in product(BARS, trained):
        name = bar if len(trained) == 1 else f"{bar} {training}"
        bars[bar][name] = bar if len(trained) == 1 or training == "gta" else None  # gta is that of the published ones
        for pair in pairs:
            runs = [run.content for row in rows if (row.source, row.target) == pair for run in row.runs]
            measured = _bar(runs, bar, training)
            if measured is not None:
                cells.setdefault((name, pair), measured)
    lower, upper = bars.values()
    body = []
    measured_somewhere = {name for name, _ in cells}
    for name, method in (lower | dict(sorted(methods.items() - lower.items() - upper.items())) | upper).items():
        if method is None and name not in measured_somewhere:
            continue
        line = [name]
        for pair in pairs:
            rivals = [cell.mean for (rival, where), cell in cells.items() if where == pair and rival not in upper]
            cell = cells.get((name, pair))
            best = cell is not None and name not in upper and cell.mean == max(rivals)
            shown = "–" if cell is None else _bold(cell, style) if best else str(cell)
            known = published(*pair, method) if method else None
            if known is not None:
                shown += f" [{known}]" if cell is None else f" [{known}, {known.distance(cell)}]"
            line.append(shown)
        body.append(line)
    table = _write(["method", *(f"{source} → {target}" for source, target in pairs)], body, style)
    if style == "csv":
        return table
    mark = "% " if style == "latex" else "- "
    explained = (
        "Accuracy in % on the target's test images; in brackets the published number (sources:"
        " src/acclimate/reporting/published.json;"
        " of a part of a domain, such as svhn-8k, that on the whole) and our distance from it in points."
    )
    files = [mark + note for note in notes]
    if folded:
        files = ["<details><summary>Seeds and files behind each number</summary>", "", *files, "", "</details>"]
    return "\n".join([table, "", f"{'% ' if style == 'latex' else ''}{explained}", "", *files])


def insert(document: Path, name: str, text: str) -> None:
    """Put text into a Markdown file, in place of what stands between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises
    ------
    AcclimateError
        The document has no such place.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    content = document.read_text(encoding="utf-8")
    if begin not in content or end not in content:
        raise AcclimateError(f"{document} has no place for the table: {begin} and {end}")
    before, after = content.split(begin)[0], content.split(end)[1]
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return _write(header, body, "markdown")


@dataclass(frozen=True)
class Bar:
    """A bar that a run trained.

    Attributes
    ----------
    name
        ``source-only`` or ``target-only``.
    trained
        Its network, and its augmentation if it has one.
    accuracy
        As in the result file.
    """

    name: str
    trained: str
    accuracy: Mapping[str, Any]


def bars_of(result: Mapping[str, Any]) -> list[Bar]:
    """Return the bars of a result, those with the run's own augmentation too."""
    found = []
    for key, accuracy in result["baselines"].items():
        if accuracy is not None:
            network = accuracy.get("classifier", result["config"]["classifier"])
            augment = accuracy.get("augment", "none")
            trained = network if augment == "none" else f"{network}, {augment}"
            found.append(Bar(key.removesuffix("_augmented").replace("_", "-"), trained, accuracy))
    return found


def _bar(runs: Iterable[Mapping[str, Any]], bar: str, trained: str) -> Spread | None:
    """Return a bar over the runs of a pair; one that several methods share counts once."""
    found = [(run["seed"], one) for run in runs for one in bars_of(run) if (one.name, one.trained) == (bar, trained)]
    return Spread.of([*{(seed, *one.accuracy["runs"]): one.accuracy for seed, one in found}.values()])


def _bold(cell: Spread | None, style: Format) -> str:
    if cell is None:
        return "–"
    return {"markdown": f"**{cell}**", "csv": str(cell), "latex": f"\\textbf{{{cell}}}"}[style]


def _links(runs: Sequence[Result], style: Format) -> str:
    if style != "markdown":
        return " ".join(run.path.as_posix() for run in runs)
    return " ".join(f"[{run.content['seed']}]({run.path.as_posix()})" for run in runs)


def _count(number: int, what: str) -> str:
    return f"{number} {what.removesuffix('s')}" if number == 1 else f"{number} {what.removesuffix('s')}s"


def _write(header: Sequence[str], body: Sequence[Sequence[str]], style: Format) -> str:
    if style == "csv":
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([header, *body])
        return buffer.getvalue().rstrip("\n")
    if style == "latex":
        lines = [" & ".join(map(_escape, line)) + r" \\" for line in (header, *body)]
        middle = "\n".join(lines[1:])
        return (
            f"\\begin{{tabular}}{{l{'c' * (len(header) - 1)}}}\n\\toprule\n{lines[0]}\n\\midrule\n"
            f"{middle}\n\\bottomrule\n\\end{{tabular}}"
        )
    lines = ["| " + " | ".join(line) + " |" for line in (header, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def _escape(text: str) -> str:
    for plain, escaped in {"→": r"$\to$", "±": r"$\pm$", "–": "--", "_": r"\_", "%": r"\%", "&": r"\&"}.items():
        text = text.replace(plain, escaped)
    return text
