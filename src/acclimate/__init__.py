"""acclimate: adapt an image classifier to a new domain without a single label there.

>>> import acclimate
>>> run = acclimate.adapt("digits", "digits-m", preset="demo")  # doctest: +SKIP
>>> run.classifier().probabilities(run.target.images("test").pixels)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from acclimate._version import __version__
from acclimate.errors import AcclimateError

if TYPE_CHECKING:
    from acclimate.adaptation import Adaptation, adapt
    from acclimate.domains import DataOptions, Domain, Images, LabelledImages, open_domain
    from acclimate.evaluation import Classifier
    from acclimate.runs import Run
    from acclimate.translation import TranslatedImages, Translator

_HOMES = {
    "Adaptation": "adaptation",
    "adapt": "adaptation",
    "DataOptions": "domains",
    "Domain": "domains",
    "Images": "domains",
    "LabelledImages": "domains",
    "open_domain": "domains",
    "Classifier": "evaluation",
    "Run": "runs",
    "TranslatedImages": "translation",
    "Translator": "translation",
}

__all__ = [
    "AcclimateError",
    "Adaptation",
    "Classifier",
    "DataOptions",
    "Domain",
    "Images",
    "LabelledImages",
    "Run",
    "TranslatedImages",
    "Translator",
    "__version__",
    "adapt",
    "open_domain",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: torch takes seconds, ``import acclimate`` does not."""
    if name in _HOMES:
        return getattr(import_module(f"acclimate.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'acclimate' has no attribute {name!r}")
