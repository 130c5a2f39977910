"""Domains: one file each. :func:`open_domain` takes a name or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from acclimate.data.domains.base import DataOptions, Domain
from acclimate.data.domains.digits import Digits, DigitsM
from acclimate.data.domains.folder import Folder
from acclimate.data.domains.mnist import MNIST
from acclimate.data.domains.mnist_m import MNISTM
from acclimate.data.domains.svhn import SVHN, SVHN8k
from acclimate.data.domains.usps import USPS
from acclimate.data.sets import Images, LabelledImages
from acclimate.errors import DataError, did_you_mean

__all__ = ["DOMAINS", "DataOptions", "Domain", "Images", "LabelledImages", "check_pair", "open_domain"]

DOMAINS: dict[str, type[Domain]] = {
    domain.name: domain for domain in (Digits, DigitsM, MNIST, MNISTM, SVHN, SVHN8k, USPS)
}


def open_domain(name: str | Path, options: DataOptions | None = None, classes: Sequence[str] | None = None) -> Domain:
    """Open a domain by name, or a folder of images by path.

    Parameters
    ----------
    name
        A name in :data:`DOMAINS`, else a folder; ``./digits`` is the folder where a name is the same.
    options
        Image size, channels, where data lies.
    classes
        For a folder that is a target: its source's classes.

    Raises
    ------
    DataError
        Neither a domain nor a folder.
    """
    text = str(name)
    if text in DOMAINS:
        return DOMAINS[text](options)
    path = Path(name).expanduser()
    if path.exists() or "/" in text:
        return Folder(path, options, classes)
    known = ", ".join(DOMAINS)
    raise DataError(f"no domain and no folder named {text!r}.{did_you_mean(text, DOMAINS)} Domains: {known}")


def check_pair(source: Domain, target: Domain) -> None:
    """Check that two domains have the same classes.

    Raises
    ------
    DataError
        They have not.
    """
    if source.classes != target.classes:
        shown = [", ".join(domain.classes[:12]) for domain in (source, target)]
        raise DataError(
            f"{source.name} has the classes {shown[0]}; {target.name} has {shown[1]}: they must be the same"
        )
