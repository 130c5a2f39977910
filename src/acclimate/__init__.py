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
    from acclimate.data.domains import DataOptions, Domain, open_domain
    from acclimate.data.sets import Images, LabelledImages
    from acclimate.methods import MethodEntry, register
    from acclimate.pipeline.adapt import adapt, resume
    from acclimate.pipeline.starting import start
    from acclimate.runs.adaptation import Adaptation
    from acclimate.runs.directory import Run
    from acclimate.runs.evaluation import Classifier
    from acclimate.runs.translation import TranslatedImages, Translator

_HOMES = {
    "Adaptation": "runs.adaptation",
    "Classifier": "runs.evaluation",
    "DataOptions": "data.domains",
    "Domain": "data.domains",
    "Images": "data.sets",
    "LabelledImages": "data.sets",
    "MethodEntry": "methods",
    "Run": "runs.directory",
    "TranslatedImages": "runs.translation",
    "Translator": "runs.translation",
    "adapt": "pipeline.adapt",
    "open_domain": "data.domains",
    "register": "methods",
    "resume": "pipeline.adapt",
    "start": "pipeline.starting",
}

__all__ = [
    "AcclimateError",
    "Adaptation",
    "Classifier",
    "DataOptions",
    "Domain",
    "Images",
    "LabelledImages",
    "MethodEntry",
    "Run",
    "TranslatedImages",
    "Translator",
    "__version__",
    "adapt",
    "open_domain",
    "register",
    "resume",
    "start",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: torch takes seconds, ``import acclimate`` does not."""
    if name in _HOMES:
        return getattr(import_module(f"acclimate.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'acclimate' has no attribute {name!r}")
