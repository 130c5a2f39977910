"""What a domain was understood as, in words: the same before a run and when it is only looked at."""

from __future__ import annotations

from typing import Any

from acclimate.data.domains.base import SPLITS, Domain

SHOWN_CLASSES, SHOWN_FILES = 12, 20


def reading(domain: Domain, *, every_class: bool = False) -> list[str]:
    """Return how a domain's files were read: splits, classes, counts, what was left out and why, what looks wrong.

    Parameters
    ----------
    domain
        It is prepared if it is not yet.
    every_class
        Give each class a line with its images a split; else a few are named with their images in all.
    """
    manifest: Any = domain.manifest()
    sizes = ", ".join(f"{count:,} {split}" for split, count in domain.sizes().items())
    lines = [f"{domain.name}, {sizes}"]
    if "counts" not in manifest:
        return lines + [f"  classes: {', '.join(domain.classes)}"] * every_class
    used = manifest["split_folders"].items()
    given = [f"{folder}/ is {split}" for folder, split in used if split not in manifest["drawn"]]
    drawn = [f"{split} is drawn, a tenth" for split in manifest["drawn"] if domain.sizes()[split]]
    lines += [f"  splits: {', '.join(given + drawn)}"] if given or drawn else []
    lines += _every_class(manifest) if every_class else _classes(manifest)
    lines += list(_left_out(manifest))
    return lines + [f"  warning: {text}" for text in manifest["warnings"]]


def _classes(manifest: Any) -> list[str]:
    totals = {name: sum(counts[name] for counts in manifest["counts"].values()) for name in manifest["classes"]}
    if not any(totals.values()):
        return []
    shown = ", ".join(f"{name} {count:,}" for name, count in list(totals.items())[:SHOWN_CLASSES])
    more = f" and {len(totals) - SHOWN_CLASSES} more" if len(totals) > SHOWN_CLASSES else ""
    return [f"  classes: {shown}{more}"]


def _every_class(manifest: Any) -> list[str]:
    counts = manifest["counts"]
    if not any(any(of_split.values()) for of_split in counts.values()):
        return []
    width = max(len("class"), *(len(name) for name in manifest["classes"]))
    rows = [[f"{counts.get(split, {}).get(name, 0):,}" for split in SPLITS] for name in manifest["classes"]]
    lines = [f"  {'class':<{width}} {'  '.join(f'{split:>7}' for split in SPLITS)}"]
    for name, row in zip(manifest["classes"], rows, strict=True):
        lines.append(f"  {name:<{width}} {'  '.join(f'{count:>7}' for count in row)}")
    return lines


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _left_out(manifest: Any) -> Any:
    """Yield what was not taken, and what was changed."""
    if others := manifest["other_classes"]:
        shown = ", ".join(f"{label} ({count:,})" for label, count in list(others.items())[:SHOWN_CLASSES])
        yield f"  {_images(sum(others.values()))} of other classes, trained on but not measured: {shown}"
    if manifest["left_out"]:
        yield f"  {_images(manifest['left_out'])} in no class folder, left out"
    if passed_over := manifest["passed_over"]:
        shown = ", ".join(f"{count:,} {kind}" for kind, count in list(passed_over.items())[:SHOWN_CLASSES])
        yield f"  passed over: {shown}"
    if skipped := manifest["skipped"]:
        yield f"  skipped {len(skipped):,} of {manifest['files']:,} files (--strict refuses instead):"
        yield from (f"    {line}" for line in skipped[:SHOWN_FILES])
        yield from [f"    and {len(skipped) - SHOWN_FILES:,} more"] * (len(skipped) > SHOWN_FILES)
    if manifest["levels"]:
        low, high = manifest["levels"]
        yield f"  images of more than 8 bits: {low:g} to {high:g} becomes 0 to 255 in all of them"
    if manifest["several"]:
        yield f"  {manifest['several']:,} files hold several images, such as animations: the first counts"
