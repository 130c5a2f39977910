"""Losses, each with its equation (the paper's: section 4.1.3) and hand-checked in the tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def lsgan_generator(fake_scores: Tensor) -> Tensor:
    """E[(D(G(x)) - 1)^2]: what the generator minimises. ``fake_scores``: any shape, in [0, 1] after the sigmoid."""
    return (fake_scores.float() - 1.0).square().mean()


def lsgan_discriminator(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E[(D(y) - 1)^2] + E[D(G(x))^2]: what the discriminator minimises."""
    return (real_scores.float() - 1.0).square().mean() + fake_scores.float().square().mean()


def bce(logits: Tensor, label: float) -> Tensor:
    """E[-log s(z)] for label 1, E[-log(1 - s(z))] for 0, with the sigmoid s: what a domain's or GAN's critic minimises.

    ``logits``: any shape. A generator minimises it against the label that it wants to be given (Goodfellow et al.,
    arXiv:1406.2661, section 3).
    """
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def entropy(probabilities: Tensor) -> Tensor:
    """-p log p of each, float32 of any shape in [0, 1]; at 0, where its slope is infinite, it has none."""
    result: Tensor = torch.special.entr(probabilities.clamp(min=1e-30))
    return result


def total_variation(images: Tensor) -> Tensor:
    """Mean length of the pixel gradient of images ``[N, C, H, W]`` (Taigman et al., arXiv:1611.02200, L_TV)."""
    images = images.float()
    down = (images[..., 1:, :-1] - images[..., :-1, :-1]).square()
    right = (images[..., :-1, 1:] - images[..., :-1, :-1]).square()
    # the root has no gradient at 0, where plain areas are
    return (down + right + 1e-8).sqrt().mean()


def reconstruction(images: Tensor, reference: Tensor) -> Tensor:
    """E[|F(G(x)) - x|] or E[|G(y) - y|]: the cycle and the identity term, a mean over pixels as in the author's MAE."""
    return F.l1_loss(images.float(), reference.float())


def discriminator_accuracy(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Share of patches told right at the threshold 0.5; the paper found 0.6 to 0.8 healthy (section 4.3)."""
    return ((real_scores > 0.5).float().mean() + (fake_scores <= 0.5).float().mean()) / 2
