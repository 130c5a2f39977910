"""A run opened from its path, to read and to use: its domains, its method, its classifiers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor

from acclimate.config import Config, StageConfig, TranslationConfig
from acclimate.data.domains import DataOptions, Domain, open_domain
from acclimate.data.domains.in_memory import PREFIX
from acclimate.data.sets import Images, LabelledImages
from acclimate.errors import DataError, RunError
from acclimate.methods import find_config, find_method
from acclimate.methods.base import AdaptationData, Method, Task
from acclimate.networks import BackboneFeatures, FeatureClassifier, TunedClassifier, TwoViews, open_backbone
from acclimate.runs.directory import Run
from acclimate.runs.evaluation import BothDirections, Classifier
from acclimate.runs.features import Encoders, FeatureStore, Set
from acclimate.runs.kept import DomainName, DomainRecord, Kept, read_records
from acclimate.runs.kinds import KINDS, Kind, has_augmented_bars, recipe, self_trains
from acclimate.runs.shown import as_html
from acclimate.runs.translation import Translator
from acclimate.training.engine import Engine, seed_for
from acclimate.training.state import load_tree, read_json


class Adaptation:
    """A run with its domains, method and classifiers.

    Parameters
    ----------
    run
        The run directory, or its path.
    device
        Where to compute; None takes what the run was started with.

    Raises
    ------
    RunError
        There is no run, or it is of another version of acclimate.
    """

    def __init__(self, run: Run | str | Path, device: str | None = None) -> None:
        self.run = run if isinstance(run, Run) else Run(run)
        stored = self.run.config
        if missing := {"source", "target", "method", "preset", "config", "device", "data_root"} - stored.keys():
            raise RunError(f"{self.run.path / 'config.json'} is damaged: it has no {min(missing)}")
        self.method_class = find_method(stored["method"])
        config_class = find_config(stored["method"])
        if unknown := stored["config"].keys() - {item.name for item in fields(config_class)}:
            raise RunError(f"{self.run.path} is of another version of acclimate: no setting {min(unknown)!r} here")
        self.config: Config = config_class(**{**config_class.formerly, **stored["config"]})
        self.engine = Engine.choose(device or stored["device"], self.config.precision)

    @property
    def data_options(self) -> DataOptions:
        """How the run reads images."""
        return DataOptions.of(self.config, Path(self.run.config["data_root"]))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the labels: the source's when the run was started."""
        return tuple(self.run.config.get("classes") or self.source.classes)

    @cached_property
    def records(self) -> Mapping[str, DomainRecord]:
        """What source and target were when the run began to work; none before, and in runs older than these records."""
        return read_records(self.run.data)

    @cached_property
    def source(self) -> Domain:
        """The source domain."""
        return self._domain("source", None)

    @cached_property
    def target(self) -> Domain:
        """The target domain. Methods never get this, only :attr:`data`."""
        return self._domain("target", self.classes)

    def _domain(self, name: DomainName, classes: Sequence[str] | None) -> Domain:
        """Open a domain, of a run that is over as the cache has it; where both are gone, what the run itself kept.

        A run that is not over goes on with all images or with none.

        Raises
        ------
        DataError
            It cannot be opened.
        """
        record, is_over, spec = self.records.get(name), (self.run.path / "result.json").exists(), self.run.config[name]
        if record is not None and (is_over or spec.startswith(PREFIX)):
            with suppress(DataError):
                return Kept(record, self.data_options, None)
        try:
            domain = open_domain(spec, self.data_options, classes)
            if record is not None and is_over:
                record.check(domain, name)
        except (DataError, RunError):
            if record is None:
                raise
            return Kept(record, self.data_options, self.run.samples(name) if is_over else None)
        return domain

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the run."""
        try:
            return as_html(self.run.result, self.own_kind)
        except RunError as error:  # it has not finished
            return f"<p>{escape(str(error))}</p>"

    @property
    def seen_options(self) -> DataOptions:
        """How the run reads images like its target's: of more than 8 bits on the target's scale."""
        return self._on_the_scale_of("target")

    @property
    def source_options(self) -> DataOptions:
        """How the run reads images like its source's: on the source's scale."""
        return self._on_the_scale_of("source")

    def _on_the_scale_of(self, name: DomainName) -> DataOptions:
        record = self.records.get(name)
        return replace(self.data_options, levels=record.levels if record else None)

    @property
    def task(self) -> Task:
        """Image shape and classes."""
        size = self.encoders.size if self.encoders and self.method_class.takes_features else 0
        return Task(self.config.channels, self.config.image_size, self.classes, size)

    def classifier_task(self, kind: Kind) -> Task:
        """Return the task as a kind of classifier sees it."""
        store = self.encoder(kind)
        return replace(self.task, feature_size=store.size) if store else self.task

    @cached_property
    def encoders(self) -> Encoders | None:
        """The frozen backbone, whose features are classified in place of images; None where images are."""
        config = self.config
        if not config.backbone:
            return None
        backbone = BackboneFeatures(config.backbone, open_backbone(config.backbone, config.weights), config.image_size)
        return Encoders(backbone, config.image_size, config.backbone_statistics == "both", self.engine)

    def encoder(self, kind: Kind, of: DomainName = "target") -> FeatureStore | None:
        """Return what a kind of classifier sees images of a domain through; None where it sees them as they are.

        The one that knows nothing of the target sees all images under the backbone's own statistics alone.
        """
        encoders = self.encoders
        if encoders is None:
            return None
        if kind.startswith("source-only"):
            return encoders.plain
        file = self.run.statistics(of)
        return self.engine.processes.first_then_all(
            lambda: encoders.of_domain(file, lambda: getattr(self, of).images("train").pixels)
        )

    def tuned_classifier(self, head: Mapping[str, Any] | None = None) -> TunedClassifier:
        """Return the backbone and a classifier of its features, with the weights ``head``, as one network."""
        assert self.encoders is not None
        features = self.classifier_task("adapted").classifier(recipe(self.config, "adapted").classifier)
        assert isinstance(features, FeatureClassifier)
        if head is not None:
            features.load_state_dict(head)
        backbone = copy.deepcopy(self.encoders.backbone).train()
        return TunedClassifier(TwoViews(backbone) if self.encoders.by_domain else backbone, features)

    def encoded(self, images: Set, kind: Kind, of: DomainName) -> Set:
        """Return a set of a domain's images as a kind of classifier sees it."""
        store, encoders = self.encoder(kind, of), self.encoders
        if store is None or encoders is None:
            return images

        def encode() -> Set:
            known = encoders.plain.of(images, f"the {of}")
            return known if store is encoders.plain else store.of(images, f"the {of}, under its own statistics")

        return self.engine.processes.first_then_all(encode)

    @property
    def content(self) -> str:
        """Whether source and target training images show the same objects: ``shared``, ``disjoint`` or ``separate``."""
        if self.source.content != self.target.content:
            return "separate"
        return "disjoint" if self.config.disjoint else "shared"

    @cached_property
    def data(self) -> AdaptationData:
        """The images that the run adapts with: labelled source, unlabelled target."""
        halve = self.content == "disjoint"
        part = slice(0, None, 2) if halve else slice(None)
        train, val = (self.source.labelled(split) for split in ("train", "val"))
        target = self.target.images("train")
        return AdaptationData(
            LabelledImages(train.pixels[part], train.labels[part]),
            LabelledImages(val.pixels[part], val.labels[part]),
            Images(target.pixels[1::2]) if halve else target,
            # the same objects in the same order, which a folder's splits need not be
            paired=self.content == "shared" and self.source.names("train") == self.target.names("train"),
        )

    @property
    def method_data(self) -> AdaptationData:
        """What the method is handed: these images, or their features if there is a backbone and it takes them."""
        if not self.method_class.takes_features:
            return self.data
        source, target = (partial(self.encoded, kind="adapted", of=name) for name in ("source", "target"))
        images = self.data
        return AdaptationData(
            source(images.source_train), source(images.source_val), target(images.target_train), images.paired
        )

    def feature_seconds(self) -> float:
        """Return what computing the features of both domains' images took, whoever computed them first."""
        encoders, images = self.encoders, self.data
        if encoders is None:
            return 0.0
        sets: list[tuple[DomainName, Images | LabelledImages]] = [
            ("source", images.source_train),
            ("source", images.source_val),
            ("target", images.target_train),
            ("target", self.target.images("test")),
        ]
        stores = [(one, {encoders.plain, self.encoder("adapted", of)}) for of, one in sets]
        return sum(store.seconds(one) for one, both in stores for store in both if store is not None)

    @property
    def own_kind(self) -> Kind:
        """The kind of classifier that the run is about: what its method makes, or what a choice has taken."""
        if self.method_class.chooses and self.run.choice.exists():
            kind: Kind = read_json(self.run.choice)["taken"]["kind"]
            return kind
        if self.method_class.adapts:
            return "adapted"
        return "target-only" if self.method_class.name == "target-only" else "source-only"

    @property
    def chosen_snapshot(self) -> int:
        """The step of the snapshot that adapts: the last one, or what the settings' rule chose.

        Raises
        ------
        RunError
            The run has no snapshot yet.
        """
        snapshots, unfinished = self.run.snapshots(), f"go on with acclimate run --resume {self.run.path}"
        if not snapshots:
            raise RunError(f"{self.run.path} is not adapted yet: {unfinished}")
        if self.config.select == "last":
            return max(snapshots)
        if not self.run.selection.exists():
            raise RunError(f"{self.run.path} has chosen no snapshot yet: {unfinished}")
        return int(read_json(self.run.selection)["chosen"])

    @property
    def method_decides(self) -> bool:
        """Whether the method itself is the adapted classifier, and no classifier stage comes after it."""
        return self.method_class.classifies and not self_trains(self.config)

    @property
    def keeps_statistics_apart(self) -> bool:
        """Whether the adapted classifier has learnt each domain under its own statistics of batch norm."""
        config = self.config
        return self_trains(config) and isinstance(config, StageConfig) and config.domain_statistics

    @property
    def uses_both_directions(self) -> bool:
        """Whether a target image is also classified redrawn in the source's style."""
        asked = isinstance(self.config, StageConfig) and self.config.both_directions
        return asked and self.method_class.translates_back

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Compute without the other processes in this context: what one of them does by itself."""
        together = self.engine
        self.engine = together.alone()
        try:
            yield
        finally:
            self.engine = together

    def build_method(self) -> Method:
        """Return the method with fresh weights, seeded."""
        with self.engine.seeded(seed_for(self.config.seed, "method")):
            return self.method_class(self.config, self.task, self.engine)

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

    def training_names(self, kind: Kind) -> list[str]:
        """Return the names of the repeated trainings of one kind of classifier."""
        return [f"{kind}-{index}" for index in range(self.config.repeats)]

    def trained_kinds(self) -> list[Kind]:
        """Return the kinds of classifiers that are trained."""
        return [kind for kind in KINDS if self._is_trained(kind)]

    def _is_trained(self, kind: Kind) -> bool:
        if kind == "adapted" and self.method_class.chooses:
            return self.run.choice.exists() and self.own_kind == "adapted"
        if kind == "adapted" and self.method_decides:
            return self.run.method_done.exists()
        return all(self.run.model(name).exists() for name in self.training_names(kind))

    def classifier(self, kind: Kind | None = None, trainings: int | None = None) -> Classifier:
        """Return the run's trained classifier: the adapted one, or that of another kind, or ``trainings`` of it.

        Raises
        ------
        RunError
            It is not trained yet.
        """
        kind = kind or self.own_kind
        if kind == "adapted" and self.uses_both_directions and self.run.directions.exists():
            return self.both_directions(float(read_json(self.run.directions)["weight"]))
        return self._classifier(kind, trainings)

    def calibrated(self) -> Classifier:
        """Return the run's classifier with probabilities that can be taken at their word, as far as that is known.

        Its temperature is in the result: the one at which it is as sure of target images as it is forecast to be right.

        Raises
        ------
        RunError
            The run has not finished.
        """
        classifier = self.classifier()
        classifier.temperature = self.run.result.get("calibration", {}).get("temperature", 1.0)
        return classifier

    def both_directions(self, weight: float = 1.0) -> BothDirections:
        """Return the adapted classifier combined with one of the source, which sees target images redrawn."""
        translator, seed = self.translator(), seed_for(self.config.seed, "back")

        def redraw(pixels: Tensor) -> Tensor:
            with self.engine.seeded(seed):
                return translator.back(pixels)

        back = self._classifier("source-only-augmented" if has_augmented_bars(self.config) else "source-only")
        return BothDirections(self._classifier("adapted"), back, redraw, weight)

    def chosen(self) -> tuple[Adaptation, Kind]:
        """Return what a choice among methods takes: the run of a candidate, and the kind of its classifier.

        Raises
        ------
        RunError
            Nothing is chosen yet.
        """
        if not self.run.choice.exists():
            raise RunError(f"{self.run.path} has chosen nothing yet: acclimate run --resume {self.run.path}")
        taken = read_json(self.run.choice)["taken"]
        run = Adaptation(self.run.candidate(taken["run"])) if taken["run"] else self
        run.engine = self.engine
        return run, taken["kind"]

    def _classifier(self, kind: Kind, trainings: int | None = None) -> Classifier:
        if kind == "adapted" and self.method_class.chooses:
            run, its = self.chosen()
            return run.classifier(its, trainings)
        tuned = kind == "adapted" and self.config.tune == "all"
        encode = None if tuned else self.encoder(kind)
        if kind == "adapted" and self.method_decides:
            return Classifier([self.method()], self.task.classes, self.engine, encode)
        networks = []
        for name in self.training_names(kind)[:trainings]:
            path = self.run.model(name)
            if not path.exists():
                raise RunError(
                    f"{self.run.path} has no classifier {name!r}: go on with acclimate run --resume {self.run.path}"
                )
            task = self.classifier_task(kind)
            network = self.tuned_classifier() if tuned else task.classifier(recipe(self.config, kind).classifier)
            network.load_state_dict(load_tree(path)["weights"])
            networks.append(network.to(self.engine.device).eval())
        return Classifier(networks, self.task.classes, self.engine, encode)
