"""The choice among methods: candidates are tried within a budget of time, and the best is taken without target labels.

Each candidate is a run of its own below the run, in a process of its own: one that fails takes nothing with it, one
that is over the budget is stopped, and a run that was stopped goes on with what is not done. First every family gets a
short training; the one that is forecast to be right most often gets the time that is left.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from acclimate.config import SELF_TRAINED
from acclimate.errors import AcclimateError, InterruptedRunError
from acclimate.methods import find_config
from acclimate.methods.auto.config import AutoConfig
from acclimate.pipeline.candidates import Candidate, judged, taken
from acclimate.pipeline.children import Child, run_child
from acclimate.pipeline.starting import start
from acclimate.progress import clock, say
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.kinds import Kind, recipe
from acclimate.training.state import load_tree, read_json, write_json

ON_FEATURES = ("self-training", "mcc", "shot", "cdan", "dann")
"""What is tried on a backbone's features: seconds to a minute each."""

LONGEST = 5_000
"""Steps of a long self-training at most."""

LEAST = 1_200
"""Steps below which a long self-training is not worth a start."""

COST = {"cyclegan": 2.0, "pixelda": 2.0}
"""What the short trainings of others take, as multiples of that of self-training, measured on two CPU cores."""

MARGIN = 0.8
"""Share of the time left that is planned for."""

DONE, STOPPED, FAILED, LEFT_OUT = "done", "stopped at the budget", "failed", "left out"
UNDER_WAY, INTERRUPTED = "under way", "interrupted"

OF_IMAGES = (
    *("image_size", "channels", "fit", "interpolation", "backbone", "weights", "backbone_statistics"),
    *("classes", "disjoint", "strict", "precision"),
)
"""Settings that say what images are: the same for all, as the candidate that is taken classifies the run's images."""

SOURCE_BARS: tuple[Kind, ...] = ("source-only", "source-only-augmented")


@dataclass(frozen=True)
class Trial:
    """A candidate that is to be trained.

    Attributes
    ----------
    name
        Names its folder.
    method, preset, settings
        What is run.
    seconds
        What it is expected to take, 0 where nothing tells.
    """

    name: str
    method: str
    preset: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Ledger:
    """What became of each candidate and what it took, kept in a file."""

    def __init__(self, adaptation: Adaptation) -> None:
        self.file = adaptation.run.candidate("ledger.json")
        self.entries: dict[str, dict[str, Any]] = read_json(self.file) if self.file.exists() else {}
        bars = [load_tree(path) for path in (adaptation.run.path / "models").glob("source-only*.safetensors")]
        self.before: float = sum(bar["seconds"] for bar in bars if not bar["reused"])

    @property
    def spent(self) -> float:
        """Seconds of training so far, the bars included that were not there yet."""
        return self.before + sum(float(entry["seconds"]) for entry in self.entries.values())

    def write(self, trial: Trial, status: str, seconds: float, why: str = "") -> None:
        entry = {"method": trial.method, "preset": trial.preset, "settings": dict(trial.settings)}
        self.entries[trial.name] = {**entry, "status": status, "seconds": round(seconds, 1), "why": why}
        write_json(self.file, self.entries)

    def done(self) -> list[str]:
        return [name for name, entry in self.entries.items() if entry["status"] == DONE]


def choose_candidate(adaptation: Adaptation) -> None:
    """Try candidates as the budget allows, and write what is taken to ``choice.json``.

    Raises
    ------
    AcclimateError
        Every candidate failed.
    InterruptedRunError
        Ctrl-C or SIGTERM; the candidate under way has saved its state.
    """
    run, config = adaptation.run, adaptation.config
    if run.choice.exists():
        return
    assert isinstance(config, AutoConfig)
    ledger = Ledger(adaptation)
    for trial in _plan(adaptation, ledger):
        entry = ledger.entries.get(trial.name, {})
        if entry.get("status") in (DONE, LEFT_OUT):
            continue
        before, left = entry.get("seconds", 0.0), config.seconds - ledger.spent
        if left <= 0 or trial.seconds - before > left:
            ledger.write(trial, LEFT_OUT, before, f"needs about {clock(trial.seconds)}" if left > 0 else "no time left")
            say(f"{trial.name}: left out, {ledger.entries[trial.name]['why']}; {clock(max(left, 0))} are left")
            continue
        say(f"{trial.name}: {trial.method} {trial.preset}, {clock(left)} left; log in {run.candidate(trial.name)}.log")
        ledger.write(trial, UNDER_WAY, before)
        child = _try(adaptation, trial, left)
        done = (run.candidate(trial.name) / "result.json").exists()
        status = DONE if done else INTERRUPTED if child.interrupted else STOPPED if child.stopped else FAILED
        ledger.write(trial, status, before + child.seconds, child.error)
        if status == INTERRUPTED:
            raise InterruptedRunError(f"stopped in {trial.name}; go on with: acclimate run --resume {run.path}")
        told = f"forecast {100 * _forecast(adaptation, trial.name):.0f} %" if done else child.error
        say(f"{trial.name}: {status} after {clock(child.seconds)}" + (f", {told}" if told else ""))
    _choose(adaptation, ledger)


def _plan(adaptation: Adaptation, ledger: Ledger) -> Iterator[Trial]:
    """Yield what to try, cheapest first; what comes later depends on what came out."""
    config = adaptation.config
    assert isinstance(config, AutoConfig)
    if config.named or config.backbone:
        yield from (Trial(name, name, config.preset_of_candidates) for name in config.named or ON_FEATURES)
        return
    yield Trial("self-training", "self-training", "fast")
    once = ledger.entries["self-training"]["seconds"]
    yield Trial("cyclegan", "cyclegan", "fast", seconds=COST["cyclegan"] * once)
    short = [name for name in ledger.done() if name in ("self-training", "cyclegan")]
    if short:
        leader = max(short, key=lambda name: _forecast(adaptation, name))
        known = ledger.entries.get(f"{leader}-long")
        left = MARGIN * (config.seconds - ledger.spent)
        yield (
            _longer(adaptation, leader, left)
            if known is None
            else Trial(f"{leader}-long", leader, known["preset"], known["settings"])
        )
    stage = {name: value for name, value in SELF_TRAINED.items() if name != "classifier_lr"}
    yield Trial("pixelda", "pixelda", "fast", {**stage, "stage_steps": 1200}, COST["pixelda"] * once)


def _longer(adaptation: Adaptation, leader: str, seconds: float) -> Trial:
    """Return a longer training of the family that leads, as long as fits into ``seconds``.

    It takes twice the images a step, as ``best`` does.
    """
    result = Adaptation(adaptation.run.candidate(leader)).run.result
    a_step = 2 * max(0.1, result["seconds"]["classifier"]) / result["config"]["stage_steps"]
    translator = 2 * result["seconds"]["translator"]
    steps = min(LONGEST, int((seconds - translator) / a_step))
    settings: dict[str, Any] = {
        "classifier_batch_size": 128,
        "target_batch_size": 128,
        "stage_steps": max(steps, LEAST),
    }
    if translator:
        settings["steps"] = 2 * result["config"]["steps"]
    return Trial(f"{leader}-long", leader, "fast", settings, translator + a_step * settings["stage_steps"])


def _try(adaptation: Adaptation, trial: Trial, left: float) -> Child:
    """Run a candidate, or go on with it."""
    path, device = adaptation.run.candidate(trial.name), str(adaptation.engine.device)
    try:
        if not (path / "config.json").exists():
            _start(adaptation, trial)
    except AcclimateError as error:
        return Child(0.0, error=str(error))
    arguments = ["run", "--resume", str(path), "--device", device, "--threads", str(torch.get_num_threads())]
    return run_child(arguments, path.with_name(f"{path.name}.log"), left)


def _start(adaptation: Adaptation, trial: Trial) -> None:
    """Make a candidate's run, of the same images, with what was changed in the settings and with the bars that fit."""
    stored = adaptation.run.config
    own = {item.name for item in fields(find_config(trial.method))} - {"target_only"}
    changed = {name: getattr(adaptation.config, name) for name in (*OF_IMAGES, *stored["changes"]) if name in own}
    child = start(
        stored["source"],
        stored["target"],
        method=trial.method,
        preset=trial.preset,
        out=adaptation.run.candidate(trial.name),
        data_root=stored["data_root"],
        device=str(adaptation.engine.device),
        **{**trial.settings, **changed, "seed": adaptation.config.seed, "target_only": False},
    )
    (child.run.path / "models").mkdir(exist_ok=True)
    for kind in SOURCE_BARS:
        ours, theirs = (recipe(config, kind) for config in (adaptation.config, child.config))
        if (ours.classifier, ours.augment) == (theirs.classifier, theirs.augment):
            for name in {*adaptation.training_names(kind)} & {*child.training_names(kind)}:
                if (bar := adaptation.run.model(name)).exists():
                    shutil.copy(bar, child.run.model(name))


def _forecast(adaptation: Adaptation, name: str) -> float:
    result = Adaptation(adaptation.run.candidate(name)).run.result
    return float(result["forecast"]["mean"])


def _choose(adaptation: Adaptation, ledger: Ledger) -> None:
    """Judge the candidates that are done, and write down which is taken and why."""
    runs = [Adaptation(adaptation.run.candidate(name), str(adaptation.engine.device)) for name in ledger.done()]
    failed = [entry for entry in ledger.entries.values() if entry["status"] == FAILED]
    if failed and not runs:
        raise AcclimateError(f"no candidate came to its end; {failed[0]['method']} failed: {failed[0]['why']}")
    candidates = judged(runs) if runs else []
    best = taken(candidates) if candidates else None
    told = [_told(candidate, candidate is best) for candidate in candidates]
    reference = "source-only-augmented" if "source-only-augmented" in adaptation.trained_kinds() else "source-only"
    others = [entry | {"name": name} for name, entry in ledger.entries.items() if entry["status"] != DONE]
    chosen = {"run": best.adaptation.run.path.name, "kind": best.kind} if best else {"run": "", "kind": reference}
    write_json(
        adaptation.run.choice,
        {
            "taken": chosen,
            "candidates": [{**ledger.entries.get(one["name"], {}), **one} for one in told],
            "not_finished": others,
            "seconds": round(ledger.spent - ledger.before, 1),
        },
    )


def _told(candidate: Candidate, is_taken: bool) -> dict[str, Any]:
    low, mean, high = (candidate.forecast[name] for name in ("low", "mean", "high"))
    scores = {rule: round(score, 6) for rule, score in candidate.scores.items()}
    about = {
        "name": candidate.name,
        "run": candidate.adaptation.run.path.name,
        "kind": candidate.kind,
        "forecast": mean,
        "low": low,
        "high": high,
    }
    return {**about, "scores": scores, "collapsed": candidate.collapsed, "taken": is_taken}


def candidate_lines(choice: Mapping[str, Any]) -> Sequence[str]:
    """Return what was tried and what came out, a line each, from a result."""
    lines = []
    for one in sorted(choice["candidates"], key=lambda one: -one["forecast"]):
        seconds = f"{clock(one['seconds'])}" if "seconds" in one else ""
        measured = f"  right {100 * one['accuracy']:5.1f}" if one["accuracy"] is not None else ""
        note = "  taken" if one["taken"] else "  collapsed" if one["collapsed"] else ""
        low, mean, high = (100 * one[name] for name in ("low", "forecast", "high"))
        lines.append(f"{one['name']:<22} {seconds:>8}  forecast {mean:3.0f} ({low:.0f} to {high:.0f}){measured}{note}")
    lines += [f"{one['name']:<22} {one['status']}{one['why'] and ': ' + one['why']}" for one in choice["not_finished"]]
    return lines
