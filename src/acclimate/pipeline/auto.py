"""The choice among methods: candidates are tried within a budget of time, and the best is taken without target labels.

Each candidate is a run of its own below the run, in a process of its own: one that fails takes nothing with it, one
that is over the budget is stopped, and a run that was stopped goes on with what is not done. First every family gets a
short training; the one that is forecast to be right most often gets the time that is left.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from acclimate.config import SELF_TRAINED
from acclimate.errors import AcclimateError, InterruptedRunError
from acclimate.methods import find_config, find_method
from acclimate.methods.auto.config import AutoConfig
from acclimate.pipeline.candidates import Candidate, judged, taken
from acclimate.pipeline.starting import start
from acclimate.progress import clock, say
from acclimate.runs.adaptation import Adaptation
from acclimate.training.state import load_tree, write_json

ON_FEATURES = ("self-training", "mcc", "shot", "cdan", "dann")
"""What is tried on a backbone's features: seconds to a minute each."""

LONGEST = 5_000
"""Steps of a long self-training at most."""

LEAST = 1_200
"""Steps below which a long self-training is not worth a start."""

COST = {"cyclegan": 3.0, "pixelda": 3.0}
"""What the short trainings of others take, as multiples of that of self-training, measured on two CPU cores."""

MARGIN = 0.9
"""Share of the time left that is planned for."""

DONE, STOPPED, FAILED, LEFT_OUT, INTERRUPTED = "done", "stopped at the budget", "failed", "left out", "interrupted"

POLL_SECONDS = 0.5


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
        self.entries: dict[str, dict[str, Any]] = json.loads(self.file.read_text()) if self.file.exists() else {}
        bars = (adaptation.run.path / "models").glob("source-only*.safetensors")
        self.before: float = sum(load_tree(path)["seconds"] for path in bars) + adaptation.feature_seconds()

    @property
    def spent(self) -> float:
        """Seconds of training so far, the bars and features included."""
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
        Several processes train together, which the candidates cannot share.
    InterruptedRunError
        Ctrl-C or SIGTERM; the candidate under way has saved its state.
    """
    run, config = adaptation.run, adaptation.config
    if run.choice.exists():
        return
    assert isinstance(config, AutoConfig)
    if not adaptation.engine.processes.alone:
        raise AcclimateError("auto runs its candidates by itself: start it without torchrun")
    ledger = Ledger(adaptation)
    for trial in _plan(adaptation, ledger):
        entry = ledger.entries.get(trial.name, {})
        left = config.seconds - ledger.spent
        if entry.get("status") in (DONE, FAILED, LEFT_OUT):
            continue
        if left <= 0 or trial.seconds > left:
            ledger.write(trial, LEFT_OUT, 0.0, f"needs about {clock(trial.seconds)}" if left > 0 else "no time left")
            say(f"{trial.name}: left out, {ledger.entries[trial.name]['why']}; {clock(max(left, 0))} are left")
            continue
        say(f"{trial.name}: {trial.method} {trial.preset}, {clock(left)} left; log in {run.candidate(trial.name)}.log")
        status, seconds, why = _try(adaptation, trial, left)
        ledger.write(trial, status, entry.get("seconds", 0.0) + seconds, why)
        if status == INTERRUPTED:
            raise InterruptedRunError(f"stopped in {trial.name}; go on with: acclimate run --resume {run.path}")
        told = f", forecast {100 * _forecast(adaptation, trial.name):.0f} %" if status == DONE else why and f": {why}"
        say(f"{trial.name}: {status} after {clock(seconds)}{told}")
    _choose(adaptation, ledger)


def _plan(adaptation: Adaptation, ledger: Ledger) -> Iterator[Trial]:
    """Yield what to try, cheapest first; what comes later depends on what came out."""
    config = adaptation.config
    assert isinstance(config, AutoConfig)
    if config.candidates:
        preset = "photos" if config.backbone else "fast"
        yield from (Trial(name, name, preset) for name in config.candidates.split(","))
        return
    if config.backbone:
        yield from (Trial(name, name, "photos") for name in ON_FEATURES)
        return
    yield Trial("self-training", "self-training", "fast")
    once = ledger.entries["self-training"]["seconds"]
    yield Trial("cyclegan", "cyclegan", "fast", seconds=COST["cyclegan"] * once)
    short = [name for name in ledger.done() if name in ("self-training", "cyclegan")]
    if short:
        leader = max(short, key=lambda name: _forecast(adaptation, name))
        yield _longer(adaptation, leader, MARGIN * (config.seconds - ledger.spent))
    stage = {name: value for name, value in SELF_TRAINED.items() if name != "classifier_lr"}
    yield Trial("pixelda", "pixelda", "fast", {**stage, "stage_steps": 1200}, COST["pixelda"] * once)


def _longer(adaptation: Adaptation, leader: str, seconds: float) -> Trial:
    """Return a longer training of the family that leads, as long as fits into ``seconds``.

    It takes twice the images a step, as ``best`` does.
    """
    result = Adaptation(adaptation.run.candidate(leader)).run.result
    a_step = 2 * result["seconds"]["classifier"] / result["config"]["stage_steps"]
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


def _try(adaptation: Adaptation, trial: Trial, left: float) -> tuple[str, float, str]:
    """Run a candidate, or go on with it; return what became of it, the seconds, and what it said if it failed."""
    path = adaptation.run.candidate(trial.name)
    try:
        if not (path / "config.json").exists():
            _start(adaptation, trial)
    except AcclimateError as error:
        return FAILED, 0.0, str(error)
    threads = ["--threads", str(torch.get_num_threads())]
    command = [sys.executable, "-m", "acclimate", "run", "--resume", str(path), *threads]
    begin, stopped = time.monotonic(), False
    with open(f"{path}.log", "a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                if not stopped and time.monotonic() - begin > left:
                    stopped = True
                    process.terminate()
        except KeyboardInterrupt:  # the terminal has told the child too, but a kill of us alone has not
            process.terminate()
            process.wait()
            return INTERRUPTED, time.monotonic() - begin, ""
    seconds = time.monotonic() - begin
    if (path / "result.json").exists():
        return DONE, seconds, ""
    if stopped:
        return STOPPED, seconds, ""
    lines = (path.parent / f"{path.name}.log").read_text().strip().splitlines() or [f"exit code {process.returncode}"]
    return FAILED, seconds, lines[-1].removeprefix("acclimate: ")


def _start(adaptation: Adaptation, trial: Trial) -> None:
    """Make a candidate's run, with what was changed in the run's settings and with the bars that it has trained."""
    stored = adaptation.run.config
    own = {item.name for item in fields(find_config(trial.method))} - {"target_only"}
    changed = {name: getattr(adaptation.config, name) for name in stored["changes"] if name in own}
    settings = {**changed, **trial.settings, "seed": adaptation.config.seed, "target_only": False}
    child = start(
        stored["source"],
        stored["target"],
        method=trial.method,
        preset=trial.preset,
        out=adaptation.run.candidate(trial.name),
        data_root=stored["data_root"],
        device=stored["device"],
        **settings,
    )
    if not adaptation.encoders and find_method(trial.method).adapts:
        (child.run.path / "models").mkdir(exist_ok=True)
        for bar in (adaptation.run.path / "models").glob("source-only*.safetensors"):
            shutil.copy(bar, child.run.path / "models" / bar.name)


def _forecast(adaptation: Adaptation, name: str) -> float:
    result = Adaptation(adaptation.run.candidate(name)).run.result
    return float(result["forecast"]["mean"])


def _choose(adaptation: Adaptation, ledger: Ledger) -> None:
    """Judge the candidates that are done, and write down which is taken and why."""
    runs = [Adaptation(adaptation.run.candidate(name), str(adaptation.engine.device)) for name in ledger.done()]
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
