"""Domains: one file each. :func:`open_domain` takes a name or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acclimate.data.domains.base import DataOptions, Domain
from acclimate.data.domains.digits import Digits, DigitsM
from acclimate.data.domains.emnist import KMNIST, EMNISTDigits, EMNISTLetters
from acclimate.data.domains.folder import Folder
from acclimate.data.domains.in_memory import PREFIX, InMemory, Remembered
from acclimate.data.domains.manifest import SUFFIXES, Manifest
from acclimate.data.domains.mnist import MNIST
from acclimate.data.domains.mnist_m import MNISTM
from acclimate.data.domains.mnist_m_original import MNISTMOriginal
from acclimate.data.domains.svhn import SVHN, SVHN8k, SyntheticDigits
from acclimate.data.domains.usps import USPS
from acclimate.data.listing import as_path
from acclimate.data.sets import Images, LabelledImages
from acclimate.errors import DataError, did_you_mean

__all__ = ["DOMAINS", "DataOptions", "Domain", "Images", "LabelledImages", "check_classes", "open_domain", "spec_of"]

DOMAINS: dict[str, type[Domain]] = {
    domain.name: domain
    for domain in (
        *(Digits, DigitsM, MNIST, MNISTM, MNISTMOriginal, SVHN, SVHN8k, USPS),
        *(EMNISTDigits, EMNISTLetters, KMNIST, SyntheticDigits),
    )
}


def open_domain(name: Any, options: DataOptions | None = None, classes: Sequence[str] | None = None) -> Domain:
    """Open a domain by name, a folder of images or a table of them by path, or images that are handed over.

    Parameters
    ----------
    name
        A name in :data:`DOMAINS`, else a folder, or a ``.csv`` or ``.jsonl`` (:class:`Manifest`); ``./digits`` is the
        folder where a name is the same. What is neither text nor path is read as :class:`InMemory` says.
    options
        Image size, channels, where data lies.
    classes
        For a folder that is a target: its source's classes.

    Raises
    ------
    DataError
        Neither a domain nor a folder.
    """
    if not isinstance(name, str | Path):
        return InMemory(name, options, classes)
    text = str(name)
    if text.startswith(PREFIX):
        return Remembered(text, options, classes)
    if text in DOMAINS:
        return DOMAINS[text](options)
    path = as_path(name)
    if path.suffix in SUFFIXES and not path.is_dir():
        return Manifest(path, options, classes)
    if path.exists() or "/" in text:
        return Folder(path, options, classes)
    known = ", ".join(DOMAINS)
    raise DataError(f"no domain and no folder named {text!r}.{did_you_mean(text, DOMAINS)} Domains: {known}")


def spec_of(name: str | Path) -> str:
    """Return what a run knows a domain by: its name, or a path in full, so that it can be resumed from anywhere."""
    text = str(name)
    return text if text in DOMAINS or text.startswith(PREFIX) else str(as_path(name).resolve())


def open_own(name: str | Path) -> Folder | Manifest | None:
    """Open a user's own files only to look at them, whatever their classes; None for a domain and for no such files."""
    path = as_path(name)
    if str(name) in DOMAINS or not path.exists():
        return None
    if path.is_dir():
        return Folder(path, classes=())
    return Manifest(path, classes=()) if path.suffix in SUFFIXES else None


def check_classes(classes: Sequence[str], domain: Domain, of: str = "the run") -> None:
    """Check that a domain has certain classes.

    Raises
    ------
    DataError
        It has others.
    """
    if tuple(classes) != domain.classes:
        ours, theirs = (", ".join(names[:12]) for names in (classes, domain.classes))
        raise DataError(f"{of} has the classes {ours}; {domain.name} has {theirs}: they must be the same")
