"""Minutes until a classifier is right on so much of the target: ours beside textbook loops, on the three digit pairs.

``python benchmarks/time_to_accuracy.py curves --data-root DATA`` trains every contestant on every pair, by seed, until
its last goal or its last step, and keeps its accuracy on the target's test images by step; several may be started on
one folder. ``rates`` times a step of each in turns, on a machine that does nothing else. ``table`` multiplies the two,
adds what other result files say, and writes ``--out``, a figure beside it, and a table. So trainings may run beside
other work, and seconds are of steps alone: evaluation is not among them, nor is preparing data. ``--rehearse`` does the
same in tiny sizes on embedded images. Target labels are read for the curves alone.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from gpu import DIGITS, Bench
from speed import in_turns
from textbook import TextbookCycleGAN, TextbookSelfTraining
from torch import nn

from acclimate.data.augmentation import POLICIES
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.methods.cyclegan.method import CycleGAN
from acclimate.methods.self_training.config import SelfTrainingConfig
from acclimate.pipeline.environment import environment
from acclimate.pipeline.self_training import SelfTraining
from acclimate.progress import say
from acclimate.reporting.tables import insert
from acclimate.runs.evaluation import Classifier
from acclimate.training.locking import LockedError, locked
from acclimate.training.state import read_json, write_json

GOALS: Mapping[str, tuple[float, float]] = {"mnist-m": (0.837, 0.95), "usps": (0.854, 0.95), "svhn-8k": (0.37, 0.8)}
"""Accuracies of each target: the paper's, and one that it is far from."""

PACS_GOAL = 0.70
"""Mean accuracy over the twelve directions of PACS."""

TEXTBOOK = "textbook self-training"
OURS = {"self-training fast": "fast", "self-training best": "best"}
TRANSLATORS = {"cyclegan short": "short", "cyclegan fast": "fast"}
NOTEBOOK = "textbook CycleGAN"

EARLY = ", before labels of target images count"
"""Ends the name of what a step takes until then: from ``ramp_start`` on the teacher is asked, target images learnt."""

LONGEST = 2_000
"""Steps of the textbook's self-training at most."""

EVERY = 100
"""Steps between evaluations."""

Step = Callable[[int], Any]


class Contest:
    """The contestants on one pair.

    Parameters
    ----------
    target
        Name of the target domain; the source is MNIST.
    root
        Where the publishers' files are.
    tiny
        Embedded images of 16 pixels and few steps instead.
    """

    def __init__(self, target: str, root: Path | None, tiny: bool) -> None:
        self.target, self.bench = target, Bench("cpu", root, target, tiny)

    def ours(self, preset: str, seed: int) -> tuple[Step, nn.Module, int]:
        """Return a step of our self-training, its classifier, and how many steps it has."""
        bench = self.bench
        config = SelfTrainingConfig.preset(preset)
        config = replace(config, stage_steps=bench.few(config.stage_steps, 4))
        name = f"adapted-{seed}"
        stage = SelfTraining(name, bench.source, None, bench.target, config, bench.task, bench.engine, seed)
        return stage.step, stage.teacher, config.stage_steps

    def textbook(self, seed: int) -> tuple[Step, nn.Module, int]:
        """Return the same of the textbook's."""
        torch.manual_seed(seed)
        peer = TextbookSelfTraining(self.bench.source, self.bench.target, POLICIES["symbols"])
        return lambda _: peer.step(), peer.teacher, self.bench.few(LONGEST, 4)

    def contestant(self, name: str, seed: int) -> tuple[Step, nn.Module, int]:
        return self.ours(OURS[name], seed) if name in OURS else self.textbook(seed)

    def curve(self, name: str, seed: int) -> list[tuple[int, float]]:
        """Train a contestant to its last goal; return steps and accuracies on the target's test images."""
        step, classifier, steps = self.contestant(name, seed)
        judge, test = Classifier([classifier], DIGITS, self.bench.engine), self.bench.target_domain.labelled("test")
        every, found = self.bench.few(EVERY), []
        for number in range(steps):
            step(number)
            if (number + 1) % every == 0:
                found.append((number + 1, round(judge.accuracies(test)[0], 6)))
                say(f"{self.target}, {name}, seed {seed}: {number + 1}/{steps} steps, {100 * found[-1][1]:.1f} %")
                if found[-1][1] >= GOALS[self.target][-1]:
                    break
        return found

    def rates(self) -> dict[str, float]:
        """Return milliseconds of a step of every contestant, taken in turns; of ours also of an early one."""
        bench, late = self.bench, 10_000
        steps: dict[str, tuple[Step, int]] = {TEXTBOOK: (self.textbook(0)[0], late)}
        for name in OURS:
            steps[name + EARLY], steps[name] = (self.contestant(name, 0)[0], 0), (self.contestant(name, 0)[0], late)
        tiny = {"width": 4, "discriminator_width": 4} if bench.tiny else {}
        for name, preset in TRANSLATORS.items():
            config = CycleGANConfig.preset(preset, **tiny)
            steps[name] = CycleGAN(config, bench.task, bench.engine).phases(bench.data())[-1].step, 0
        notebook = CycleGANConfig.preset("notebook", **tiny)
        peer = TextbookCycleGAN(bench.source.pixels, bench.target.pixels, notebook.width, notebook.batch_size)
        steps[NOTEBOOK] = (lambda _: peer.step()), 0
        count = bench.few(10)

        def several(step: Step, first: int) -> Callable[[], Any]:
            numbers = iter(range(first, 2 * late))
            return lambda: [step(next(numbers)) for _ in range(count)]

        turns = {name: several(*one) for name, one in steps.items()}
        seconds = in_turns(turns, bench.few(5), bench.engine.device)
        return {name: round(1000 * value / count, 1) for name, value in seconds.items()}


def first_at(curve: Sequence[Sequence[float]], goal: float) -> float:
    """Return the first step at which a curve is at a goal or above it; infinity if there is none."""
    return next((step for step, accuracy in curve if accuracy >= goal), math.inf)


def minutes(name: str, steps: float, rates: Mapping[str, float]) -> float:
    """Return what so many steps of a contestant take."""
    early = min(steps, SelfTrainingConfig.preset(OURS[name]).ramp_start) if name in OURS else 0
    before = early * rates[name + EARLY] if early else 0.0
    return (before + (steps - early) * rates[name]) / 60_000


def measured(cells: Sequence[Mapping[str, Any]], rates: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """Yield for each target, goal and contestant the median minutes over seeds until its curve is there."""
    for target, goals in GOALS.items():
        for goal in goals:
            for name in (*OURS, TEXTBOOK):
                own = [cell for cell in cells if (cell["target"], cell["contestant"]) == (target, name)]
                if own:
                    each = [minutes(name, first_at(cell["curve"], goal), rates) for cell in own]
                    yield entry(target, goal, name, each)


def entry(target: str, goal: float, name: str, each: Sequence[float]) -> dict[str, Any]:
    """Return a row of the table; None among its minutes is a goal not reached."""
    shown = [None if math.isinf(value) else round(value, 2) for value in each]
    middle = median(each)
    return {
        "target": target,
        "goal": goal,
        "method": name,
        "minutes": None if math.isinf(middle) else round(middle, 2),
        "each": shown,
    }


def of_results(results: Path, rates: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """Yield the same of CycleGANs, from result files: of the author's settings the translator's steps alone.

    A seed of ours counts from its end, where alone it was judged; ``short`` without its three classifiers.
    """
    snapshots = json.loads((results / "mnist-mnist-m-notebook-0-snapshots.json").read_text())["runs"]
    (curve,) = [sorted((int(step), value) for step, value in run["accuracy"].items()) for run in snapshots]
    for target, goals in GOALS.items():
        for goal in goals:
            for name, preset in TRANSLATORS.items():
                config = CycleGANConfig.preset(preset)
                seconds = config.steps * rates[name] / 1000
                if config.classifier_stage == "self-training":
                    seconds += config.stage_steps * rates["self-training fast"] / 1000
                own = sorted(results.glob(f"mnist-{target}-cyclegan-{preset}-?.json"))
                right = [json.loads(one.read_text())["accuracy"]["mean"] for one in own]
                yield entry(target, goal, name, [seconds / 60 if one >= goal else math.inf for one in right])
            if target == "mnist-m":
                yield entry(target, goal, NOTEBOOK, [minutes(NOTEBOOK, first_at(curve, goal), rates)])


def of_photos(results: Path) -> Iterator[dict[str, Any]]:
    """Yield the methods that reach the goal on PACS without its labels, with a direction's seconds of training."""
    content = json.loads((results / "photos.json").read_text())["results"]
    for method in dict.fromkeys(one["method"] for one in content if one["method"] != "target-only"):
        own = [one for one in content if one["method"] == method]
        accuracy = fmean(one["accuracy"] for one in own)
        if len({(one["source"], one["target"]) for one in own}) == 12 and accuracy >= PACS_GOAL:
            seconds = fmean(one["training_seconds"] for one in own)
            yield {"method": method, "accuracy": round(accuracy, 4), "seconds": round(seconds, 1)}


def table(result: Mapping[str, Any]) -> str:
    """Return Markdown: minutes to each goal by method."""
    columns = [(target, goal) for target, goals in GOALS.items() for goal in goals]
    head = ["minutes until", *(f"{target} {100 * goal:.3g} %" for target, goal in columns), "ms a step"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    rows = {(row["target"], row["goal"], row["method"]): row for row in result["minutes"]}
    for name in (*OURS, TEXTBOOK, *TRANSLATORS, NOTEBOOK):
        shown = [_shown(rows.get((*column, name))) for column in columns]
        rate = f"{result['ms_a_step'][name]:,.0f}"
        lines.append(f"| {' | '.join([name, *shown, rate])} |")
    photos = ", ".join(f"{one['method']} {one['seconds']:.0f} s" for one in result["pacs"])
    return "\n".join([*lines, "", LEGEND.format(threads=result["threads"], device=result["device"], photos=photos)])


def _shown(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    count, reached = len(row["each"]), sum(one is not None for one in row["each"])
    if row["minutes"] is None:
        return "not reached" if not reached else f"by {reached} of {count}"
    return f"{row['minutes']:.1f}" + (f" ({reached} of {count})" if reached < count else "")


LEGEND = """Minutes on {threads} threads of {device}, medians over seeds: the first step at which the classifier is that
right on the target's test images (every hundredth is looked at), times what a step takes, all steps timed in turns; of
ours, steps take less before labels of target images count, and the last column has what they take from there on.
Evaluation and preparing data are not among them. The textbook's loops are benchmarks/textbook.py: float32, eager, a
DataLoader. CycleGANs count from their end, where alone they are judged: `fast` with its classifier, `short`, which is
the paper's recipe, and the textbook's, which has the author's settings and is judged by the snapshots of one run of
ours, by their translators alone. Mean accuracy of 70 % on PACS, a direction's training on one thread: {photos}."""


def draw(cells: Sequence[Mapping[str, Any]], rates: Mapping[str, float], out: Path) -> None:
    """Draw accuracy over minutes, a panel a pair, a line a seed, the goals dotted."""
    from matplotlib.figure import Figure

    figure, lines = Figure(figsize=(11, 3.6), layout="constrained"), {}
    panels = figure.subplots(1, len(GOALS), squeeze=False)[0]
    for panel, (target, goals) in zip(panels, GOALS.items(), strict=True):
        for goal in goals:
            panel.axhline(100 * goal, color="gray", linestyle=":", linewidth=1)
        for color, name in enumerate((*OURS, TEXTBOOK)):
            own = [cell["curve"] for cell in cells if (cell["target"], cell["contestant"]) == (target, name)]
            for curve in own:
                x = [minutes(name, step, rates) for step, _ in curve]
                y = [100 * value for _, value in curve]
                (lines[name],) = panel.plot(x, y, color=f"C{color}", linewidth=1.2)
        panel.set(title=f"mnist → {target}", xlabel="minutes", xlim=(0, None))
    panels[0].set_ylabel("right on test images, %")
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), frameon=False)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["curves", "rates", "table"])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--targets", default=",".join(GOALS), help="names with commas between")
    parser.add_argument("--contestants", default=",".join((*OURS, TEXTBOOK)), help="names with commas between")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0 for all cores")
    parser.add_argument("--work", type=Path, default=Path("runs/time-to-accuracy"), help="where parts are kept")
    parser.add_argument("--results", type=Path, default=Path("docs/results"), help="where result files are")
    parser.add_argument("--out", type=Path, default=Path("docs/results/time-to-accuracy.json"))
    parser.add_argument("--into", type=Path, help="a document for the table, such as docs/performance.md")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on embedded images")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    targets = arguments.targets.split(",")
    if arguments.part == "curves":
        curves(targets, arguments)
    elif arguments.part == "rates":
        contest = Contest(targets[0], arguments.data_root, arguments.rehearse)
        write_json(arguments.work / "rates.json", {"ms_a_step": contest.rates(), **environment(contest.bench.engine)})
    else:
        rates = read_json(arguments.work / "rates.json")
        cells = [read_json(file) for file in sorted(arguments.work.glob("curve-*.json"))]
        ms = rates["ms_a_step"]
        result = {
            "minutes": [*measured(cells, ms), *of_results(arguments.results, ms)],
            "pacs": list(of_photos(arguments.results)),
            "curves": cells,
            **rates,
        }
        write_json(arguments.out, result)
        if arguments.into:
            insert(arguments.into, "minutes", table(result))
        draw(cells, ms, arguments.out.with_suffix(".png"))
        print(table(result))


def curves(targets: Sequence[str], arguments: argparse.Namespace) -> None:
    """Train what no other process has trained or is training."""
    for seed in range(arguments.seeds):
        for target in targets:
            contest = None
            for name in arguments.contestants.split(","):
                file = arguments.work / f"curve-{target}-{name.replace(' ', '-')}-{seed}.json"
                try:
                    with locked(file.with_suffix(".lock")):
                        if file.exists():
                            continue
                        contest = contest or Contest(target, arguments.data_root, arguments.rehearse)
                        curve = contest.curve(name, seed)
                        cell = {"target": target, "contestant": name, "seed": seed, "curve": curve}
                        write_json(file, cell | {"threads": torch.get_num_threads()})
                except LockedError:
                    continue


if __name__ == "__main__":
    main()
