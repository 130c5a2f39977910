"""What a classifier sees in images just before it decides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from acclimate.networks import ImageClassifier
from acclimate.runs.evaluation import EVALUATION_BATCH, Classifier, predict_logits


@torch.no_grad()
def last_features(classifier: Classifier, pixels: Tensor) -> Tensor:
    """Return a classifier's last convolutional features, float32 ``[N, D]`` on the CPU, of uint8 ``[N, C, H, W]``.

    Of several trainings the first's. They are the ``features`` of an :class:`ImageClassifier`, which may be part of a
    method; of a network without one, what its last layer is given.
    """
    network, seen = classifier.networks[0], dict[str, Tensor]()

    def keep_output(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen.setdefault("features", output)

    def keep_input(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["last"] = inputs[0]

    hooks = [
        module.features.register_forward_hook(keep_output)
        for module in network.modules()
        if isinstance(module, ImageClassifier)
    ] + [
        module.register_forward_pre_hook(keep_input)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    chunks = []
    try:
        for chunk in pixels.split(EVALUATION_BATCH):
            seen.clear()
            predict_logits(network, classifier.seen(chunk), classifier.engine)
            chunks.append(seen.get("features", seen["last"]).flatten(1).float().cpu())
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(chunks)
