"""What a run does, stage by stage: the method, its chosen snapshot, the classifiers, the result.

Each stage does what is not done yet: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

from acclimate.config import MethodConfig, StageConfig
from acclimate.data.domains import Domain
from acclimate.data.domains.words import reading
from acclimate.data.sets import LabelledImages
from acclimate.errors import LostProcessError
from acclimate.networks import TwoViews
from acclimate.pipeline.auto import choose_candidate
from acclimate.pipeline.bars import bar_path
from acclimate.pipeline.classification import ClassifierTraining
from acclimate.pipeline.directions import weigh_directions
from acclimate.pipeline.environment import environment
from acclimate.pipeline.result import build_result
from acclimate.pipeline.selection import select
from acclimate.pipeline.self_training import SelfTraining
from acclimate.pipeline.translated import redrawn_images, training_images, validation_images
from acclimate.progress import clock, say
from acclimate.reporting.samples import run_samples
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.familiar import familiarity
from acclimate.runs.kept import DomainName, keep_samples, write_records
from acclimate.runs.kinds import KINDS, Kind, has_augmented_bars, recipe, self_trains, tuning_recipe
from acclimate.training.compilation import compile_networks, decide
from acclimate.training.loop import Phase, train
from acclimate.training.state import load_tree, save_tree, write_json

TIMED = 32
"""Images by which tuning is timed beforehand."""


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
            for kind in KINDS[1:]:
                if kind == "adapted" and adaptation.method_class.chooses:
                    group.first_then_all(lambda: choose_candidate(adaptation))
                train_classifiers(adaptation, kind)
            group.first_then_all(lambda: weigh_directions(adaptation))
            return group.first_then_all(lambda: _finish(adaptation))
    except LostProcessError as error:
        raise LostProcessError(
            f"{error}; go on from the last checkpoint with: acclimate run --resume {run.path}"
        ) from None


def _prepare(adaptation: Adaptation) -> None:
    """Have both domains ready, as they were when the run began, and say what they hold.

    Raises
    ------
    RunError
        One is not what it was.
    """
    run, group = adaptation.run, adaptation.engine.processes
    domains: dict[DomainName, Domain] = {"source": adaptation.source, "target": adaptation.target}
    for name, domain in domains.items():
        group.first_then_all(domain.prepare)
        first, *rest = reading(domain)
        say("\n".join([f"{name}: {first}", *rest]))
        if name in adaptation.records:
            adaptation.records[name].check(domain, name)
    if group.first and not run.data.exists():
        write_records(run.data, domains)
    group.gather(None)
    adaptation.__dict__.pop("records", None)  # they are there now


def train_method(adaptation: Adaptation) -> None:
    """Train the method's phases, if it has any, going on where they stopped."""
    run, engine = adaptation.run, adaptation.engine
    if not adaptation.method_class.adapts or engine.processes.agree(run.method_done.exists()):
        return
    method = adaptation.build_method()
    phases = method.phases(adaptation.method_data)
    if isinstance(adaptation.config, MethodConfig):
        steps = sum(phase.steps for phase in phases)
        compiles, reason = decide(adaptation.config.compile, engine.device, steps)
        say(f"compile: {'yes' if compiles else 'no'}, {reason}")
        if compiles:
            compile_networks(method)
    for number, phase in enumerate(phases[:-1]):  # of a run that is extended, those before the last stay as they are
        states = run.checkpoints(phase.name)
        if states and any(run.checkpoints(later.name) for later in phases[number + 1 :]):
            phase.steps = int(states[-1].stem)
    seconds = {phase.name: _train(adaptation, phase) for phase in phases}
    if engine.processes.first:
        for name in seconds:
            run.keep_last_checkpoint(name)
        write_json(run.method_done, seconds)


def select_snapshot(adaptation: Adaptation) -> None:
    """Choose the snapshot that adapts by the settings' label-free rule, if that is not done yet."""
    if not adaptation.method_class.adapts or adaptation.config.select == "last":
        return

    def choose() -> None:
        if not adaptation.run.selection.exists():
            select(adaptation, adaptation.config.select)

    adaptation.engine.processes.first_then_all(choose)


def train_classifiers(adaptation: Adaptation, kind: Kind) -> None:
    """Train the repeats of one kind that are wanted and not trained yet."""
    if not _is_wanted(adaptation, kind):
        return
    run, group = adaptation.run, adaptation.engine.processes
    missing = [name for name in adaptation.training_names(kind) if not run.model(name).exists()]
    for name in group.agree(missing):
        shared = bar_path(adaptation, kind, name) if adaptation.config.share_bars and kind != "adapted" else None
        reused = group.agree(shared is not None and shared.exists())
        model = None if reused else _train_classifier(adaptation, kind, name)
        if group.first:
            if shared is not None and reused:
                model = load_tree(shared) | {"reused": True}
            save_tree(run.model(name), model)
            if shared is not None and not reused:  # after our own, which would be reused if we stopped in between
                save_tree(shared, model)
            if kind == "adapted" and self_trains(adaptation.config):
                run.keep_last_checkpoint(name)
            else:
                run.drop_checkpoints(name)


def _is_wanted(adaptation: Adaptation, kind: Kind) -> bool:
    """Whether the run is to train a kind of classifier.

    Source-only always, adapted ones unless the method decides by itself or does not adapt, target-only ones where they
    are asked for and the target has labels; the augmented bars where the classifier stage is not the paper's.
    """
    if kind == "adapted":
        return adaptation.method_class.adapts and not (adaptation.method_decides or adaptation.method_class.chooses)
    if kind.endswith("augmented") and not has_augmented_bars(adaptation.config):
        return False
    if kind.startswith("target-only"):
        asked = adaptation.config.target_only or adaptation.own_kind == kind
        return asked and adaptation.target.has_labelled("train", "val")
    return True


def _train_classifier(adaptation: Adaptation, kind: Kind, name: str) -> dict[str, Any]:
    is_paper_bar = kind in ("source-only", "target-only")
    build = _self_training if self_trains(adaptation.config) and not is_paper_bar else _supervised
    seconds = 0.0
    if kind == "adapted" and adaptation.config.tune == "all":
        seconds += _train_head(adaptation, name)
        build = _tuning
    training = build(adaptation, kind, name)
    seconds += _train(adaptation, training.phase)
    weights, cost = training.classifier.state_dict(), training.translation()
    return {"weights": weights, "seconds": seconds, "translation": cost, "reused": False}


def _trained_on(kind: Kind) -> DomainName:
    """Return the domain whose labels a kind of classifier learns."""
    return "target" if kind.startswith("target-only") else "source"


def _supervised(adaptation: Adaptation, kind: Kind, name: str) -> ClassifierTraining:
    adapts = kind == "adapted"
    images = redrawn_images(adaptation) if adapts else training_images(adaptation, kind)
    config, engine = recipe(adaptation.config, kind), adaptation.engine
    of = _trained_on(kind)
    if isinstance(images, LabelledImages):
        images = adaptation.encoded(images, kind, of)
    val = adaptation.encoded(validation_images(adaptation, kind), kind, of)
    return ClassifierTraining(name, images, val, config, adaptation.classifier_task(kind), engine, config.seed)


def _self_training(adaptation: Adaptation, kind: Kind, name: str) -> SelfTraining:
    adapts, config = kind == "adapted", recipe(adaptation.config, kind)
    assert isinstance(config, StageConfig)
    redrawn = redrawn_images(adaptation) if adapts and adaptation.method_class.translates else None
    if isinstance(redrawn, LabelledImages):
        redrawn = adaptation.encoded(redrawn, kind, "source")
    target = adaptation.encoded(adaptation.data.target_train, kind, "target") if adapts else None
    source = adaptation.encoded(training_images(adaptation, kind), kind, _trained_on(kind))
    task = adaptation.classifier_task(kind)
    return SelfTraining(name, source, redrawn, target, config, task, adaptation.engine, config.seed)


def _train_head(adaptation: Adaptation, name: str) -> float:
    """Train the classifier of frozen features that tuning starts from; return the seconds that it took."""
    path = adaptation.run.head(name)
    if adaptation.engine.processes.agree(not path.exists()):
        training = _self_training(adaptation, "adapted", path.stem)
        seconds = _train(adaptation, training.phase)
        if adaptation.engine.processes.first:
            save_tree(path, {"weights": training.classifier.state_dict(), "seconds": seconds})
            adaptation.run.drop_checkpoints(path.stem)
        adaptation.engine.processes.gather(None)
    return float(load_tree(path)["seconds"])


def _tuning(adaptation: Adaptation, kind: Kind, name: str) -> SelfTraining:
    """Return the training of the whole backbone, with the head that its frozen features have got."""
    config, images = tuning_recipe(adaptation.config), adaptation.data
    network = adaptation.tuned_classifier(load_tree(adaptation.run.head(name))["weights"])
    if isinstance(network.backbone, TwoViews):
        network.backbone.backbone.load_state_dict(load_tree(adaptation.run.statistics("target")), strict=False)
    say(f"{name}: {config.stage_steps} steps of the whole backbone, about {_tuning_time(adaptation, config)}")
    redrawn = redrawn_images(adaptation) if adaptation.method_class.translates else None
    sets = training_images(adaptation, kind), redrawn, images.target_train
    return SelfTraining(name, *sets, config, adaptation.task, adaptation.engine, config.seed, network, network.backbone)


def _tuning_time(adaptation: Adaptation, config: StageConfig) -> str:
    """Estimate what tuning takes by some images' way forward: a step goes it for all, and about twice as far back."""
    store, pixels = adaptation.encoder("adapted", "target"), adaptation.data.target_train.pixels[:TIMED]
    assert store is not None
    start = time.monotonic()
    store.compute(pixels)
    once = (time.monotonic() - start) / len(pixels)
    images = 3 * (config.classifier_batch_size + config.target_batch_size) + config.target_batch_size
    views = store.size // adaptation.encoders.plain.size if adaptation.encoders else 1
    return clock(config.stage_steps * views * once * images)


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
    with adaptation.alone():
        if adaptation.method_class.translates:
            run_samples(adaptation, path / "figures" / "samples.png")
        if adaptation.own_kind == "adapted":
            familiarity(adaptation)
        result = build_result(adaptation)
    keep_samples(adaptation.source, adaptation.run.samples("source"), labelled=True)
    keep_samples(adaptation.target, adaptation.run.samples("target"), labelled=False)
    result |= environment(adaptation.engine)
    write_json(path / "result.json", result)
    return result
