"""The two bars that every adapted number stands between: no adaptation at all, and labels in the target."""

from __future__ import annotations

from acclimate.methods.base import Method


class SourceOnly(Method):
    """The classifier trained on the source as it is: what the domain shift costs."""

    name = "source-only"
    takes_features = True


class TargetOnly(Method):
    """The classifier trained on the target's own labels: what adaptation could reach at best. A bar, not a method."""

    name = "target-only"
    takes_features = True
