"""The whole pipeline: two domains in, an adapted classifier out; and a finished run opened again from its path."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import asdict, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.arrays import map_array, write_array
from acclimate.bars import bar_path
from acclimate.classification import ClassifierTraining
from acclimate.compilation import compile_networks, decide
from acclimate.config import CONFIGS, Config, MethodConfig, TranslationConfig
from acclimate.distributed import Processes, processes
from acclimate.domains import DOMAINS, DataOptions, Domain, Images, LabelledImages, check_pair, open_domain
from acclimate.domains.base import SplitName, default_data_root
from acclimate.errors import DataError, LostProcessError, RunError
from acclimate.evaluation import Classifier
from acclimate.methods import AdaptationData, Method, Task, find_method
from acclimate.progress import say
from acclimate.results import KINDS, SCHEMA, build_result
from acclimate.runs import Run
from acclimate.samples import run_samples
from acclimate.state import load_tree, save_tree, write_json
from acclimate.training import Engine, Phase, seed_for, train
from acclimate.translation import TranslatedImages, Translator


def adapt(
    source: str | Path,
    target: str | Path,
    *,
    method: str = "cyclegan",
    preset: str = "fast",
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    **settings: Any,
) -> Adaptation:
    """Adapt a classifier from a labelled source to an unlabelled target, start to end.

    Parameters
    ----------
    source, target
        A domain's name or a folder of images; the source's images lie in one folder a class.
    method
        A name in :data:`acclimate.methods.METHODS`.
    preset
        Of the method: ``fast``, ``notebook``, ``paper``, ``demo``.
    out
        The run directory; by default ``runs/SOURCE-TARGET-METHOD-PRESET-SEED``.
    data_root
        Where publishers' files lie or are downloaded to.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
    **settings
        Any field of the method's config.

    Returns
    -------
    Adaptation
        The finished run.

    Raises
    ------
    AcclimateError
        Anything that the caller can mend, in one line.
    """
    adaptation = Adaptation.create(
        source, target, method=method, preset=preset, out=out, data_root=data_root, device=device, **settings
    )
    adaptation.run_all()
    return adaptation


class Adaptation:
    """A run with its domains, method and classifiers.

    Parameters
    ----------
    run
        The run directory, or its path.
    device
        Where to compute; None takes what the run was started with.
    """

    def __init__(self, run: Run | str | Path, device: str | None = None) -> None:
        self.run = run if isinstance(run, Run) else Run(run)
        stored = self.run.config
        self.method_class = find_method(stored["method"])
        config_class = CONFIGS[stored["method"]]
        if unknown := stored["config"].keys() - {item.name for item in fields(config_class)}:
            raise RunError(f"{self.run.path} is of another version of acclimate: no setting {min(unknown)!r} here")
        self.config: Config = config_class(**stored["config"])
        self.engine = Engine.choose(device or stored["device"], self.config.precision)

    @classmethod
    def create(
        cls,
        source: str | Path,
        target: str | Path,
        *,
        method: str = "cyclegan",
        preset: str = "fast",
        out: str | Path | None = None,
        data_root: str | Path | None = None,
        device: str = "auto",
        **settings: Any,
    ) -> Adaptation:
        """Make a run directory for what :func:`adapt` would do, without doing it yet."""
        config_class = CONFIGS[find_method(method).name]
        config = config_class.preset(preset, **settings)
        if isinstance(config, MethodConfig):
            processes().check_batch(config.batch_size)
        Engine.choose(device, config.precision)
        root = Path(data_root or default_data_root()).expanduser().resolve()
        options = _data_options(config, root)
        opened = open_domain(source, options)
        aim = open_domain(target, options, opened.classes)
        check_pair(opened, aim)
        if method == "target-only" and not aim.has_labels:
            raise DataError(f"{aim.name} has no labels, and target-only trains on them")
        names = [_slug(opened.name), _slug(str(target)), method, preset, str(config.seed)]
        path, group = Path(out or Path("runs") / "-".join(names)).expanduser(), processes()
        stored = {
            "schema": SCHEMA,
            "source": _spec(source),
            "target": _spec(target),
            "method": method,
            "preset": preset,
            "changes": config.changes_from(config_class.preset(preset)),
            "device": device,
            "data_root": str(root),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "config": asdict(config),
        }
        return cls(group.first_then_all(lambda: Run.create(path, stored) if group.first else Run(path)))

    @property
    def group(self) -> Processes:
        """The processes that train the run together."""
        return self.engine.processes

    @property
    def data_options(self) -> DataOptions:
        """How the run reads images."""
        return _data_options(self.config, Path(self.run.config["data_root"]))

    @cached_property
    def source(self) -> Domain:
        """The source domain."""
        return open_domain(self.run.config["source"], self.data_options)

    @cached_property
    def target(self) -> Domain:
        """The target domain. Methods never get this, only :attr:`data`."""
        return open_domain(self.run.config["target"], self.data_options, self.source.classes)

    @property
    def task(self) -> Task:
        """Image shape and classes."""
        return Task(self.config.channels, self.config.image_size, self.source.classes)

    @property
    def content(self) -> str:
        """Whether source and target training images show the same objects: ``shared``, ``disjoint`` or ``separate``."""
        if self.source.content != self.target.content:
            return "separate"
        return "disjoint" if self.config.disjoint else "shared"

    @cached_property
    def data(self) -> AdaptationData:
        """What the method is handed: labelled source, unlabelled target."""
        halve = self.content == "disjoint"
        part = slice(0, None, 2) if halve else slice(None)
        train, val = (self.source.labelled(split) for split in ("train", "val"))
        target = self.target.images("train")
        return AdaptationData(
            LabelledImages(train.pixels[part], train.labels[part]),
            LabelledImages(val.pixels[part], val.labels[part]),
            Images(target.pixels[1::2]) if halve else target,
            self._paired,
        )

    @property
    def _paired(self) -> bool:
        """Whether source and target show the same objects in the same order, which a folder's splits need not."""
        return self.content == "shared" and self.source.names("train") == self.target.names("train")

    def run_all(self) -> dict[str, Any]:
        """Do whatever is not done yet, and return the result, which is also written to ``result.json``."""
        if (self.run.path / "result.json").exists():
            return self.run.result
        try:
            with self.run.lock() if self.group.first else nullcontext():
                return self._run_all()
        except LostProcessError as error:
            raise LostProcessError(
                f"{error}; go on from the last checkpoint with: acclimate run --resume {self.run.path}"
            ) from None

    def _run_all(self) -> dict[str, Any]:
        for name in ("source", "target"):
            domain: Domain = getattr(self, name)
            self.group.first_then_all(domain.prepare)
            say(f"{name}: {domain.name}, " + ", ".join(f"{count:,} {split}" for split, count in domain.sizes().items()))
        if self.method_class.adapts:
            self.train_method()
        self.train_classifiers("source-only")
        if self.method_class.adapts and self.config.select != "last":
            self.select_snapshot()
        if self.method_class.translates and not self.method_class.classifies:
            self.train_classifiers("adapted")
        if (self.config.target_only or self.own_kind == "target-only") and self.has_target_labels("train", "val"):
            self.train_classifiers("target-only")
        return self.group.first_then_all(self._finish)

    def has_target_labels(self, *splits: SplitName) -> bool:
        """Whether there are labelled images in each of some of the target's splits."""
        return self.target.has_labels and all(len(self.target.labelled(split)) for split in splits)

    def _finish(self) -> dict[str, Any]:
        """Draw the samples, measure, write the result; or read what another process has written."""
        if (self.run.path / "result.json").exists():
            return self.run.result
        if self.method_class.translates:
            run_samples(self, self.run.path / "figures" / "samples.png")
        result = build_result(self)
        write_json(self.run.path / "result.json", result)
        return result

    def build_method(self) -> Method:
        """Return the method with fresh weights, seeded."""
        with self.engine.seeded(seed_for(self.config.seed, "method")):
            return self.method_class(self.config, self.task, self.engine)

    def train_method(self) -> None:
        """Train the method's phases, going on where they stopped."""
        if self.group.agree(self.method_done.exists()):
            return
        method = self.build_method()
        phases = method.phases(self.data)
        if isinstance(self.config, MethodConfig):
            compiles, reason = decide(self.config.compile, self.engine.device, sum(phase.steps for phase in phases))
            say(f"compile: {'yes' if compiles else 'no'}, {reason}")
            if compiles:
                compile_networks(method)
        seconds = {}
        for phase in phases:
            seconds[phase.name] = self._train(phase)
        if self.group.first:
            write_json(self.method_done, seconds)
            for name in seconds:
                self.run.drop_checkpoints(name)

    def _train(self, phase: Phase) -> float:
        config = self.config
        seconds = train(phase, self.run, self.engine, config.seed, checkpoint_every=config.checkpoint_every)
        self.group.gather(None)  # all have read the checkpoints, which may go now
        return seconds

    @property
    def method_done(self) -> Path:
        """The file that says that the method is trained, with the seconds of its phases."""
        return self.run.path / "models" / "method.json"

    @property
    def own_kind(self) -> str:
        """The kind of classifier that the method is about."""
        return "adapted" if self.method_class.adapts else self.method_class.name

    @property
    def chosen_snapshot(self) -> int:
        """The step of the snapshot that adapts: the last one, or what the settings' rule chose.

        Raises
        ------
        RunError
            The run has no snapshot yet.
        """
        snapshots = self.run.snapshots()
        if not snapshots:
            raise RunError(f"{self.run.path} is not adapted yet: go on with acclimate run --resume {self.run.path}")
        if self.config.select == "last":
            return max(snapshots)
        path = self.run.path / "selection.json"
        if not path.exists():
            raise RunError(
                f"{self.run.path} has chosen no snapshot yet: go on with acclimate run --resume {self.run.path}"
            )
        return int(json.loads(path.read_text())["chosen"])

    def select_snapshot(self) -> None:
        """Choose the snapshot that adapts by the settings' label-free rule, if that is not done yet."""
        from acclimate.selection import select

        def choose() -> None:
            if not (self.run.path / "selection.json").exists():
                select(self, self.config.select)

        self.group.first_then_all(choose)

    def method(self, snapshot: int | None = None) -> Method:
        """Return the trained method, from a snapshot's step or the chosen one.

        Raises
        ------
        RunError
            There is no such snapshot.
        """
        step = self.chosen_snapshot if snapshot is None else snapshot
        snapshots = self.run.snapshots()
        if step not in snapshots:
            raise RunError(f"{self.run.path} has no snapshot {step}; it has {', '.join(map(str, snapshots))}")
        method = self.build_method()
        method.load_weights(load_tree(snapshots[step]))
        return method.eval()

    def translator(self, snapshot: int | None = None) -> Translator:
        """Return the trained translator: a snapshot's, given its step, or what the settings say.

        Raises
        ------
        RunError
            The method does not translate, or there is no such snapshot.
        """
        if not self.method_class.translates:
            raise RunError(f"{self.run.path}: the method {self.method_class.name} does not translate images")
        noise = self.config.translation_noise if isinstance(self.config, TranslationConfig) else 0.0
        return Translator(self.method(snapshot), self.engine, noise)

    def translated_source(self) -> tuple[LabelledImages | TranslatedImages, LabelledImages]:
        """Return the source's training and validation images in the target's style.

        Offline, both are written to the run once. On the fly only the validation images are translated beforehand, in
        memory, as a validation set has to stay the same from epoch to epoch.
        """
        train = self.data.source_train.first(self.config.classifier_images or None)
        if self._offline:
            return self.group.first_then_all(lambda: (self._translated("train", train), self.validation("adapted")))
        return TranslatedImages(train, self.translator()), self.validation("adapted")

    def validation(self, kind: str) -> LabelledImages:
        """Return the labelled images that a kind of classifier is validated on while it trains.

        Translated source for the adapted one, unless the method classifies by itself; source for source-only.
        """
        if kind == "target-only":
            return self.target.labelled("val")
        if kind == "adapted" and not self.method_class.classifies:
            return self._translated("val", self.data.source_val)
        return self.data.source_val

    @property
    def _offline(self) -> bool:
        return not (isinstance(self.config, TranslationConfig) and self.config.adapt == "on-the-fly")

    def _translated(self, split: str, images: LabelledImages) -> LabelledImages:
        path = self.run.path / "translated" / f"{split}.npy"
        cost = path.with_suffix(".json")  # written last: where it is, the images are whole
        if self._offline and cost.exists():
            return LabelledImages(map_array(path), images.labels)
        start, description = time.monotonic(), f"translating {split}"
        seed = seed_for(self.config.seed, "translation", split)
        if not self._offline:
            pixels = self.translator().all(images.pixels, seed, description=description)
            return LabelledImages(pixels, images.labels)
        batches = self.translator().batches(images.pixels, seed, description=description)
        write_array(path, images.pixels.shape, np.uint8, (batch.numpy() for batch in batches))
        write_json(cost, {"images": len(images), "seconds": time.monotonic() - start})
        return LabelledImages(map_array(path), images.labels)

    def train_classifiers(self, kind: str) -> None:
        """Train the repeats of one kind, ``adapted``, ``source-only`` or ``target-only``, that are not trained yet."""
        for name in self.group.agree([name for name in self._names(kind) if not self.run.model(name).exists()]):
            shared = bar_path(self, kind, name) if self.config.share_bars and kind != "adapted" else None
            reused = self.group.agree(shared is not None and shared.exists())
            model = None if reused else self._train_classifier(kind, name)
            if self.group.first:
                if shared is not None and reused:
                    model = load_tree(shared) | {"reused": True}
                elif shared is not None:
                    save_tree(shared, model)
                save_tree(self.run.model(name), model)
                self.run.drop_checkpoints(name)

    def _train_classifier(self, kind: str, name: str) -> dict[str, Any]:
        train_set, val = self._classifier_data(kind)
        training = ClassifierTraining(name, train_set, val, self.config, self.task, self.engine, self.config.seed)
        seconds = self._train(training.phase)
        weights, cost = training.classifier.state_dict(), training.translation()
        return {"weights": weights, "seconds": seconds, "translation": cost, "reused": False}

    def trained_kinds(self) -> list[str]:
        """Return the kinds of classifiers that are trained."""
        return [kind for kind in KINDS if self._is_trained(kind)]

    def _is_trained(self, kind: str) -> bool:
        if kind == "adapted" and self.method_class.classifies:
            return self.method_done.exists()
        return all(self.run.model(name).exists() for name in self._names(kind))

    def _names(self, kind: str) -> list[str]:
        return [f"{kind}-{index}" for index in range(self.config.repeats)]

    def _classifier_data(self, kind: str) -> tuple[LabelledImages | TranslatedImages, LabelledImages]:
        if kind == "adapted":
            return self.translated_source()
        if kind == "source-only":
            return self.data.source_train, self.validation(kind)
        return self.target.labelled("train"), self.validation(kind)

    def classifier(self, kind: str | None = None, trainings: int | None = None) -> Classifier:
        """Return the run's trained classifier: the adapted one, or that of another kind.

        ``trainings`` is how many of its repeated trainings to take, all by default.

        Raises
        ------
        RunError
            It is not trained yet.
        """
        kind = kind or self.own_kind
        if kind == "adapted" and self.method_class.classifies:
            return Classifier([self.method()], self.task.classes, self.engine)
        networks = []
        for name in self._names(kind)[:trainings]:
            path = self.run.model(name)
            if not path.exists():
                raise RunError(
                    f"{self.run.path} has no classifier {name!r}: go on with acclimate run --resume {self.run.path}"
                )
            network = self.task.classifier(self.config.classifier)
            network.load_state_dict(load_tree(path)["weights"])
            networks.append(network.to(self.engine.device).eval())
        return Classifier(networks, self.task.classes, self.engine)


def _data_options(config: Config, data_root: Path) -> DataOptions:
    return DataOptions(
        image_size=config.image_size,
        channels=config.channels,
        fit=config.fit,
        strict=config.strict,
        data_root=data_root,
    )


def _spec(name: str | Path) -> str:
    """Return a domain's name, or a folder's full path, so that the run can be resumed from anywhere."""
    return str(name) if str(name) in DOMAINS else str(Path(name).expanduser().resolve())


def _slug(name: str | Path) -> str:
    return str(name) if str(name) in DOMAINS else Path(name).expanduser().resolve().name or "folder"
