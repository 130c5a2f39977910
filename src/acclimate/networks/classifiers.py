"""Classifiers. Each has ``features`` (images to vectors) and ``head`` (vectors to logits)."""

from __future__ import annotations

from torch import Tensor, nn

from acclimate.errors import AcclimateError


class GTAClassifier(nn.Module):
    """The paper's classifier (section 4.2, figure 8), which is the released digit network of GenToAdapt.

    conv5-64, pool, conv5-64, pool, conv5-128, all "valid" with ReLU; 128 features at 32 pixels; FC128, FC classes.
    With 3 channels and 10 classes it has 330,058 parameters at every image size: below 32 pixels the convolutions are
    padded, above it the feature maps are reduced by a global maximum, so that 32 pixels is the paper's network exactly.

    Parameters
    ----------
    channels
        Image channels, 1 or 3.
    classes
        Number of classes, at least 2.
    image_size
        Height and width of the images; at least 8.

    Raises
    ------
    AcclimateError
        ``image_size`` or ``classes`` is too small.
    """

    feature_size = 128

    def __init__(self, channels: int = 3, classes: int = 10, image_size: int = 32) -> None:
        super().__init__()
        if image_size < 8:
            raise AcclimateError(f"image size {image_size} is too small for the classifier: use 8 or more")
        if classes < 2:
            raise AcclimateError(f"a classifier needs at least two classes, not {classes}")
        padding = 0 if image_size >= 32 else 2
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 5, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 5, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(64, self.feature_size, 5, padding=padding),
            nn.ReLU(inplace=True),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(self.feature_size, 128), nn.ReLU(inplace=True), nn.Linear(128, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` in [-1, 1] to logits ``[N, classes]``."""
        result: Tensor = self.head(self.features(images))
        return result
