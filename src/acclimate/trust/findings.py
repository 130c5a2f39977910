"""What looks wrong, or other than in the source, in what a classifier says of the target: named, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from acclimate.trust.estimators import class_shares, shifted_shares, total_variation
from acclimate.trust.forecast import COLLAPSED
from acclimate.trust.scores import effective_classes

FLIPPED = 0.5
"""Share of a class's redrawn images that are classified as one other, from which on it is said."""

SHIFTED = 0.15
"""Share of the target that would have to change class to have the source's shares, from which on it is said."""

NAMED = 3
"""Classes that are named at most."""

Finding = dict[str, str]
"""``kind``: collapse, flip or shift; ``text``: a sentence."""


def collapse(target: Tensor, prior: Tensor, classes: Sequence[str]) -> list[Finding]:
    """Say if the target, probabilities float ``[M, K]``, is given far fewer classes than the source has (``prior``)."""
    shares = class_shares(target)
    given, there = effective_classes(shares), effective_classes(prior)
    if given >= COLLAPSED * there:
        return []
    most = shares.argsort(descending=True, stable=True)[:NAMED].tolist()
    named = ", ".join(f"{classes[one]} {100 * shares[one]:.0f} %" for one in most)
    text = f"collapse: the target is given as many classes as {given:.1f} of equal size, the source has {there:.1f}"
    return [{"kind": "collapse", "text": f"{text} ({named})"}]


def flips(counts: Tensor, classes: Sequence[str]) -> list[Finding]:
    """Name the classes whose redrawn images are classified as another.

    The translator has changed the class, or the classifier has come to mistake it, as where features of one class are
    laid on those of another.

    Parameters
    ----------
    counts
        How often an image of class i is classified as j once it is redrawn, int64 ``[K, K]``.
    classes
        Class names.
    """
    shares = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    to = {
        one: int(row.argmax())
        for one, row in enumerate(shares)
        if int(row.argmax()) != one and float(row.max()) >= FLIPPED
    }
    found = []
    for one, other in to.items():
        if to.get(other) == one:
            if one < other:
                found.append(f"{classes[one]} and {classes[other]} have changed places in redrawn source images")
        else:
            share = f"{100 * shares[one, other]:.0f} %"
            found.append(f"{share} of redrawn source images of {classes[one]} are classified as {classes[other]}")
    return [{"kind": "flip", "text": text} for text in found]


def shift(target: Tensor, prior: Tensor, classes: Sequence[str]) -> list[Finding]:
    """Say if the target, probabilities float ``[M, K]``, seems to have its classes in other shares than the source."""
    shares = shifted_shares(target, prior)
    distance = total_variation(shares, prior)
    if distance < SHIFTED:
        return []
    most = (shares - prior.double()).abs().argsort(descending=True, stable=True)[:NAMED].tolist()
    named = ", ".join(f"{classes[one]} {100 * shares[one]:.0f} % (source {100 * prior[one]:.0f} %)" for one in most)
    text = f"the target seems to have its classes in other shares than the source: {named}"
    return [{"kind": "shift", "text": text}]
