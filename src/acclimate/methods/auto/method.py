"""The choice among methods."""

from __future__ import annotations

from acclimate.methods.base import Method


class Auto(Method):
    """Other methods' runs, and the classifier among them that is forecast to be right most often.

    What it tries, and how it chooses, is in :mod:`acclimate.pipeline.auto`.
    """

    name = "auto"
    adapts = takes_features = chooses = True
