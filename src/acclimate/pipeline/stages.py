"""What a run does, stage by stage: the method, its chosen snapshot, the classifiers, the result.

Each stage does what is not done yet: a run that was stopped goes on where it was.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from acclimate.config import MethodConfig
from acclimate.errors import LostProcessError
from acclimate.pipeline.bars import bar_path
from acclimate.pipeline.classification import ClassifierTraining
from acclimate.pipeline.result import build_result
from acclimate.pipeline.selection import select
from acclimate.pipeline.translated import training_images, validation_images
from acclimate.progress import say
from acclimate.reporting.samples import run_samples
from acclimate.runs.adaptation import Adaptation
from acclimate.training.compilation import compile_networks, decide
from acclimate.training.loop import Phase, train
from acclimate.training.state import load_tree, save_tree, write_json


def run_stages(adaptation: Adaptation) -> dict[str, Any]:
    """Do whatever is not done yet, and return the result, which is also written to ``result.json``."""
    run, group = adaptation.run, adaptation.engine.processes
    if (run.path / "result.json").exists():
        return run.result
    try:
        with run.lock() if group.first else nullcontext():
            _prepare(adaptation)
            train_method(adaptation)
            train_classifiers(adaptation, "source-only")
            select_snapshot(adaptation)
            train_classifiers(adaptation, "adapted")
            train_classifiers(adaptation, "target-only")
            return group.first_then_all(lambda: _finish(adaptation))
    except LostProcessError as error:
        raise LostProcessError(
            f"{error}; go on from the last checkpoint with: acclimate run --resume {run.path}"
        ) from None


def _prepare(adaptation: Adaptation) -> None:
    """Have both domains ready, and say what they hold."""
    for name, domain in (("source", adaptation.source), ("target", adaptation.target)):
        adaptation.engine.processes.first_then_all(domain.prepare)
        say(f"{name}: {domain.name}, " + ", ".join(f"{count:,} {split}" for split, count in domain.sizes().items()))


def train_method(adaptation: Adaptation) -> None:
    """Train the method's phases, if it has any, going on where they stopped."""
    run, engine = adaptation.run, adaptation.engine
    if not adaptation.method_class.adapts or engine.processes.agree(run.method_done.exists()):
        return
    method = adaptation.build_method()
    phases = method.phases(adaptation.data)
    if isinstance(adaptation.config, MethodConfig):
        steps = sum(phase.steps for phase in phases)
        compiles, reason = decide(adaptation.config.compile, engine.device, steps)
        say(f"compile: {'yes' if compiles else 'no'}, {reason}")
        if compiles:
            compile_networks(method)
    seconds = {phase.name: _train(adaptation, phase) for phase in phases}
    if engine.processes.first:
        write_json(run.method_done, seconds)
        for name in seconds:
            run.drop_checkpoints(name)


def select_snapshot(adaptation: Adaptation) -> None:
    """Choose the snapshot that adapts by the settings' label-free rule, if that is not done yet."""
    if not adaptation.method_class.adapts or adaptation.config.select == "last":
        return

    def choose() -> None:
        if not adaptation.run.selection.exists():
            select(adaptation, adaptation.config.select)

    adaptation.engine.processes.first_then_all(choose)


def train_classifiers(adaptation: Adaptation, kind: str) -> None:
    """Train the repeats of one kind, ``adapted``, ``source-only`` or ``target-only``, that are not trained yet.

    Source-only are trained always, adapted ones where the method redraws images and does not classify by itself,
    target-only ones where they are asked for and the target has labels.
    """
    run, group, config = adaptation.run, adaptation.engine.processes, adaptation.config
    if kind == "adapted" and (adaptation.method_class.classifies or not adaptation.method_class.translates):
        return
    if kind == "target-only" and not (
        (config.target_only or adaptation.own_kind == kind) and adaptation.target.has_labelled("train", "val")
    ):
        return
    missing = [name for name in adaptation.training_names(kind) if not run.model(name).exists()]
    for name in group.agree(missing):
        shared = bar_path(adaptation, kind, name) if config.share_bars and kind != "adapted" else None
        reused = group.agree(shared is not None and shared.exists())
        model = None if reused else _train_classifier(adaptation, kind, name)
        if group.first:
            if shared is not None and reused:
                model = load_tree(shared) | {"reused": True}
            elif shared is not None:
                save_tree(shared, model)
            save_tree(run.model(name), model)
            run.drop_checkpoints(name)


def _train_classifier(adaptation: Adaptation, kind: str, name: str) -> dict[str, Any]:
    config, engine = adaptation.config, adaptation.engine
    images = training_images(adaptation, kind), validation_images(adaptation, kind)
    training = ClassifierTraining(name, *images, config, adaptation.task, engine, config.seed)
    seconds = _train(adaptation, training.phase)
    weights, cost = training.classifier.state_dict(), training.translation()
    return {"weights": weights, "seconds": seconds, "translation": cost, "reused": False}


def _train(adaptation: Adaptation, phase: Phase) -> float:
    config, engine = adaptation.config, adaptation.engine
    seconds = train(phase, adaptation.run, engine, config.seed, checkpoint_every=config.checkpoint_every)
    engine.processes.gather(None)  # all have read the checkpoints, which may go now
    return seconds


def _finish(adaptation: Adaptation) -> dict[str, Any]:
    """Draw the samples, measure, write the result; or read what another process has written."""
    path = adaptation.run.path
    if (path / "result.json").exists():
        return adaptation.run.result
    if adaptation.method_class.translates:
        run_samples(adaptation, path / "figures" / "samples.png")
    result = build_result(adaptation)
    write_json(path / "result.json", result)
    return result
