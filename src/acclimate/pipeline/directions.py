"""Weigh two classifications of a target image, as it is and redrawn in the source's style, without labels."""

from __future__ import annotations

import math
from typing import Any

from acclimate.runs.adaptation import Adaptation
from acclimate.training.state import write_json
from acclimate.trust.scores import agreement

SAMPLE = 2_000
"""Target training images that the weight is chosen on."""

MOST = 0.999
"""Agreement that a classifier has at most, so that its weight is finite."""


def weigh_directions(adaptation: Adaptation) -> None:
    """Choose the weight if it is wanted and not chosen yet; written to ``directions.json``.

    Each classifier counts as the log odds of its agreement with the mean of both, which is what independent voters of
    such an accuracy would count (Nitzan and Paroush, 1982).
    """
    if not adaptation.uses_both_directions or adaptation.run.directions.exists():
        return
    pixels = adaptation.data.target_train.first(SAMPLE).pixels
    with adaptation.alone():
        forth, back = adaptation.both_directions().both_probabilities(pixels)
    agreed: dict[str, Any] = {
        name: round(agreement(one, (forth + back) / 2), 6) for name, one in (("forth", forth), ("back", back))
    }
    shares = (min(max(value, 1 - MOST), MOST) for value in agreed.values())
    votes = [max(0.0, math.log(share / (1 - share))) for share in shares]
    weight = votes[0] / sum(votes) if sum(votes) else 0.5
    write_json(adaptation.run.directions, {"weight": round(weight, 6), "agreement": agreed})
