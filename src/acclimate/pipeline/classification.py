"""The classifier stage (section 4.3): one recipe for adapted, source-only and target-only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from acclimate.config import Config
from acclimate.data.augmentation import POLICIES
from acclimate.data.images import to_float
from acclimate.data.sets import LabelledImages
from acclimate.methods.base import Task
from acclimate.runs.evaluation import predict_logits
from acclimate.runs.translation import Cost, TranslatedImages
from acclimate.training.batches import Batches
from acclimate.training.engine import Engine, seed_for
from acclimate.training.feed import Feed
from acclimate.training.loop import Phase

MIN_DELTA = 1e-4
MAX_RESTARTS = 3


class ClassifierTraining:
    """Adam, cross entropy, early stopping and a plateau schedule on a validation set of the same kind.

    The validation set is translated source when the training set is: no target label steers anything. The last weights
    are kept, as the paper's author kept them.

    At the paper's learning rate a training may die in its first steps: the ReLUs shut, the logits the same for every
    image, the loss at chance for good. Such a training starts again from other weights, and the log says so.

    Parameters
    ----------
    name
        Names the phase.
    train, val
        Labelled uint8 images; those for training may be translated on the fly.
    config
        Learning rate, batch, epochs, patience.
    task
        Image shape and classes.
    engine
        Where to compute.
    seed
        Drives initial weights and order.
    """

    def __init__(
        self,
        name: str,
        train: LabelledImages | TranslatedImages,
        val: LabelledImages,
        config: Config,
        task: Task,
        engine: Engine,
        seed: int,
    ) -> None:
        self.config, self.engine, self.weights_seed = config, engine, (seed, name, "weights")
        with engine.seeded(seed):  # the weights are drawn below
            self.classifier = task.classifier(config.classifier)
        engine.place(self.classifier)
        self.optimizer = torch.optim.Adam(self.classifier.parameters(), config.classifier_lr, eps=1e-7, fused=True)
        self.stopping = PlateauStopping(self.optimizer, config.classifier_plateau, config.classifier_patience)
        self.policy = POLICIES[config.augment]
        self.restarts = 0
        self._draw_weights()
        self.train, self.val = train.first(config.classifier_images or None), val
        self.batches = Batches(
            len(self.train),
            config.classifier_batch_size,
            seed_for(seed, name, "order"),
            drop_last=False,
            least=2 * engine.processes.count,  # batch norm needs two images in each process
        )
        images = self.train.source if isinstance(self.train, TranslatedImages) else self.train
        self._feed = Feed(engine, (images.pixels, self.batches), (images.labels, self.batches))
        self.name, self.steps = name, config.classifier_epochs * self.batches.steps_per_epoch

    @property
    def phase(self) -> Phase:
        """The training as a phase of a run; it is not kept, as it would keep this and its images in a circle."""
        return Phase(
            self.name,
            self.steps,
            self.step,
            {"classifier": self.classifier, "optimizer": self.optimizer, "stopping": self.stopping, "training": self},
            self.batches.steps_per_epoch,
            self.end_epoch,
        )

    def run_alone(self) -> None:
        """Train to the end without a run directory: no logs, no checkpoints."""
        with self.engine.seeded(seed_for(*self.weights_seed, "training")):
            for number in range(self.steps):
                self.step(number)
                if (number + 1) % self.batches.steps_per_epoch == 0 and self.end_epoch()[1]:
                    return

    def _draw_weights(self) -> None:
        with self.engine.seeded(seed_for(*self.weights_seed, self.restarts)):
            self.classifier.draw_weights()

    def state_dict(self) -> dict[str, Any]:
        return {"restarts": self.restarts, "translation": self.translation()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.restarts = state_dict["restarts"]
        if isinstance(self.train, TranslatedImages):
            before = state_dict["translation"]
            first = self.engine.processes.first  # its images are those of all until now
            self.train.cost = Cost(before["seconds"], before["images"] if first else 0)

    def translation(self) -> dict[str, Any]:
        """Return the seconds of translation on the fly and how many images; all processes must call this."""
        cost = self.train.cost if isinstance(self.train, TranslatedImages) else Cost()
        return {"seconds": cost.seconds, "images": sum(self.engine.processes.gather(cost.images))}

    def step(self, number: int) -> Mapping[str, Tensor]:
        """Update the classifier on one batch."""
        group, whole = self.engine.processes, self.batches.size(number)
        pixels, labels = self._feed[number]
        if isinstance(self.train, TranslatedImages):
            pixels = self.train.redraw(pixels)
        self.classifier.train()
        with self.engine.autocast():
            logits = self.classifier(self.policy.strong(to_float(pixels))).float()
        weight = group.count / whole  # an epoch's last batch is not shared equally: the mean is that of the whole
        loss = weight * F.cross_entropy(logits, labels, reduction="sum")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        group.average_gradients(self.classifier.parameters())
        self.optimizer.step()
        return {"loss": loss, "accuracy": weight * (logits.argmax(1) == labels).sum()}

    def end_epoch(self) -> tuple[dict[str, float], bool]:
        """Validate, lower the learning rate on a plateau, say whether to stop."""
        self.engine.processes.average_buffers(self.classifier.buffers())
        with self.engine.autocast():
            logits = predict_logits(self.classifier, self.val.pixels, self.engine)
        labels = self.val.labels.to(logits.device)
        loss = F.cross_entropy(logits, labels).item()
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        dead = len(logits) > 1 and bool((logits - logits[0]).abs().max() < 1e-3)
        loss, accuracy, dead = self.engine.processes.agree((loss, accuracy, dead))
        if dead and self.restarts < MAX_RESTARTS:
            self.restarts += 1
            self._draw_weights()
            self.optimizer.state.clear()
            return {"val_loss": loss, "val_accuracy": accuracy, "restarts": self.restarts}, False
        stop = self.stopping.update(loss)
        return {"val_loss": loss, "val_accuracy": accuracy, "lr": self.optimizer.param_groups[0]["lr"]}, stop


class PlateauStopping:
    """The author's two Keras callbacks: lower the learning rate on a plateau, and stop early.

    The rate falls to a tenth after ``plateau`` epochs that were no better than the best by 1e-4, training stops after
    ``patience`` such epochs.

    Parameters
    ----------
    optimizer
        Whose learning rate falls.
    plateau, patience
        Epochs.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, plateau: int, patience: int) -> None:
        # torch counts the epochs that are tolerated, Keras those until it acts: hence one less
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.1, patience=plateau - 1, threshold=MIN_DELTA, threshold_mode="abs"
        )
        self.patience, self.best, self.waited = patience, float("inf"), 0

    def update(self, loss: float) -> bool:
        """Take an epoch's validation loss; return whether to stop."""
        self.schedule.step(loss)
        better = loss < self.best - MIN_DELTA
        self.best, self.waited = (loss, 0) if better else (self.best, self.waited + 1)
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"schedule": self.schedule.state_dict(), "best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.schedule.load_state_dict(state_dict["schedule"])
        self.best, self.waited = state_dict["best"], state_dict["waited"]
