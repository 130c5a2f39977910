"""The command line: each command is a typed function, its docstring the help.

Nothing heavy is imported before a command needs it, so that help and errors come at once.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, get_type_hints

from cyclopts import App, Parameter

from acclimate._version import __version__
from acclimate.config import CONFIGS, Config
from acclimate.errors import AcclimateError, DataError
from acclimate.progress import say

if TYPE_CHECKING:
    from acclimate.adaptation import Adaptation
    from acclimate.domains import DataOptions


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        build_app(tokens)(tokens)
    except AcclimateError as error:
        say(f"acclimate: {error}", error=True)
        _leave(error.exit_code)
    except KeyboardInterrupt:
        say("acclimate: interrupted; a run goes on with: acclimate run --resume RUN")
        _leave(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(141)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        say(f"acclimate: {error.filename or 'writing'}: {error.strerror}", error=True)
        _leave(2)
    except Exception:
        if not _is_one_of_several():
            raise
        traceback.print_exc()
        _leave(1)


def _is_one_of_several() -> bool:
    together = sys.modules.get("torch.distributed")
    return together is not None and together.is_initialized()


def _leave(code: int) -> NoReturn:
    """Exit. One of several processes does so at once, so that the others see it go and nothing waits for them."""
    if _is_one_of_several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def build_app(tokens: Sequence[str]) -> App:
    """Return the command line; ``tokens`` decide which method's settings ``run`` takes."""
    app = App(
        name="acclimate",
        version=__version__,
        help="Adapt an image classifier to a new domain without a single label there.",
        suppress_keyboard_interrupt=False,  # main says how to go on
    )
    app.command(_run_command(tokens), name="run")
    app.command(translate)
    app.command(predict)
    app.command(evaluate)
    app.command(select)
    app.command(figures)
    app.command(report)
    app.command(table)
    app.command(bench)
    data = App(name="data", help="List, fetch and look at domains.")
    data.command(data_list, name="list")
    data.command(data_prepare, name="prepare")
    data.command(data_show, name="show")
    app.command(data)
    return app


def _run_command(tokens: Sequence[str]) -> Any:
    """Return the ``run`` command whose options are the chosen method's settings, with the chosen preset's defaults."""
    method = _peek(tokens, "--method", "cyclegan")
    config_class = CONFIGS.get(method, Config)
    preset = _peek(tokens, "--preset", "fast")
    defaults = config_class.preset(preset if preset in config_class.presets else "fast")
    types = get_type_hints(config_class)
    settings = make_dataclass(
        "Settings",
        [(item.name, types[item.name], field(default=getattr(defaults, item.name))) for item in fields(config_class)],
        bases=(config_class,),
        frozen=True,
        kw_only=True,
        namespace={"__doc__": config_class.__doc__, "__module__": __name__},
    )

    def run(
        source: str | None = None,
        target: str | None = None,
        /,
        *,
        method: str = "cyclegan",
        preset: str = "fast",
        resume: Path | None = None,
        out: Path | None = None,
        data_root: Path | None = None,
        device: str | None = None,
        threads: int | None = None,
        settings: Config = settings(),  # noqa: B008 (frozen; cyclopts reads the defaults here)
    ) -> None:
        """Adapt a classifier from a labelled source to an unlabelled target.

        Parameters
        ----------
        source
            A domain (acclimate data list) or a folder with one subfolder a class.
        target
            A domain or a folder of images; labels are neither needed nor used.
        method
            How to adapt.
        preset
            fast (two CPU cores, minutes), notebook (the paper's author's own settings), paper, demo.
        resume
            Go on with this run; everything is taken from it.
        out
            The run directory; by default runs/SOURCE-TARGET-METHOD-PRESET-SEED.
        data_root
            Where publishers' files lie or are downloaded to; by default $ACCLIMATE_DATA.
        device
            auto, cpu, cuda, cuda:1.
        threads
            CPU threads; by default all cores.
        """
        import torch

        from acclimate.adaptation import Adaptation
        from acclimate.distributed import joined
        from acclimate.methods import find_method
        from acclimate.runs import Run

        if threads is not None:
            torch.set_num_threads(max(1, threads))
        if resume is not None and device is None:
            device = Run(resume).config["device"]
        with joined(device):
            if resume is not None:
                if source is not None or target is not None:
                    raise AcclimateError("--resume takes everything from the run: leave out source and target")
                adaptation = Adaptation(resume, device)
            elif source is None or target is None:
                raise AcclimateError(
                    "name a source and a target, such as: acclimate run mnist mnist-m (or --resume RUN)"
                )
            else:
                find_method(method)
                config_class.preset(preset)
                changes = {item.name: getattr(settings, item.name) for item in fields(config_class)}
                adaptation = Adaptation.create(
                    source,
                    target,
                    method=method,
                    preset=preset,
                    out=out,
                    data_root=data_root,
                    device=device or "auto",
                    **changes,
                )
            say(f"run: {adaptation.run.path}")
            adaptation.run_all()
            if adaptation.group.first:
                print(summary_table(adaptation))

    run.__annotations__["settings"] = Annotated[settings, Parameter(name="*", group=f"Settings of {method}, {preset}")]
    return run


def _peek(tokens: Sequence[str], option: str, default: str) -> str:
    for index, token in enumerate(tokens):
        if token == option and index + 1 < len(tokens):
            return tokens[index + 1]
        if token.startswith(f"{option}="):
            return token.partition("=")[2]
    return default


def summary_table(adaptation: Adaptation) -> str:
    """Return what a person wants to know of a finished run: accuracies, costs, where things are."""
    result, path = adaptation.run.result, adaptation.run.path
    seconds, bars = result["seconds"], result["baselines"]
    lines = [
        f"{adaptation.source.name} -> {adaptation.target.name},"
        f" {result['method']} ({result['preset']}, seed {result['seed']})"
    ]
    if result["accuracy"] is None:
        lines.append("  the target has no labels: accuracy unknown")
        lines.append(f"  {_forecast_line(result)}")
    else:
        lines.append(
            f"  accuracy on {result['protocol']['splits']['target'][2]:,} target test images, %"
            " (+- over re-trained classifiers)"
        )
        rows = {
            "source-only": bars["source_only"],
            adaptation.own_kind: result["accuracy"],
            "target-only": bars["target_only"],
        }
        for name, row in rows.items():
            if row is not None:
                gain = 100 * (row["mean"] - bars["source_only"]["mean"]) if name != "source-only" else None
                note = f"   {gain:+5.1f}" if gain is not None else ""
                spread = f"+- {100 * row['std']:.1f}" if len(row["runs"]) > 1 else " " * 6
                lines.append(f"    {name:<12} {100 * row['mean']:5.1f} {spread}{note}")
        lines.append(f"  {_forecast_line(result)}")
    if result["translation"]["images"]:
        lines.append(f"  {_translation_costs(result)}")
    if adaptation.method_class.translates:
        lines.append(f"  pictures     {path / 'figures'}")
    lines.append(f"  took         {seconds['total'] / 60:.1f} minutes of training")
    lines.append(f"  result       {path / 'result.json'}")
    lines.append(f"  next         acclimate report {path}")
    return "\n".join(lines)


def _forecast_line(result: Mapping[str, Any]) -> str:
    low, mean, high = (100 * result["forecast"][name] for name in ("low", "mean", "high"))
    return f"forecast     {mean:.0f} % ({low:.0f} to {high:.0f}), made without target labels"


def _translation_costs(result: Mapping[str, Any]) -> str:
    """Say what translating took, and what the other way would have taken at the same speed."""
    config, images, seconds = result["config"], result["translation"]["images"], result["seconds"]["translation"]
    size, per_image = result["translation"]["bytes_on_disk"] / 1e6, seconds / max(images, 1)
    train, val, _ = result["protocol"]["splits"]["source"]
    train = min(train, config["classifier_images"] or train)
    epochs, repeats = config["classifier_epochs"], config["repeats"]
    if config["adapt"] == "offline":
        other = f"on the fly: up to {epochs * repeats * train * per_image:.0f} s, nothing on disk"
    else:
        megabytes = (train + val) * config["channels"] * config["image_size"] ** 2 / 1e6
        other = f"offline: about {(train + val) * per_image:.0f} s, {megabytes:,.1f} MB"
    return f"translation  {config['adapt']}: {seconds:.1f} s, {size:,.1f} MB on disk ({other})"


def evaluate(run: Path, domain: str | None = None, /, *, device: str | None = None) -> None:
    """Measure a run's classifiers on the target's test images, or on another labelled domain or folder.

    Parameters
    ----------
    run
        The run directory.
    domain
        A domain or folder with the same classes; by default the run's target.
    device
        Where to compute; by default where the run was trained.
    """
    from acclimate.adaptation import Adaptation
    from acclimate.results import measure

    print(json.dumps(measure(Adaptation(run, device), domain), indent=1))


def select(
    runs: list[Path],
    /,
    *,
    study: bool = False,
    every: bool = False,
    retrain: bool = False,
    out: Path | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Score a run's snapshots without labels, and show which one each rule would choose.

    What a run has chosen stays as it is: choose at its start, by --select RULE.

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
    device
        Where to compute; by default where the run was trained.
    threads
        CPU threads; by default all cores.
    """
    import torch

    from acclimate.adaptation import Adaptation
    from acclimate.selection import choice_table, study_runs
    from acclimate.state import write_json

    if threads is not None:
        torch.set_num_threads(max(1, threads))
    adaptations = [Adaptation(run, device) for run in runs]
    if not study:
        if out is not None or every or retrain:
            raise AcclimateError("--out, --every and --retrain are for a --study")
        print("\n\n".join(choice_table(adaptation) for adaptation in adaptations))
        return
    text, result = study_runs(adaptations, every=every, retrain=retrain)
    if out is not None:
        write_json(out, result)
    print(text)


def translate(
    run: Path, source: str, output: Path, /, *, snapshot: int | None = None, device: str | None = None
) -> None:
    """Redraw images in the target's style, as PNG files that keep class folders and names.

    Parameters
    ----------
    run
        The run directory.
    source
        A domain, or a folder of images in any nesting.
    output
        The folder to write; it must be empty or not there yet.
    snapshot
        The step of the translator's snapshot; by default the one that the run chose.
    device
        Where to compute; by default where the run was trained.
    """
    from acclimate.adaptation import Adaptation
    from acclimate.inference import translate_files

    count = translate_files(Adaptation(run, device), source, output, snapshot)
    print(f"wrote {count:,} images to {output}")


def predict(
    run: Path,
    images: list[Path],
    /,
    *,
    format: Literal["csv", "jsonl"] = "csv",  # noqa: A002
    strict: bool = False,
    device: str | None = None,
) -> None:
    """Classify images with a run's adapted classifier; file, class and probability go to standard output.

    Parameters
    ----------
    run
        The run directory.
    images
        Image files, or folders of them in any nesting.
    format
        csv with a header, or one JSON object a line.
    strict
        Stop at the first unreadable image instead of skipping it.
    device
        Where to compute; by default where the run was trained.
    """
    from acclimate.adaptation import Adaptation
    from acclimate.inference import predict_files

    writer = csv.writer(sys.stdout, lineterminator="\n")
    predictions = predict_files(Adaptation(run, device), images, strict=strict)
    for number, (file, name, probability) in enumerate(predictions):
        if format == "csv":
            if number == 0:
                writer.writerow(["file", "class", "probability"])
            writer.writerow([file, name, f"{probability:.6f}"])
        else:
            print(json.dumps({"file": str(file), "class": name, "probability": round(probability, 6)}))


def figures(
    run: Path,
    /,
    *,
    format: Literal["png", "pdf", "both"] = "both",  # noqa: A002
    out: Path | None = None,
    device: str | None = None,
) -> None:
    """Draw a finished run's figures: the paper's, and what else shows how the adaptation went.

    Parameters
    ----------
    run
        The run directory.
    format
        What to write.
    out
        The folder; by default figures in the run directory.
    device
        Where to compute; by default where the run was trained.
    """
    from acclimate.adaptation import Adaptation
    from acclimate.figures import write_figures

    folder = out or run / "figures"
    record = write_figures(Adaptation(run, device), folder, ("png", "pdf") if format == "both" else (format,))
    for figure in record["figures"].values():
        print(f"{folder / figure['files'][0]}  {figure['title']}")
    for name, reason in record["left_out"].items():
        print(f"left out: {name}, as {reason}")


def report(*runs: Path, out: Path | None = None, device: str | None = None) -> None:
    """Write the report of a finished run, or the comparison of several, as one HTML file that needs nothing else.

    Parameters
    ----------
    runs
        One run directory, or several to compare.
    out
        The file; by default report.html in the run directory, or comparison.html in the current folder.
    device
        Where to compute; by default where the runs were trained.
    """
    from acclimate.adaptation import Adaptation
    from acclimate.report import write_report

    if not runs:
        raise AcclimateError("name a run, such as: acclimate report runs/mine")
    file = out or (runs[0] / "report.html" if len(runs) == 1 else Path("comparison.html"))
    write_report([Adaptation(run, device) for run in runs], file)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


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
        A Markdown file whose part between <!-- results --> and <!-- /results --> becomes the table.
    """
    from acclimate.tables import insert, list_table, matrix_table, read_results

    write = matrix_table if layout == "matrix" else list_table
    found = read_results(results)
    if into is None:
        print(write(found, format))
        return
    if format != "markdown":
        raise AcclimateError("--into takes a Markdown table")
    insert(into, "results", write([result.seen_from(into.parent) for result in found], format))


def bench(
    *,
    pairs: str,
    methods: str = "all",
    seeds: int = 3,
    preset: str = "fast",
    out: Path = Path("runs/bench"),
    set: list[str] | None = None,  # noqa: A002
    data_root: Path | None = None,
    device: str | None = None,
    threads: int | None = None,
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
    data_root
        Where publishers' files lie or are downloaded to; by default $ACCLIMATE_DATA.
    device
        auto, cpu, cuda, cuda:1.
    threads
        CPU threads of each run.
    estimate
        Time a few steps of each method first, and say how long the whole will take.
    slurm
        Print a SLURM array script with so many tasks instead.
    """
    from acclimate.benchmark import Matrix, announce, parse_methods, parse_pairs, run_matrix, slurm_script
    from acclimate.tables import matrix_table, read_results

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


def data_list(*, data_root: Path | None = None) -> None:
    """List the domains, and whether their files are there.

    Parameters
    ----------
    data_root
        Where publishers' files lie; by default $ACCLIMATE_DATA.
    """
    from acclimate.domains import DOMAINS

    options = _options(data_root)
    for name, domain_class in sorted(DOMAINS.items()):
        missing = [
            file.path for file in domain_class(options).required_files() if not (options.data_root / file.path).exists()
        ]
        state = "ready" if not missing else f"to fetch: {', '.join(missing)}"
        print(f"{name:<10} {domain_class.native:<12} {domain_class.licence:<48} {state}")
    print("Any folder of images is a domain too: one subfolder a class for a source, any nesting for a target.")


def data_prepare(*names: str, image_size: int = 32, channels: int = 3, data_root: Path | None = None) -> None:
    """Fetch, verify and cache domains or folders at the working size.

    Parameters
    ----------
    names
        Domains or folders.
    image_size
        Height and width in pixels.
    channels
        1 or 3.
    data_root
        Where publishers' files lie or are downloaded to; by default $ACCLIMATE_DATA.
    """
    from acclimate.domains import open_domain

    if not names:
        raise DataError("name at least one domain or folder; acclimate data list shows the domains")
    for name in names:
        domain = open_domain(name, _options(data_root, image_size, channels))
        sizes = ", ".join(f"{count:,} {split}" for split, count in domain.sizes().items())
        print(f"{domain.name}: {sizes}; md5 {domain.manifest()['md5']}; in {domain.prepare()}")


def data_show(
    name: str, /, *, image_size: int = 32, channels: int = 3, data_root: Path | None = None, out: Path | None = None
) -> None:
    """Show what a domain holds, and write a picture of its first images.

    Parameters
    ----------
    name
        A domain or a folder.
    image_size
        Height and width in pixels.
    channels
        1 or 3.
    data_root
        Where publishers' files lie or are downloaded to; by default $ACCLIMATE_DATA.
    out
        The picture; by default NAME.png in the current folder.
    """
    from acclimate.domains import open_domain
    from acclimate.samples import domain_samples

    domain = open_domain(name, _options(data_root, image_size, channels))
    print(json.dumps(domain.describe(), indent=1))
    print(f"picture: {domain_samples(domain, out or Path(f'{domain.slug}.png'))}")


def _options(data_root: Path | None, image_size: int = 32, channels: int = 3) -> DataOptions:
    from acclimate.domains import DataOptions

    options = DataOptions(image_size=image_size, channels=channels)
    return options if data_root is None else DataOptions(image_size=image_size, channels=channels, data_root=data_root)
