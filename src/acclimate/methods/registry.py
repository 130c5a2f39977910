"""Names to methods: the one place where a method is made known.

An entry names its classes by text, so that help and errors come before torch is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from acclimate.config import Config
from acclimate.errors import AcclimateError, did_you_mean

if TYPE_CHECKING:
    from acclimate.methods.base import Method

GROUP = "acclimate.methods"
"""The group of entry points under which installed packages bring methods: each is a :class:`MethodEntry`."""


@dataclass(frozen=True)
class MethodEntry:
    """Where a method and its settings are.

    Attributes
    ----------
    config
        A subclass of :class:`~acclimate.config.Config`, or its place as ``module:Class``, in a module that does not
        import torch.
    method
        A subclass of :class:`~acclimate.methods.base.Method`, or its place.
    """

    config: str | type[Config]
    method: str | type[Method]


def _room(name: str, method: str) -> MethodEntry:
    """Return the entry of a room of this package."""
    return MethodEntry(f"{__package__}.{name}.config:{method}Config", f"{__package__}.{name}.method:{method}")


METHODS: dict[str, MethodEntry] = {
    "adamatch": _room("adamatch", "AdaMatch"),
    "adda": _room("adda", "ADDA"),
    "auto": _room("auto", "Auto"),
    "cdan": _room("cdan", "CDAN"),
    "cogan": _room("cogan", "CoGAN"),
    "cycada": _room("cycada", "CyCADA"),
    "cyclegan": _room("cyclegan", "CycleGAN"),
    "dann": _room("dann", "DANN"),
    "dtn": _room("dtn", "DTN"),
    "gen-to-adapt": _room("gen_to_adapt", "GenToAdapt"),
    "mcc": _room("mcc", "MCC"),
    "mean-teacher": _room("mean_teacher", "MeanTeacher"),
    "pix2pix": _room("pix2pix", "Pix2Pix"),
    "pixelda": _room("pixelda", "PixelDA"),
    "sbada-gan": _room("sbada_gan", "SBADAGAN"),
    "self-training": _room("self_training", "SelfTraining"),
    "shot": _room("shot", "SHOT"),
    "source-only": MethodEntry("acclimate.config:Config", f"{__package__}.bars.method:SourceOnly"),
    "target-only": MethodEntry("acclimate.config:Config", f"{__package__}.bars.method:TargetOnly"),
}
"""Every method of this package, and what :func:`register` has added."""


def register(name: str, entry: MethodEntry) -> None:
    """Make a method known in this process; an installed package does so by an entry point in :data:`GROUP`.

    Raises
    ------
    AcclimateError
        There is a method of that name.
    """
    if METHODS.setdefault(name, entry) != entry:
        raise AcclimateError(f"there is a method {name!r} already: register yours under another name")


def method_names() -> tuple[str, ...]:
    """Return the names of all methods, those of installed packages included."""
    return tuple(sorted({*METHODS, *_installed()}))


def find_config(name: str) -> type[Config]:
    """Return the settings of the method of that name, without importing torch.

    Raises
    ------
    AcclimateError
        There is none; the message has the nearest name.
    """
    config: type[Config] = _resolve(name, "config", _entry(name).config)
    return config


def find_method(name: str) -> type[Method]:
    """Return the method of that name.

    Raises
    ------
    AcclimateError
        There is none; the message has the nearest name.
    """
    method: type[Method] = _resolve(name, "method", _entry(name).method)
    if method.name != name:
        raise AcclimateError(f"the method registered as {name!r} calls itself {method.name!r}: make them the same")
    return method


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _entry(name: str) -> MethodEntry:
    if name in METHODS:
        return METHODS[name]
    point = _installed().get(name)
    if point is None:
        names = method_names()
        raise AcclimateError(f"no method {name!r}.{did_you_mean(name, names)} Methods: {', '.join(names)}")
    entry = _resolve(name, "entry", point.value)
    if not isinstance(entry, MethodEntry):
        raise AcclimateError(f"the entry point {name!r} ({point.value}) is no acclimate.MethodEntry")
    return entry


def _resolve(name: str, part: str, place: str | type) -> Any:
    """Return what stands at ``module:attribute``."""
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise AcclimateError(f"the {part} of the method {name!r}, {place}, cannot be imported: {error}") from error
