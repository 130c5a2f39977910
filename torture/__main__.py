"""``make torture``: damaged and hostile files, kills, a full disk; prints what came of it, and writes a summary."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import PIL
import torch

from acclimate.training.state import write_json
from torture import damage, full_disk, hostile, kills
from torture.work import SETTINGS, acclimate, flags, make_folders


def main() -> int:
    """Run every part; return 1 if anything escaped."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="how much, as a multiple of the whole")
    parser.add_argument("--parts", default="hostile,damage,kills,full-disk", help="which parts, with commas between")
    parser.add_argument("--out", type=Path, help="where the summary goes, as JSON; beside it one as Markdown")
    arguments = parser.parse_args()
    parts, summary = arguments.parts.split(","), dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        os.environ["ACCLIMATE_CACHE"] = str(folder / "cache")
        domains = make_folders(folder / "domains")
        run = _finished(folder, domains)
        for part in parts:
            start = time.monotonic()
            summary[part] = _part(part, folder / part, domains, run, arguments.scale)
            summary[part]["seconds"] = round(time.monotonic() - start)
            print(_lines(part, summary[part]), flush=True)
    escaped = sum(len(part["escaped"]) for part in summary.values())
    versions = {"python": platform.python_version(), "torch": torch.__version__, "pillow": PIL.__version__}
    result = {"escaped": escaped, "scale": arguments.scale, "parts": summary, "versions": versions}
    if arguments.out:
        write_json(arguments.out, result)
        text = "\n".join(_lines(part, found) for part, found in summary.items())
        arguments.out.with_suffix(".md").write_text(
            f"# Torture\n\nFrom `make torture`: {escaped} escaped, at {arguments.scale:g} times the whole.\n\n{text}\n",
            encoding="utf-8",
        )
    print(f"{escaped} escaped")
    return 1 if escaped else 0


def _finished(folder: Path, domains: tuple[Path, Path]) -> Path:
    """Return a small finished run."""
    arguments = ["run", *domains, "--out", folder / "run", *flags(SETTINGS)]
    process = acclimate(*arguments, cache=folder / "cache")
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"the run that everything rests on failed: {said.decode(errors='replace')}")
    return folder / "run"


def _part(part: str, folder: Path, domains: tuple[Path, Path], run: Path, scale: float) -> dict[str, Any]:
    counts: Counter[str]
    if part == "damage":
        counts, escapes = damage.torture(folder, run, scale)
        return {"counts": dict(counts), "escaped": [f"{one.kind} {one.seed}: {one.what}" for one in escapes]}
    if part == "kills":
        counts, wrong = kills.torture(folder, domains, run, scale)
        return {"counts": dict(counts), "escaped": wrong}
    if part == "hostile":
        number, wrong = hostile.torture(folder, run)
        return {"counts": {"files": number}, "escaped": wrong}
    if part == "full-disk":
        number, wrong = full_disk.torture(folder, domains, scale)
        return {"counts": {"writes that found it full": number}, "escaped": wrong}
    raise SystemExit(f"no part {part!r}: hostile, damage, kills, full-disk")


def _lines(part: str, found: dict[str, Any]) -> str:
    counts = "; ".join(f"{name} {count:,}" for name, count in sorted(found["counts"].items()))
    lines = [f"- **{part}**, {found['seconds']} s: {counts}; {len(found['escaped'])} escaped"]
    return "\n".join(lines + [f"  - {one}" for one in found["escaped"]])


if __name__ == "__main__":
    sys.exit(main())
