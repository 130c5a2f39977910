"""Commands about domains: list, fetch, look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from acclimate.commands.options import Channels, DataRoot, ImageSize
from acclimate.config import AugmentName
from acclimate.errors import DataError
from acclimate.progress import say

if TYPE_CHECKING:
    from acclimate.data.domains import DataOptions


def list_domains(*, data_root: DataRoot = None) -> None:
    """List the domains, and whether their files are there."""
    from acclimate.data.domains import DOMAINS

    options = _options(data_root)
    for name, domain_class in sorted(DOMAINS.items()):
        files = domain_class(options).required_files()
        missing = [file for file in files if not (options.data_root / file.path).exists()]
        state = "to fetch" if all(file.urls for file in missing) else "to be put below the data root"
        told = f"{state}: {', '.join(file.path for file in missing)}" if missing else "ready"
        print(f"{name:<16} {domain_class.native:<12} {domain_class.licence:<48} {told}")
    print("Any folder of images is a domain too: one subfolder a class for a source, any nesting for a target.")


def example(out: Path = Path("example"), /) -> None:
    """Write two small folders to try everything on: drawings, and night photos of the same things. No network.

    Parameters
    ----------
    out
        Where; it must be empty or not there yet.
    """
    from acclimate.data.example import write_example

    source, target = write_example(out)
    print(f"wrote {source} and {target}")
    print(f"next: acclimate run {source} {target}")


def prepare(*names: str, image_size: ImageSize = 32, channels: Channels = 3, data_root: DataRoot = None) -> None:
    """Fetch, verify and cache domains or folders at the working size.

    Parameters
    ----------
    names
        Domains or folders.
    """
    from acclimate.data.domains import open_domain
    from acclimate.data.domains.words import reading

    if not names:
        raise DataError("name at least one domain or folder; acclimate data list shows the domains")
    for name in names:
        domain = open_domain(name, _options(data_root, image_size, channels))
        print("\n".join(reading(domain)))
        print(f"  md5 {domain.manifest()['md5']}, in {domain.prepare()}")


def show(
    name: str,
    /,
    *,
    image_size: ImageSize = 32,
    channels: Channels = 3,
    data_root: DataRoot = None,
    augment: AugmentName | None = None,
    target_of: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    out: Path | None = None,
) -> None:
    """Show how a domain or a folder is understood, and write a picture of its first images, or of augmented ones.

    Parameters
    ----------
    name
        A domain or a folder; one without classes is shown as the target that it can be.
    augment
        Draw the training images under this policy, several times each: light, symbols, photos.
    target_of
        Show the folder as the target of this source: unlabelled, or with the source's classes.
    as_json
        Print everything that is known of it as JSON.
    out
        The picture; by default NAME.png in the current folder.
    """
    from acclimate.data.domains import open_domain
    from acclimate.data.domains.words import reading
    from acclimate.data.listing import as_path
    from acclimate.reporting.samples import augmented_samples, domain_samples

    options = _options(data_root, image_size, channels)
    classes = None if target_of is None else open_domain(target_of, options).classes
    try:
        domain = open_domain(name, options, classes)
    except DataError as error:
        if classes is not None or not as_path(name).is_dir():
            raise
        domain = open_domain(name, options, ())
        say(f"as a target: {error}")
    if as_json:
        print(json.dumps(domain.describe(), indent=1))
    else:
        print("\n".join(reading(domain, every_class=True)))
    file = out or Path(f"{domain.slug}.png")
    written = domain_samples(domain, file) if augment is None else augmented_samples(domain, augment, file)
    if not as_json:
        print(f"picture: {written}")


def _options(data_root: Path | None, image_size: int = 32, channels: int = 3) -> DataOptions:
    from acclimate.data.domains import DataOptions

    options = DataOptions(image_size=image_size, channels=channels)
    return options if data_root is None else DataOptions(image_size=image_size, channels=channels, data_root=data_root)
