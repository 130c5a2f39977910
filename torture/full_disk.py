"""A disk that is full: a small run, its cache and its temporary files on a file system that grows page by page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from torture.work import SETTINGS

PAGE = 4096

SCRIPT = """
import contextlib, json, os, subprocess, sys
from pathlib import Path
from acclimate.commands import main

small, arguments, resume, step = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
size, full, wrong = 4096, 0, []
while size < 1 << 30:
    begun = (small / "run" / "config.json").exists()
    err = (small.parent / "said").open("w+")
    code = 0
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(err):
        try:
            main(resume if begun else arguments)
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
    err.seek(0)
    said = err.read()
    if code == 0:
        break
    full += 1
    if code != 2 or "acclimate: " not in said or "Traceback" in said or "space" not in said:
        wrong.append(f"{size} bytes: exit code {code}: {said[-300:]}")
    size += step
    subprocess.run(["mount", "-o", f"remount,size={size}", small], check=True)
print(json.dumps({"full": full, "bytes": size, "wrong": wrong}))
"""


def torture(folder: Path, domains: tuple[Path, Path], scale: float = 1.0) -> tuple[int, list[str]] | None:
    """Run until the disk is full, again and again, each time with a page more.

    Returns
    -------
    tuple
        How often it was full, and what went wrong; None where no file system can be mounted.
    """
    small = folder / "small"
    small.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={PAGE}", "tmpfs", str(small)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        return None
    try:
        quick = SETTINGS | {"steps": 6, "stage-steps": 6, "judge-steps": 2, "snapshots": 2, "checkpoint-every": 2}
        settings = [f"--{name}={value}" for name, value in (quick | {"image-size": 8}).items()]
        first = ["run", *map(str, domains), "--out", str(small / "run"), *settings]
        resume = ["run", "--resume", str(small / "run")]
        environment = os.environ | {"ACCLIMATE_CACHE": str(small / "cache"), "TMPDIR": str(small)}
        arguments = [json.dumps(first), json.dumps(resume), str(max(PAGE, round(PAGE / scale)))]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(small), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return 0, [done.stderr[-1000:]]
        found = json.loads(done.stdout.splitlines()[-1])
        return found["full"], found["wrong"]
    finally:
        subprocess.run(["umount", "-l", small], check=False)
