"""Commands about many runs: the matrix of runs, and tables of results."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from acclimate.commands.options import DataRoot, Device, Threads
from acclimate.errors import AcclimateError


def bench(
    *,
    pairs: str,
    methods: str = "all",
    seeds: int = 3,
    preset: str = "fast",
    out: Path = Path("runs/bench"),
    set: list[str] | None = None,  # noqa: A002
    data_root: DataRoot = None,
    device: Device = None,
    threads: Threads = None,
    estimate: bool = True,
    slurm: int | None = None,
) -> None:
    """Run methods x pairs x seeds, and print the table with the published numbers beside ours.

    The same command goes on where it was stopped. Started several times, the processes share the cells out.

    Parameters
    ----------
    pairs
        SOURCE:TARGET, several with commas between.
    methods
        Names with commas between, or all.
    seeds
        How many, from 0.
    preset
        Of every method: fast or paper.
    out
        The folder of all runs.
    set
        NAME=VALUE: a setting to change, for each method that has it.
    estimate
        Time a few steps of each method first, and say how long the whole will take.
    slurm
        Print a SLURM array script with so many tasks instead.
    """
    from acclimate.pipeline.benchmark import Matrix, announce, parse_methods, parse_pairs, run_matrix, slurm_script
    from acclimate.reporting.tables import matrix_table, read_results

    settings = dict(_name_and_value(item) for item in set or [])
    options = {"data-root": data_root and data_root.expanduser().resolve(), "device": device, "threads": threads}
    matrix = Matrix(
        parse_pairs(pairs),
        parse_methods(methods),
        seeds,
        preset,
        out,
        settings,
        {name: str(value) for name, value in options.items() if value is not None},
    )
    if slurm is not None:
        out.mkdir(parents=True, exist_ok=True)  # SLURM does not, and without it a job fails before it begins
        again = ["--pairs", pairs, "--methods", methods, "--seeds", str(seeds), "--preset", preset, "--out", str(out)]
        again += [word for item in set or [] for word in ("--set", item)]
        again += [f"--{name}={value}" for name, value in matrix.options.items()]
        print(slurm_script(matrix, [*again, "--no-estimate"], slurm))
        return
    if estimate:
        announce(matrix)
    failed = run_matrix(matrix)
    print(matrix_table(read_results([out])))
    for cell, error in failed.items():
        print(f"- not there: {cell}: {error}")


def _name_and_value(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise AcclimateError(f"--set takes NAME=VALUE, not {text!r}")
    return name.replace("-", "_"), value


def table(
    results: list[Path],
    /,
    *,
    layout: Literal["list", "matrix"] = "list",
    format: Literal["markdown", "csv", "latex"] = "markdown",  # noqa: A002
    into: Path | None = None,
) -> None:
    """Print a table of results.

    Parameters
    ----------
    results
        Result files, or folders with such files or runs in any nesting.
    layout
        list has a row a pair, method and preset, with costs; matrix has methods by pairs.
    format
        markdown, csv or latex (booktabs).
    into
        A Markdown file whose part between the HTML comments "results" and "/results" becomes the table.
    """
    from acclimate.reporting.tables import insert, list_table, matrix_table, read_results

    write = partial(matrix_table, folded=into is not None) if layout == "matrix" else list_table
    found = read_results(results)
    if into is None:
        print(write(found, format))
        return
    if format != "markdown":
        raise AcclimateError("--into takes a Markdown table")
    insert(into, "results", write([result.seen_from(into.parent) for result in found], format))
