"""The whole pipeline: two domains in, an adapted classifier out; and a finished run opened again from its path."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from acclimate.classification import EVALUATION_BATCH, ClassifierTraining
from acclimate.config import CONFIGS, Config
from acclimate.domains import DOMAINS, DataOptions, Domain, Images, LabelledImages, open_domain
from acclimate.domains.base import SPLITS, SplitName, default_data_root
from acclimate.errors import DataError, RunError
from acclimate.evaluation import Classifier, environment, folder_bytes, summary
from acclimate.images import image_files, read_image, write_png
from acclimate.methods import AdaptationData, Method, Task, find_method
from acclimate.networks import GTAClassifier
from acclimate.progress import progress, say
from acclimate.runs import Run
from acclimate.state import load_tree, save_tree, write_json
from acclimate.training import Engine, Phase, seed_for, train
from acclimate.translation import TranslatedImages, Translator

SCHEMA = 1
KINDS = ("source-only", "adapted", "target-only")
"""The classifiers that a run trains."""


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
        self.config: Config = CONFIGS[stored["method"]](**stored["config"])
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
        config = CONFIGS[find_method(method).name].preset(preset, **settings)
        Engine.choose(device, config.precision)
        root = Path(data_root or default_data_root()).expanduser().resolve()
        options = _data_options(config, root)
        opened = open_domain(source, options)
        _check_pair(opened, open_domain(target, options, opened.classes))
        names = [_slug(opened.name), _slug(str(target)), method, preset, str(config.seed)]
        run = Run.create(
            Path(out or Path("runs") / "-".join(names)).expanduser(),
            {
                "schema": SCHEMA,
                "source": _spec(source),
                "target": _spec(target),
                "method": method,
                "preset": preset,
                "device": device,
                "data_root": str(root),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "config": asdict(config),
            },
        )
        return cls(run)

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
        )

    def run_all(self) -> dict[str, Any]:
        """Do whatever is not done yet, and return the result, which is also written to ``result.json``."""
        if (self.run.path / "result.json").exists():
            return self.run.result
        with self.run.lock():
            return self._run_all()

    def _run_all(self) -> dict[str, Any]:
        for name in ("source", "target"):
            domain: Domain = getattr(self, name)
            say(f"{name}: {domain.name}, " + ", ".join(f"{count:,} {split}" for split, count in domain.sizes().items()))
        if self.method_class.translates:
            self.train_method()
            self.train_classifiers("adapted")
        self.train_classifiers("source-only")
        if self.config.target_only and self.target.has_labels:
            self.train_classifiers("target-only")
        if self.method_class.translates:
            from acclimate.figures import run_samples  # matplotlib takes a second

            run_samples(self, self.run.path / "figures" / "samples.png")
        result = self.evaluate()
        write_json(self.run.path / "result.json", result)
        return result

    def build_method(self) -> Method:
        """Return the method with fresh weights, seeded."""
        with torch.random.fork_rng():
            torch.manual_seed(seed_for(self.config.seed, "method"))
            return self.method_class(self.config, self.task, self.engine)

    def train_method(self) -> None:
        """Train the method's phases, going on where they stopped."""
        if self._method_done.exists():
            return
        method = self.build_method()
        seconds = {}
        for phase in method.phases(self.data):
            seconds[phase.name] = self._train(phase)
        write_json(self._method_done, seconds)
        for name in seconds:
            self.run.drop_checkpoints(name)

    def _train(self, phase: Phase) -> float:
        config = self.config
        return train(phase, self.run, self.engine, config.seed, checkpoint_every=config.checkpoint_every)

    @property
    def _method_done(self) -> Path:
        return self.run.path / "models" / "method.json"

    @property
    def own_kind(self) -> str:
        """The kind of classifier that the method is about."""
        return "adapted" if self.method_class.translates else self.method_class.name

    @property
    def chosen_snapshot(self) -> int:
        """The step of the snapshot that translates: the last one.

        Raises
        ------
        RunError
            The run has no snapshot yet.
        """
        snapshots = self.run.snapshots()
        if not snapshots:
            raise RunError(f"{self.run.path} has no trained translator yet: acclimate run --resume {self.run.path}")
        return max(snapshots)

    def translator(self, snapshot: int | None = None) -> Translator:
        """Return the trained translator, from a snapshot's step or the chosen one.

        Raises
        ------
        RunError
            The method does not translate, or there is no such snapshot.
        """
        if not self.method_class.translates:
            raise RunError(f"{self.run.path}: the method {self.method_class.name} does not translate images")
        step = self.chosen_snapshot if snapshot is None else snapshot
        snapshots = self.run.snapshots()
        if step not in snapshots:
            raise RunError(f"{self.run.path} has no snapshot {step}; it has {', '.join(map(str, snapshots))}")
        method = self.build_method()
        method.load_translators(load_tree(snapshots[step]))
        return Translator(method, self.engine)

    def translated_source(self) -> tuple[LabelledImages | TranslatedImages, LabelledImages]:
        """Return the source's training and validation images in the target's style.

        Offline, both are written to the run once. On the fly only the validation images are translated beforehand, in
        memory, as a validation set has to stay the same from epoch to epoch.
        """
        offline = getattr(self.config, "adapt", "offline") == "offline"
        train = self.data.source_train.first(self.config.classifier_images or None)
        val = self._translated("val", self.data.source_val, keep=offline)
        if not offline:
            return TranslatedImages(train, self.translator()), val
        return self._translated("train", train, keep=True), val

    def _translated(self, split: str, images: LabelledImages, *, keep: bool) -> LabelledImages:
        path = self.run.path / "translated" / f"{split}.safetensors"
        if keep and path.exists():
            return LabelledImages(load_tree(path)["pixels"], images.labels)
        start = time.monotonic()
        seed = seed_for(self.config.seed, "translation", split)
        pixels = self.translator().all(images.pixels, seed, description=f"translating {split}")
        if keep:
            save_tree(path, {"pixels": pixels, "seconds": time.monotonic() - start})
        return LabelledImages(pixels, images.labels)

    def train_classifiers(self, kind: str) -> None:
        """Train the repeats of one kind, ``adapted``, ``source-only`` or ``target-only``, that are not trained yet."""
        missing = [name for name in self._names(kind) if not self.run.model(name).exists()]
        if not missing:
            return
        train_set, val = self._classifier_data(kind)
        for name in missing:
            training = ClassifierTraining(name, train_set, val, self.config, self.task, self.engine, self.config.seed)
            seconds = self._train(training.phase)
            cost = (
                training.train.cost if isinstance(training.train, TranslatedImages) else {"seconds": 0.0, "images": 0}
            )
            weights = training.classifier.state_dict()
            save_tree(self.run.model(name), {"weights": weights, "seconds": seconds, "translation": cost})
            self.run.drop_checkpoints(name)

    def _trained_kinds(self) -> list[str]:
        return [kind for kind in KINDS if all(self.run.model(name).exists() for name in self._names(kind))]

    def _names(self, kind: str) -> list[str]:
        return [f"{kind}-{index}" for index in range(self.config.repeats)]

    def _classifier_data(self, kind: str) -> tuple[LabelledImages | TranslatedImages, LabelledImages]:
        if kind == "adapted":
            return self.translated_source()
        if kind == "source-only":
            return self.data.source_train, self.data.source_val
        return self.target.labelled("train"), self.target.labelled("val")

    def classifier(self, kind: str | None = None) -> Classifier:
        """Return the run's trained classifier: the adapted one, or that of another kind.

        Raises
        ------
        RunError
            It is not trained yet.
        """
        kind = kind or self.own_kind
        networks = []
        for name in self._names(kind):
            path = self.run.model(name)
            if not path.exists():
                raise RunError(
                    f"{self.run.path} has no classifier {name!r}: go on with acclimate run --resume {self.run.path}"
                )
            network = GTAClassifier(self.task.channels, len(self.task.classes), self.task.image_size)
            network.load_state_dict(load_tree(path)["weights"])
            networks.append(network.to(self.engine.device).eval())
        return Classifier(networks, self.task.classes, self.engine)

    def evaluate(self) -> dict[str, Any]:
        """Measure every trained classifier on the target's test images; return the result with its protocol."""
        own = self.own_kind
        measured: dict[str, Any] = dict.fromkeys(KINDS)
        ensemble = None
        if self.target.has_labels:
            test = self.target.labelled("test")
            measured |= {kind: summary(self.classifier(kind).accuracies(test)) for kind in self._trained_kinds()}
            right = self.classifier().probabilities(test.pixels).argmax(1) == test.labels
            ensemble = round(right.float().mean().item(), 6)
        stored = self.run.config
        return {
            "schema": SCHEMA,
            "method": self.method_class.name,
            "preset": stored["preset"],
            "source": stored["source"],
            "target": stored["target"],
            "seed": self.config.seed,
            "accuracy": measured[own],
            "ensemble_accuracy": ensemble,
            "baselines": {"source_only": measured["source-only"], "target_only": measured["target-only"]},
            "selection": {
                "rule": "last",
                "checkpoint": self.chosen_snapshot if self.method_class.translates else 0,
                "target_labels_used": False,
            },
            "protocol": {
                "splits": {name: list(getattr(self, name).sizes().values()) for name in ("source", "target")},
                "content": self.content,
                "transductive": False,
                "data": {domain.name: domain.manifest()["md5"] for domain in (self.source, self.target)},
            },
            "config": asdict(self.config),
            **self._costs(),
            **environment(self.engine),
        }

    def measure(self, domain: str | Path | None = None) -> dict[str, Any]:
        """Measure every trained classifier on a labelled domain's test images; the run's target by default.

        Raises
        ------
        DataError
            The domain has other classes, or no labels.
        """
        tested = self.target if domain is None else open_domain(domain, self.data_options, self.source.classes)
        _check_pair(self.source, tested)
        if not tested.has_labels:
            raise DataError(
                f"{tested.name} has no labels of the classes {', '.join(self.source.classes[:12])}: nothing to measure"
            )
        test = tested.labelled("test")
        accuracy = {kind: summary(self.classifier(kind).accuracies(test)) for kind in self._trained_kinds()}
        return {"domain": tested.name, "test_images": len(test), "accuracy": accuracy}

    def study_snapshots(self, images: int = 10_000, epochs: int = 6) -> dict[str, Any]:
        """Measure every snapshot: train a classifier on what it makes of the source, and test that on the target.

        This is a study of how much single snapshots differ, and steers nothing: it reads target labels, so it must not
        choose a snapshot. It goes on where it stopped, and is written to ``snapshot_study.json``.

        Parameters
        ----------
        images
            Source images that each snapshot translates; a full training takes all.
        epochs
            Epochs of each classifier at most.

        Returns
        -------
        dict
            ``accuracy`` by step, ``last``, ``mean_of_last_ten``, ``best`` with its step, and the protocol.

        Raises
        ------
        DataError
            The target has no labels.
        """
        if not self.target.has_labels:
            raise DataError(f"{self.target.name} has no labels: nothing to measure")
        path = self.run.path / "snapshot_study.json"
        protocol = {"images": images, "epochs": epochs, "target_labels_used": "for this study only"}
        study = json.loads(path.read_text()) if path.exists() else {}
        accuracy = study.get("accuracy", {}) if study.get("protocol") == protocol else {}
        config = replace(self.config, classifier_images=images, classifier_epochs=epochs)
        train_set, val = self.data.source_train.first(images), self.data.source_val.first(images // 5)
        test = self.target.labelled("test")
        with progress("snapshots", len(self.run.snapshots()), done=len(accuracy), unit="snapshots") as bar:
            for step in self.run.snapshots():
                if str(step) in accuracy:
                    continue
                translator = self.translator(step)
                sets = [
                    LabelledImages(translator.all(one.pixels, seed_for(config.seed, "study", name)), one.labels)
                    for name, one in (("train", train_set), ("val", val))
                ]
                training = ClassifierTraining(
                    f"snapshot-{step}", sets[0], sets[1], config, self.task, self.engine, config.seed
                )
                training.run_alone()
                classifier = Classifier([training.classifier], self.task.classes, self.engine)
                accuracy[str(step)] = round(classifier.accuracies(test)[0], 6)
                accuracy = dict(sorted(accuracy.items(), key=lambda item: int(item[0])))
                values = list(accuracy.values())
                best = max(accuracy, key=lambda key: accuracy[key])
                study = {
                    "accuracy": accuracy,
                    "last": values[-1],
                    "mean_of_last_ten": round(fmean(values[-10:]), 6),
                    "best": {"step": int(best), "accuracy": accuracy[best]},
                    "protocol": protocol,
                    **environment(self.engine),
                }
                write_json(path, study)
                bar.advance()
        return study

    def translate_files(self, source: str | Path, output: Path, snapshot: int | None = None) -> int:
        """Redraw a domain's or folder's images as PNG files below ``output``; return how many.

        A folder's images keep their relative paths, a domain's go to ``SPLIT/CLASS/NUMBER.png``.

        Raises
        ------
        DataError
            ``output`` is not empty.
        """
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise DataError(f"{output} is not empty: name another folder")
        translator = self.translator(snapshot)
        domain = open_domain(source, self.data_options, self.source.classes)
        written: set[Path] = set()
        for split in SPLITS:
            images = domain.images(split)
            if len(images) == 0:
                continue
            translated = translator.all(images.pixels, seed_for(self.config.seed, "files", split))
            for path, pixels in zip(_file_names(domain, split), translated, strict=True):
                file = output / path.with_suffix(".png")
                if file in written:  # a.jpg beside a.png
                    file = output / path.with_name(f"{path.name}.png")
                written.add(file)
                file.parent.mkdir(parents=True, exist_ok=True)
                write_png(pixels, file)
        return len(written)

    def predict_files(self, paths: Sequence[Path], *, strict: bool = False) -> Iterator[tuple[Path, str, float]]:
        """Classify image files, or folders of them; yield path, class name and its probability.

        Unreadable images are named and skipped.

        Raises
        ------
        DataError
            A path does not exist, no image is readable, or with ``strict`` one is not.
        """
        files = []
        for path in paths:
            if not path.exists():
                raise DataError(f"no such file or folder: {path}")
            files += image_files(path) if path.is_dir() else [path]
        classifier, config, readable = self.classifier(), self.config, 0
        for start in range(0, len(files), EVALUATION_BATCH):
            names, images = [], []
            for file in files[start : start + EVALUATION_BATCH]:
                try:
                    images.append(read_image(file, config.image_size, config.channels, config.fit))
                    names.append(file)
                except DataError as error:
                    if strict:
                        raise
                    say(f"skipped {error}")
            if images:
                readable += len(images)
                best = classifier.probabilities(torch.stack(images)).max(1)
                for file, probability, label in zip(names, best.values.tolist(), best.indices.tolist(), strict=True):
                    yield file, classifier.classes[label], probability
        if not readable:
            raise DataError("no readable image among: " + ", ".join(map(str, paths[:5])))

    def _costs(self) -> dict[str, Any]:
        """Add up what each part took, over every process that worked on the run."""
        phases = json.loads(path.read_text()) if (path := self._method_done).exists() else {}
        written = [load_tree(path) for path in (self.run.path / "translated").glob("*.safetensors")]
        models = {path.stem: load_tree(path) for path in (self.run.path / "models").glob("*.safetensors")}
        kinds = {
            kind: sum(model["seconds"] for name, model in models.items() if name.startswith(kind)) for kind in KINDS
        }
        translator, once = sum(phases.values()), sum(file["seconds"] for file in written)
        on_the_fly = [model["translation"] for model in models.values()]
        seconds = {
            "translator": translator,
            "translation": once + sum(cost["seconds"] for cost in on_the_fly),
            "classifier": kinds[self.own_kind],
            "source_only": kinds["source-only"],
            "target_only": kinds["target-only"],
            "total": translator + once + sum(kinds.values()),
        }
        return {
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "translation": {
                "images": sum(len(file["pixels"]) for file in written) + sum(cost["images"] for cost in on_the_fly),
                "bytes_on_disk": folder_bytes(self.run.path / "translated"),
            },
        }


def _file_names(domain: Domain, split: SplitName) -> list[Path]:
    names = domain.names(split)
    if names is not None:
        return [Path(name) for name in names]
    labels = domain.labelled(split).labels.tolist()
    return [Path(split, domain.classes[label], f"{index:05d}") for index, label in enumerate(labels)]


def _data_options(config: Config, data_root: Path) -> DataOptions:
    return DataOptions(
        image_size=config.image_size,
        channels=config.channels,
        fit=config.fit,
        strict=config.strict,
        data_root=data_root,
    )


def _check_pair(source: Domain, target: Domain) -> None:
    if source.classes != target.classes:
        shown = [", ".join(domain.classes[:12]) for domain in (source, target)]
        raise DataError(
            f"{source.name} has the classes {shown[0]}; {target.name} has {shown[1]}: they must be the same"
        )


def _spec(name: str | Path) -> str:
    """Return a domain's name, or a folder's full path, so that the run can be resumed from anywhere."""
    return str(name) if str(name) in DOMAINS else str(Path(name).expanduser().resolve())


def _slug(name: str | Path) -> str:
    return str(name) if str(name) in DOMAINS else Path(name).expanduser().resolve().name or "folder"
