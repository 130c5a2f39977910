"""How much single snapshots differ: each one measured on target labels, for this study and for nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from acclimate.classification import ClassifierTraining
from acclimate.domains import LabelledImages
from acclimate.errors import DataError
from acclimate.evaluation import Classifier
from acclimate.progress import progress
from acclimate.results import environment
from acclimate.state import write_json
from acclimate.training import seed_for

if TYPE_CHECKING:
    from acclimate.adaptation import Adaptation


def study_snapshots(adaptation: Adaptation, images: int = 10_000, epochs: int = 6) -> dict[str, Any]:
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
    if not adaptation.target.has_labels:
        raise DataError(f"{adaptation.target.name} has no labels: nothing to measure")
    path = adaptation.run.path / "snapshot_study.json"
    protocol = {"images": images, "epochs": epochs, "target_labels_used": "for this study only"}
    study = json.loads(path.read_text()) if path.exists() else {}
    accuracy = study.get("accuracy", {}) if study.get("protocol") == protocol else {}
    config = replace(adaptation.config, classifier_images=images, classifier_epochs=epochs)
    train_set, val = adaptation.data.source_train.first(images), adaptation.data.source_val.first(images // 5)
    test = adaptation.target.labelled("test")
    with progress("snapshots", len(adaptation.run.snapshots()), done=len(accuracy), unit="snapshots") as bar:
        for step in adaptation.run.snapshots():
            if str(step) in accuracy:
                continue
            translator = adaptation.translator(step)
            sets = [
                LabelledImages(translator.all(one.pixels, seed_for(config.seed, "study", name)), one.labels)
                for name, one in (("train", train_set), ("val", val))
            ]
            training = ClassifierTraining(
                f"snapshot-{step}", sets[0], sets[1], config, adaptation.task, adaptation.engine, config.seed
            )
            training.run_alone()
            classifier = Classifier([training.classifier], adaptation.task.classes, adaptation.engine)
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
                **environment(adaptation.engine),
            }
            write_json(path, study)
            bar.advance()
    return study
