"""How a run goes on: where it was stopped, on data that have moved, or beyond its end."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from acclimate.data.domains import open_domain, spec_of
from acclimate.errors import RunError
from acclimate.progress import say
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.directory import Run
from acclimate.runs.kept import DomainName
from acclimate.runs.kinds import KINDS, self_trains
from acclimate.training.state import load_tree, write_json

LENGTHS = ("steps", "epochs", "stage_steps")
"""Settings by which a run can be extended: the method's steps or epochs, the self-training stage's steps."""

OF_METHOD = ("models/method.json", "models/heads", "selection.json", "translated", "figures", "report.html")
OF_STAGE = ("directions.json", "familiar.safetensors", "result.json", "figures", "report.html")
"""What is made anew when the method, or the stage, is extended."""


def move_data(run: Run, places: Mapping[DomainName, str | Path]) -> None:
    """Note where a run's domains lie now.

    Raises
    ------
    DataError
        There is no such domain.
    RunError
        It is not the one that the run began with.
    """
    if not places:
        return
    adaptation, stored = Adaptation(run), run.config
    for name, place in places.items():
        spec = spec_of(place)
        domain = open_domain(spec, adaptation.data_options, None if name == "source" else adaptation.classes)
        if name in adaptation.records:
            adaptation.records[name].check(domain, name)
        stored[name] = spec
    write_json(run.path / "config.json", stored)


def extend(run: Run, lengths: Mapping[str, int]) -> None:
    """Make a run longer: it goes on from its last state when it is resumed.

    Schedules, such as a learning rate that falls, go on as in a run of the new length from the beginning, so that a
    rate that had come to its end rises again. What depends on what is extended is made anew; the bars are not.

    Parameters
    ----------
    run
        The run, whether it is over or not.
    lengths
        New values of some of :data:`LENGTHS`.

    Raises
    ------
    RunError
        It is as long already, counts otherwise, or has kept no state to go on from.
    """
    if not lengths:
        return
    adaptation, stored = Adaptation(run), run.config
    config = adaptation.config
    changes = dict[str, Any](lengths)
    if not (run.path / "result.json").exists():  # one that is being extended already is only resumed
        changes = {name: value for name, value in lengths.items() if vars(config).get(name) != value}
    if not changes:
        return
    for name, value in changes.items():
        _check_length(adaptation, name, value)
    longer = replace(config, **changes)
    with run.lock():
        if "stage_steps" not in changes or len(changes) > 1:
            _drop(run, OF_METHOD)
            for name in adaptation.training_names("adapted"):
                run.drop_checkpoints(name)
                run.drop_checkpoints(run.head(name).stem)
        _drop(run, OF_STAGE)
        for name in adaptation.training_names("adapted"):
            run.model(name).unlink(missing_ok=True)
        was = {name: getattr(config, name) for name in changes}
        extended = [*stored.get("extended", []), {"from": was, "to": changes}]
        named = stored.get("changes", {}) | changes
        write_json(
            run.path / "config.json", stored | {"config": asdict(longer), "changes": named, "extended": extended}
        )
    say("extended: " + ", ".join(f"{name} from {was[name]:,} to {value:,}" for name, value in changes.items()))


def _check_length(adaptation: Adaptation, name: str, value: int) -> None:
    config, run, of_stage = adaptation.config, adaptation.run, name == "stage_steps"
    fits = self_trains(config) and config.tune == "head" if of_stage else adaptation.method_class.adapts
    old: int = vars(config).get(name, -1)
    if adaptation.method_class.chooses:
        raise RunError(f"{run.path} chose among candidates: it has a budget, no {_flag(name)}")
    if old < 0 or not fits:
        raise RunError(f"{run.path}: {adaptation.method_class.name}, as it is set here, has no {_flag(name)}")
    if not of_stage and not adaptation.method_class.extendable:
        reason = f"{_flag(name)} does not set the length of its last phase"
        raise RunError(f"{run.path}: {adaptation.method_class.name} cannot be extended: {reason}")
    if name == "epochs" and vars(config).get("steps"):
        raise RunError(f"{run.path} counts in steps: extend it with --steps")
    phases = adaptation.training_names("adapted") if of_stage else _method_phases(run)
    done = max((int(state.stem) for phase in phases for state in run.checkpoints(phase)[-1:]), default=0)
    if (run.model(phases[0]) if of_stage else run.method_done).exists() and not done:
        raise RunError(f"{run.path} has kept no training state to go on from: a run from before they were kept?")
    if any(load_tree(states[-1])["stop"] for phase in phases if (states := run.checkpoints(phase))):
        raise RunError(f"{run.path} ended by itself after {done:,} steps, to keep from a collapse: it cannot go on")
    if value <= (old or done):
        raise RunError(f"{run.path} has {_flag(name)} {old or done:,} already: ask for more")


def _method_phases(run: Run) -> list[str]:
    folder = run.path / "checkpoints"
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    return [name for name in names if not name.startswith(tuple(f"{kind}-" for kind in KINDS))]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _drop(run: Run, names: tuple[str, ...]) -> None:
    for name in names:
        path = run.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
