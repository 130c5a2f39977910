"""SHOT (Liang, Hu and Feng, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer", ICML 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.data.images import to_float
from acclimate.methods.base import AdaptationData, DomainBatches, Method, Task, adam
from acclimate.methods.shot.config import SHOTConfig
from acclimate.training.batches import Batches
from acclimate.training.engine import Engine, seed_for
from acclimate.training.feed import Feed
from acclimate.training.loop import Phase, Stateful
from acclimate.training.losses import entropy

PART = 500
"""Target images that are labelled at once."""


class SHOT(Method):
    """The source is forgotten: its head h stays; features g move until h is sure of the target and uses all classes.

    First, on the source, L = E[CE(h(g(x)), smoothed y)] (arXiv:2002.08546, equation 2). Then, on the target alone, h
    frozen (equations 3, 4 and 7),

        L = E[H(p(t))] - H(E[p(t)]) + beta E[CE(h(g(t)), label(t))],   p = softmax(h(g(t))),

    where H is the entropy and the labels are those of the nearest class centres among all target features, drawn anew
    every epoch (:func:`nearest_centres`, equations 5 and 6). Images are ``[N, C, H, W]`` in [-1, 1].

    Departures from the paper: g and h are the two parts of the run's classifier, h without weight norm; Adam in place
    of SGD.

    When it fails: it wants every class to be used by as many images, which a target with few of one class is not.
    """

    name = "shot"
    classifies = takes_features = True
    kept = ("classifier",)

    def __init__(self, config: SHOTConfig, task: Task, engine: Engine) -> None:
        super().__init__(config, task, engine)
        self.config = config
        self.classifier = task.classifier(config.classifier)
        self.classifier.draw_weights()
        engine.place(self)
        self.labels = TargetLabels(engine)
        self.optimizers = {
            "source": adam(self.classifier, lr=config.lr),
            "features": adam(self.classifier.features, lr=config.lr),
        }

    def phases(self, data: AdaptationData) -> list[Phase]:
        config, engine = self.config, self.engine
        both = DomainBatches(data.source_train, data.target_train, config, engine)
        pixels, seed = data.target_train.pixels, seed_for(config.seed, "the target alone")
        order = Batches(len(pixels), config.batch_size, seed, drop_last=True, what="the target")
        feed = Feed(engine, (pixels, order), (torch.arange(len(pixels)), order))

        def on_source(number: int) -> Mapping[str, Tensor]:
            x, labels, _ = both[number]
            return self.source_step(x, labels)

        def on_target(number: int) -> Mapping[str, Tensor]:
            if number % order.steps_per_epoch == 0:
                self.labels.values = self.label(pixels)
            t, which = feed[number]
            return self.target_step(to_float(t), self.labels.values[which])

        state: dict[str, Stateful] = {"labels": self.labels}
        source = self._phase("source", both, on_source, steps=config.source_steps)
        return [source, self._phase("target", both, on_target, snapshots=config.snapshots, state=state)]

    def source_step(self, x: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Update everything on a batch of the source; return loss and accuracy."""
        self.classifier.train()
        with self.engine.autocast():
            logits = self.classifier(x).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.config.smoothing)
        self._update("source", loss)
        return {"loss": loss, "accuracy": (logits.argmax(1) == labels).float().mean()}

    def target_step(self, t: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Update the features on a batch of the target and the labels that it was given; return losses, agreement."""
        self.classifier.train()
        with self.engine.autocast():
            logits = self.classifier(t).float()
        classes = logits.softmax(1)
        losses = {
            "entropy": entropy(classes).sum(1).mean(),
            "diversity": entropy(classes.mean(0)).sum(),
            "pseudo": F.cross_entropy(logits, labels),
        }
        self._update("features", losses["entropy"] - losses["diversity"] + self.config.pseudo_weight * losses["pseudo"])
        return {**losses, "agreement": (logits.argmax(1) == labels).float().mean()}

    @torch.no_grad()
    def label(self, pixels: Tensor) -> Tensor:
        """Label all target images, uint8 ``[N, C, H, W]`` or features, by the nearest class centre; int64 ``[N]``."""
        self.classifier.eval()
        features, classes = [], []
        for part in pixels.split(PART):
            with self.engine.autocast():
                vectors = self.classifier.features(to_float(part.to(self.engine.device)))
                classes.append(self.classifier.head(vectors).float().softmax(1))
            features.append(vectors.float())
        return nearest_centres(torch.cat(features), torch.cat(classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        return logits


class TargetLabels:
    """The labels of all target images, int64 ``[N]``, as a part of the training's state."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.values = engine, torch.empty(0, dtype=torch.int64)

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.values = state_dict["values"].to(self.engine.device)


def nearest_centres(features: Tensor, classes: Tensor) -> Tensor:
    """Label each image by the class whose centre its features are nearest to, by cosine (equations 5 and 6).

    Centres are means weighted by the classes' probabilities first, then means over the images so labelled; a class that
    no image was given has no centre then.

    Parameters
    ----------
    features
        float ``[N, D]``.
    classes
        Probabilities, float ``[N, K]``.

    Returns
    -------
    Tensor
        int64 ``[N]``.
    """
    vectors = F.normalize(torch.cat([features, torch.ones_like(features[:, :1])], 1))
    weights, labels = classes, classes.argmax(1)
    for _ in range(2):
        centres = F.normalize(weights.T @ vectors)
        nearness = (vectors @ centres.T).masked_fill(weights.sum(0) == 0, -torch.inf)
        labels = nearness.argmax(1)
        weights = F.one_hot(labels, classes.shape[1]).float()
    return labels
