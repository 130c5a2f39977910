"""What a service answers with: a run, by torch, or an exported folder, by onnxruntime."""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acclimate.config import Fit, Interpolation
from acclimate.data.images import Levels, decoded, fit_image, whole_image, write_png
from acclimate.errors import AcclimateError
from acclimate.pipeline.card import about_run, card
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.familiar import familiarity_if_known
from acclimate.runs.last_features import last_features
from acclimate.trust.familiarity import ALIEN


class Model(ABC):
    """A trained classifier, and what else can be asked about an image.

    One thread at a time may classify, and one redraw.

    Attributes
    ----------
    about
        What it says of itself: classes, working size, where it comes from.
    card
        The model card, Markdown.
    engine
        What computes: ``torch`` or ``onnxruntime``.
    directions
        Where :meth:`redraw` can take an image: ``target``, ``source``, or nowhere.
    knows_target
        Whether :meth:`likeness` can be asked.
    """

    about: Mapping[str, Any]
    card: str
    engine: str
    directions: tuple[str, ...] = ()
    knows_target: bool = False
    levels: Levels | None = None

    def read(self, content: bytes, name: str, max_pixels: int) -> Tensor:
        """Return an image file's content as the classifier sees it, uint8 ``[C, H, W]``.

        Raises
        ------
        DataError
            It is no image, is cut off, or has more than ``max_pixels`` pixels.
        """
        size, channels = self.about["image_size"], self.about["channels"]
        fit: Fit = self.about["fit"]
        by: Interpolation = self.about["interpolation"]
        with decoded(io.BytesIO(content), name, max_pixels) as image:
            return fit_image(image, size, channels, fit, by, self.levels)

    @abstractmethod
    def probabilities(self, pixels: Tensor) -> Tensor:
        """Return class probabilities, float32 ``[N, classes]``, of uint8 images ``[N, C, H, W]``."""

    def likeness(self, pixels: Tensor) -> Tensor:
        """Return how like the target each image is, float32 ``[N]`` in [0, 1].

        It is the share of held-out target images that are at least as strange.
        """
        raise TypeError(f"{self.engine} has no images of the target to compare with")

    def redraw(self, content: bytes, name: str, direction: str, max_pixels: int) -> bytes:
        """Return an image file's content redrawn in the style of ``direction``, as PNG."""
        raise TypeError(f"this model does not redraw images as those of the {direction}")


class RunModel(Model):
    """The adapted classifier of a run."""

    engine = "torch"

    def __init__(self, adaptation: Adaptation) -> None:
        self.about = about_run(adaptation, "classifier", "float32")
        self.card = card(adaptation, self.about, {})
        self.levels = adaptation.seen_options.levels
        self._classifier = adaptation.calibrated().uncached()
        self._known = familiarity_if_known(adaptation)
        self.knows_target = self._known is not None
        method = adaptation.method_class
        if method.translates and adaptation.own_kind == "adapted":
            self._translator = adaptation.translator()
            self.directions = ("target", "source") if method.translates_back else ("target",)

    def probabilities(self, pixels: Tensor) -> Tensor:
        return self._classifier.probabilities(pixels)

    def likeness(self, pixels: Tensor) -> Tensor:
        if self._known is None:
            return super().likeness(pixels)
        return 1 - self._known.strangeness(last_features(self._classifier, pixels))

    def redraw(self, content: bytes, name: str, direction: str, max_pixels: int) -> bytes:
        if direction not in self.directions:
            return super().redraw(content, name, direction, max_pixels)
        if direction == "target" and self._translator.method.redraws_any_size:
            with decoded(io.BytesIO(content), name, max_pixels) as image:
                redrawn = self._translator.whole(whole_image(image, self.about["channels"], self.levels))
        else:
            pixels = self.read(content, name, max_pixels)[None]
            redrawn = (self._translator(pixels) if direction == "target" else self._translator.back(pixels))[0]
        file = io.BytesIO()
        write_png(redrawn, file)
        return file.getvalue()


class ExportedModel(Model):
    """A classifier that ``acclimate export`` wrote.

    Parameters
    ----------
    folder
        With ``model.onnx`` and its card.
    threads
        Of the computation; None for all cores.

    Raises
    ------
    AcclimateError
        onnxruntime is not installed, or the folder holds no exported classifier.
    """

    engine = "onnxruntime"

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise AcclimateError("serving an exported model needs onnxruntime: pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        try:
            file = str(folder / "model.onnx")
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            self.about = json.loads(self._session.get_modelmeta().custom_metadata_map["acclimate"])
            self.card = (folder / "README.md").read_text(encoding="utf-8")
            levels = self.about.get("levels")
            self.levels = (levels[0], levels[1]) if levels else None
        except Exception as error:  # onnxruntime has no common error of its own
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise AcclimateError(f"{folder} holds no model that acclimate exported: {first}") from None
        if self.about["what"] != "classifier":
            raise AcclimateError(f"{folder} holds a {self.about['what']}; a classifier is what is served")

    def probabilities(self, pixels: Tensor) -> Tensor:
        (found,) = self._session.run(None, {"images": pixels.numpy()})
        return torch.from_numpy(np.asarray(found))


def open_model(path: Path, device: str | None = None, threads: int | None = None) -> Model:
    """Open a run directory, or a folder that ``acclimate export`` wrote.

    Raises
    ------
    AcclimateError
        It is neither.
    """
    if (path / "model.onnx").exists():
        return ExportedModel(path, threads)
    return RunModel(Adaptation(path, device))


def answer(model: Model, probabilities: Sequence[float], abstain_below: float, most: int = 3) -> dict[str, Any]:
    """Return what is said of one image: its class, or none where that is less likely than ``abstain_below``."""
    classes = model.about["classes"]
    ranked = sorted(range(len(classes)), key=lambda index: -probabilities[index])
    best = ranked[0]
    abstains = probabilities[best] < abstain_below
    return {
        "class": None if abstains else classes[best],
        "probability": round(probabilities[best], 6),
        "abstains": abstains,
        "top": [{"class": classes[index], "probability": round(probabilities[index], 6)} for index in ranked[:most]],
    }


def likeness_in_words(likeness: float) -> str:
    """Say how like the target an image is, whose :meth:`Model.likeness` this is."""
    if likeness > 1 - ALIEN:
        return "like the target"
    return "unusual for the target" if likeness else "stranger than all images of the target: do not rely on the class"
