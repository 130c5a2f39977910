"""The source in the target's style, as a run's classifiers are trained and validated on it."""

from __future__ import annotations

import time

import numpy as np

from acclimate.config import TranslationConfig
from acclimate.data.arrays import map_array, write_array
from acclimate.data.sets import LabelledImages
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.translation import TranslatedImages
from acclimate.training.engine import seed_for
from acclimate.training.state import write_json


def training_images(adaptation: Adaptation, kind: str) -> LabelledImages:
    """Return the labelled images, as they are, that a kind of classifier is trained on or that are redrawn for it."""
    if kind.startswith("target-only"):
        return adaptation.target.labelled("train")
    source = adaptation.data.source_train
    return source.first(adaptation.config.classifier_images or None) if kind == "adapted" else source


def redrawn_images(adaptation: Adaptation) -> LabelledImages | TranslatedImages:
    """Return the source's training images in the target's style.

    Offline, they are written to the run once. On the fly only the validation images are translated beforehand, in
    memory, as a validation set has to stay the same from epoch to epoch.
    """
    train = training_images(adaptation, "adapted")
    if not _offline(adaptation):
        return TranslatedImages(train, adaptation.translator())

    def write() -> LabelledImages:
        validation_images(adaptation, "adapted")
        return _translated(adaptation, "train", train)

    return adaptation.engine.processes.first_then_all(write)


def validation_images(adaptation: Adaptation, kind: str) -> LabelledImages:
    """Return the labelled images that a kind of classifier is validated on while it trains.

    Translated source for the adapted one, unless the method classifies by itself; source for source-only.
    """
    if kind.startswith("target-only"):
        return adaptation.target.labelled("val")
    source = adaptation.data.source_val
    redrawn = kind == "adapted" and adaptation.method_class.translates and not adaptation.method_decides
    return _translated(adaptation, "val", source) if redrawn else source


def _offline(adaptation: Adaptation) -> bool:
    config = adaptation.config
    return not (isinstance(config, TranslationConfig) and config.adapt == "on-the-fly")


def _translated(adaptation: Adaptation, split: str, images: LabelledImages) -> LabelledImages:
    path = adaptation.run.path / "translated" / f"{split}.npy"
    cost = path.with_suffix(".json")  # written last: where it is, the images are whole
    if _offline(adaptation) and cost.exists():
        return LabelledImages(map_array(path), images.labels)
    start, description = time.monotonic(), f"translating {split}"
    seed = seed_for(adaptation.config.seed, "translation", split)
    if not _offline(adaptation):
        pixels = adaptation.translator().all(images.pixels, seed, description=description)
        return LabelledImages(pixels, images.labels)
    batches = adaptation.translator().batches(images.pixels, seed, description=description)
    write_array(path, images.pixels.shape, np.uint8, (batch.numpy() for batch in batches))
    write_json(cost, {"images": len(images), "seconds": time.monotonic() - start})
    return LabelledImages(map_array(path), images.labels)
