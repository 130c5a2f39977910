"""Commands that show how a run went: scores of its snapshots, figures, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from acclimate.commands.options import RunDevice, RunPath, Threads, use_threads
from acclimate.errors import AcclimateError


def select(
    runs: list[Path],
    /,
    *,
    study: bool = False,
    every: bool = False,
    retrain: bool = False,
    out: Path | None = None,
    device: RunDevice = None,
    threads: Threads = None,
) -> None:
    """Choose without labels: among a run's snapshots, or among the classifiers of several runs.

    Of one run, score the snapshots, and show which one each rule would choose; what it has chosen stays as it is:
    choose at its start, by --select RULE. Of several runs on the same two domains, or of one whose method keeps none,
    forecast the accuracy of each classifier and of the one that is not adapted, and say which to take.

    Parameters
    ----------
    runs
        Run directories.
    study
        Measure the snapshots on target labels too, and how well each rule does over all the runs.
    every
        In a study, measure also those of the first half of training, which no rule may choose.
    retrain
        In a study, train also the run's own classifier, in full, on what the last and the best snapshot make of the
        source.
    out
        A JSON file for the study over all the runs.
    """
    from acclimate.pipeline.candidates import comparison, judged
    from acclimate.pipeline.selection import choice_table
    from acclimate.pipeline.study import study_runs
    from acclimate.runs.adaptation import Adaptation
    from acclimate.training.state import write_json

    use_threads(threads)
    adaptations = [Adaptation(run, device) for run in runs]
    if not study:
        if out is not None or every or retrain:
            raise AcclimateError("--out, --every and --retrain are for a --study")
        of_snapshots = len(adaptations) == 1 and adaptations[0].method_class.has_snapshots
        print(choice_table(adaptations[0]) if of_snapshots else comparison(judged(adaptations)))
        return
    text, result = study_runs(adaptations, every=every, retrain=retrain)
    if out is not None:
        write_json(out, result)
    print(text)


def figures(
    run: RunPath,
    /,
    *,
    format: Literal["png", "pdf", "both"] = "both",  # noqa: A002
    out: Path | None = None,
    device: RunDevice = None,
) -> None:
    """Draw a finished run's figures: the paper's, and what else shows how the adaptation went.

    Parameters
    ----------
    format
        What to write.
    out
        The folder; by default figures in the run directory.
    """
    from acclimate.reporting.figures import write_figures
    from acclimate.runs.adaptation import Adaptation

    folder = out or run / "figures"
    record = write_figures(Adaptation(run, device), folder, ("png", "pdf") if format == "both" else (format,))
    for figure in record["figures"].values():
        print(f"{folder / figure['files'][0]}  {figure['title']}")
    for name, reason in record["left_out"].items():
        print(f"left out: {name}, as {reason}")


def report(*runs: Path, out: Path | None = None, device: RunDevice = None) -> None:
    """Write the report of a finished run, or the comparison of several, as one HTML file that needs nothing else.

    Parameters
    ----------
    runs
        One run directory, or several to compare.
    out
        The file; by default report.html in the run directory, or comparison.html in the current folder.
    """
    from acclimate.reporting.page import write_report
    from acclimate.runs.adaptation import Adaptation

    if not runs:
        raise AcclimateError("name a run, such as: acclimate report runs/mine")
    file = out or (runs[0] / "report.html" if len(runs) == 1 else Path("comparison.html"))
    write_report([Adaptation(run, device) for run in runs], file)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
