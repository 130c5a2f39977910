"""Methods x pairs x seeds under one protocol: a matrix of runs that can be stopped, resumed and shared out.

Each cell is a run of its own in a process of its own, so that one that fails takes nothing with it. What is done is
skipped, what is under way goes on, and a cell that another process is at is left to it: to spread a matrix over
processes or machines with a common file system, start the same command several times.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from acclimate.config import Config
from acclimate.data.domains import spec_of
from acclimate.data.listing import as_path
from acclimate.errors import AcclimateError, InterruptedRunError, did_you_mean
from acclimate.methods import find_config, find_method, method_names
from acclimate.pipeline.children import run_child
from acclimate.pipeline.compatibility import check_together
from acclimate.pipeline.starting import start
from acclimate.progress import clock, progress, say
from acclimate.training.locking import LockedError, locked
from acclimate.training.state import read_json


@dataclass(frozen=True)
class Cell:
    """One run of the matrix."""

    source: str
    target: str
    method: str
    seed: int
    name: str
    """Names the run's folder."""

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}, {self.method}, seed {self.seed}"


@dataclass(frozen=True)
class Matrix:
    """What is to be run, and where.

    Attributes
    ----------
    pairs
        Source and target, domains or folders.
    methods
        Names in :func:`acclimate.methods.method_names`.
    seeds
        How many, from 0.
    preset
        Of every method.
    out
        The folder of all runs.
    settings
        Settings to change, for each method that has them.
    options
        ``data_root``, ``device``, ``threads`` for the command line of each run.
    """

    pairs: tuple[tuple[str, str], ...]
    methods: tuple[str, ...]
    seeds: int
    preset: str
    out: Path
    settings: Mapping[str, str]
    options: Mapping[str, str]

    def __post_init__(self) -> None:
        known = {item.name for method in method_names() for item in fields(find_config(method))}
        for name in self.settings:
            if name not in known:
                raise AcclimateError(f"no method has a setting {name!r}.{did_you_mean(name, known)}")
        for method in self.methods:
            kind, config = find_method(method), find_config(method)
            check_together(config.preset(self.preset, **typed_settings(config, self.changes(method))), kind)
        if self.seeds < 1:
            raise AcclimateError(f"--seeds must be at least 1, not {self.seeds}")
        for cell in self.cells():
            self._check(cell)

    def cells(self) -> list[Cell]:
        """Return all cells, seed by seed, so that an unfinished matrix is a smaller finished one."""
        short = short_names({text for pair in self.pairs for text in pair})
        return [
            Cell(source, target, method, seed, f"{short[source]}-{short[target]}-{method}-{seed}")
            for seed in range(self.seeds)
            for source, target in self.pairs
            for method in self.methods
        ]

    def _check(self, cell: Cell) -> None:
        """Refuse to take another run for a cell's: of other domains, of another preset or with other settings."""
        if not (file := self.path(cell) / "config.json").exists():
            return
        stored, config = read_json(file), find_config(cell.method)
        asked = config.preset(self.preset, **typed_settings(config, self.changes(cell.method)))
        ours = {
            "source": spec_of(cell.source),
            "target": spec_of(cell.target),
            "preset": self.preset,
            "changes": asked.changes_from(config.preset(self.preset)),
        }
        for name, value in ours.items():
            if stored.get(name) != value:
                held = f"{self.path(cell)} holds a run with {name} {stored.get(name)}"
                raise AcclimateError(f"{held}, not {value}: choose another --out")

    def path(self, cell: Cell) -> Path:
        """Return the cell's run directory."""
        return self.out / cell.name

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell has its result."""
        return (self.path(cell) / "result.json").exists()

    def changes(self, method: str) -> dict[str, str]:
        """Return the changed settings that a method has."""
        own = {item.name for item in fields(find_config(method))}
        return {name: value for name, value in self.settings.items() if name in own}

    def arguments(self, cell: Cell) -> list[str]:
        """Return the arguments of ``acclimate`` that run a cell, or go on with it."""
        options = dict(self.options)
        if (self.path(cell) / "config.json").exists():
            options.pop("data-root", None)
            return ["run", "--resume", str(self.path(cell)), *_flags(options)]
        settings = {name.replace("_", "-"): value for name, value in self.changes(cell.method).items()}
        options |= {"method": cell.method, "preset": self.preset, "seed": str(cell.seed), "out": str(self.path(cell))}
        return ["run", cell.source, cell.target, *_flags(options | settings)]


def _flags(options: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def short_names(texts: Collection[str]) -> dict[str, str]:
    """Return for each domain or folder its name, with those of folders above it as far as they tell it from others."""
    paths = {text: as_path(text).resolve().parts for text in texts}
    short = {}
    for text, parts in paths.items():
        others = [other for other in paths.values() if other != parts]
        count = next(n for n in range(1, len(parts) + 1) if all(other[-n:] != parts[-n:] for other in others))
        short[text] = "_".join(parts[-count:]).replace("/", "") or "root"
    return short


def parse_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Parse ``mnist:usps,mnist:mnist-m``.

    Raises
    ------
    AcclimateError
        A part is not ``SOURCE:TARGET``.
    """
    pairs = []
    for part in text.split(","):
        source, separator, target = part.partition(":")
        if not (source and separator and target):
            raise AcclimateError(f"--pairs takes SOURCE:TARGET, several with commas between, not {part!r}")
        pairs.append((source, target))
    return tuple(pairs)


def parse_methods(text: str) -> tuple[str, ...]:
    """Parse ``dann,cyclegan``, or ``all`` but ``auto``, which tries the others."""
    return tuple(name for name in method_names() if name != "auto") if text == "all" else tuple(text.split(","))


@dataclass(frozen=True)
class Estimate:
    """What a cell will take.

    Attributes
    ----------
    seconds
        Of its method's training and its adapted classifiers; the shared bars are not in it.
    memory_mb
        Of the device while it trains.
    """

    seconds: float
    memory_mb: float


def estimate(matrix: Matrix, cell: Cell) -> Estimate | None:
    """Time a few steps of a cell's method, in a process of its own; None where it cannot be run at all."""
    with tempfile.TemporaryDirectory() as folder:
        code = "from acclimate.pipeline.benchmark import time_steps; import sys; time_steps(*sys.argv[1:])"
        trial = Matrix(
            matrix.pairs, matrix.methods, matrix.seeds, matrix.preset, Path(folder), matrix.settings, matrix.options
        )
        settings = [f"{name}={value}" for name, value in trial.changes(cell.method).items()]
        arguments = [cell.source, cell.target, cell.method, matrix.preset, str(trial.path(cell))]
        arguments += [matrix.options.get(name, "") for name in ("data-root", "device", "threads")]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, *settings], capture_output=True, text=True, check=False
        )
    if done.returncode:
        return None
    seconds, memory = done.stdout.split()[-2:]
    return Estimate(float(seconds), float(memory))


def time_steps(
    source: str, target: str, method: str, preset: str, out: str, root: str, device: str, threads: str, *settings: str
) -> None:
    """Print the seconds that a method's phases will take, judged by a few steps of each, and the memory in MB."""
    import torch

    from acclimate.pipeline.environment import environment

    if threads:
        torch.set_num_threads(int(threads))
    changes = typed_settings(find_config(method), dict(item.split("=", 1) for item in settings))
    adaptation = start(
        source,
        target,
        method=method,
        preset=preset,
        out=out,
        data_root=root or None,
        device=device or "auto",
        **changes,
    )
    built = adaptation.build_method()
    seconds = 0.0
    for phase in built.phases(adaptation.method_data):
        count = min(4, phase.steps)
        begin = time.perf_counter()
        for number in range(count):
            values = phase.step(number)
            if number == 0:  # the first one also warms up; a GPU must have done it
                [float(value) for value in values.values()]
                begin = time.perf_counter()
        [float(value) for value in values.values()]
        seconds += phase.steps * (time.perf_counter() - begin) / max(1, count - 1)
    print(seconds, environment(adaptation.engine)["peak_memory_mb"])


def typed_settings(config: type[Config], settings: Mapping[str, str]) -> dict[str, Any]:
    """Turn texts into the types of a config's fields."""
    defaults = config()
    typed: dict[str, Any] = {}
    for name, text in settings.items():
        kind = type(getattr(defaults, name))
        try:
            typed[name] = text.lower() in ("true", "1", "yes") if kind is bool else kind(text)
        except ValueError:
            raise AcclimateError(f"--set {name}={text}: {kind.__name__} expected") from None
    return typed


def announce(matrix: Matrix) -> None:
    """Say what there is to do and, by timing a few steps of each method, about how long it takes in what memory."""
    waiting = [cell for cell in matrix.cells() if not matrix.is_done(cell)]
    say(f"{len(matrix.cells())} cells, {len(waiting)} to do, in {matrix.out}")
    methods = list(dict.fromkeys(cell.method for cell in waiting))
    total, most = 0.0, 0.0
    with progress("timing a few steps", len(methods), unit="methods") as bar:
        for method in methods:
            cells = [cell for cell in waiting if cell.method == method]
            found = next((found for cell in cells if (found := estimate(matrix, cell)) is not None), None)
            if found is not None:
                total += found.seconds * len(cells)
                most = max(most, found.memory_mb)
                say(f"  {method:<14} about {clock(found.seconds)} a cell, {found.memory_mb:,.0f} MB")
            bar.advance()
    say(f"about {clock(total)} of training for the methods, at most {most:,.0f} MB; classifiers and bars come on top")


def run_matrix(matrix: Matrix) -> dict[Cell, str]:
    """Run every cell that is not done; return the failed ones with what they said last.

    Raises
    ------
    InterruptedRunError
        Ctrl-C or SIGTERM; the cell under way has saved its state.
    """
    matrix.out.mkdir(parents=True, exist_ok=True)
    failed = {}
    cells = matrix.cells()
    done = sum(matrix.is_done(cell) for cell in cells)
    with progress("cells", len(cells), done=done, unit="cells") as bar:
        for cell in cells:
            with claim(matrix, cell) as ours:
                if not ours or matrix.is_done(cell):
                    continue
                bar.note(str(cell))
                say(f"{cell}: log in {log_path(matrix, cell)}")
                error = run_cell(matrix, cell)
            if error:
                failed[cell] = error
                say(f"{cell} failed: {error}")
            bar.advance()
    return failed


@contextmanager
def claim(matrix: Matrix, cell: Cell) -> Iterator[bool]:
    """Keep other processes from a cell meanwhile; yield whether it is ours, not already theirs."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(matrix.out / f"{cell.name}.lock"))
        except LockedError:
            yield False
        else:
            yield True


def run_cell(matrix: Matrix, cell: Cell) -> str:
    """Run a cell to its end; return what it said last if it failed, else nothing.

    Raises
    ------
    InterruptedRunError
        It, or we, were interrupted.
    """
    child = run_child(matrix.arguments(cell), log_path(matrix, cell))
    if child.interrupted:
        raise InterruptedRunError(f"stopped in {cell}; the same command goes on")
    return child.error


def log_path(matrix: Matrix, cell: Cell) -> Path:
    """Return where a cell's output goes."""
    return matrix.out / f"{cell.name}.log"


def slurm_script(matrix: Matrix, arguments: Sequence[str], tasks: int) -> str:
    """Return a SLURM array script whose tasks share the matrix out among themselves."""
    return "\n".join(
        [
            "#!/bin/bash",
            "#SBATCH --job-name=acclimate",
            f"#SBATCH --array=0-{tasks - 1}",
            f"#SBATCH --output={matrix.out}/slurm-%A-%a.log",
            "#SBATCH --signal=B:TERM@60  # a cell that runs out of time saves its state; submit again to go on",
            f"exec acclimate bench {shlex.join(arguments)}  # exec: the signal goes to the script's own process",
        ]
    )
