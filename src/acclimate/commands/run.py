"""The command ``run``: its options are the settings of the method that it is asked for, its end a small table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import Field, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from cyclopts import Parameter

from acclimate.commands.options import DataRoot, Device, Threads, use_threads
from acclimate.config import Config
from acclimate.errors import AcclimateError
from acclimate.methods import find_config, method_names
from acclimate.pipeline.choice import Choice, choose
from acclimate.progress import say

if TYPE_CHECKING:
    from acclimate.runs.adaptation import Adaptation
    from acclimate.runs.kept import DomainName


HOW = (
    f"One of {', '.join(method_names())}; by default cyclegan, but self-training for photos and for the preset best."
    " Each has settings of its own: --method NAME --help."
)

PRESETS = {
    "paper": "as published",
    "notebook": "its author's own settings",
    "short": "the paper's recipe in minutes",
    "strong": "a stronger published recipe",
    "fast": "minutes on two CPU cores",
    "full": "an hour",
    "best": "the most accurate",
    "photos": "for folders of photos, taken by itself there",
    "demo": "tiny images",
}
"""What presets are, in the words of the help."""

MOVED = "With --resume: where these images of the run lie now."


def _presets(method: str, config: type[Config]) -> str:
    """Return the help of ``--preset``: which ones a method has."""
    known = "; ".join(f"{name} ({PRESETS[name]})" if name in PRESETS else name for name in config.presets)
    default = "fast, but photos for folders of photos" if "photos" in config.presets else "fast"
    return f"Of {method}: {known}. By default {default}."


def run_command(tokens: Sequence[str]) -> Any:
    """Return the ``run`` command whose options are the chosen method's settings, with the chosen preset's defaults."""
    named = _of_resumed(tokens) or (_peek(tokens, "--method"), _peek(tokens, "--preset"))
    known = named[0] is None or named[0] in method_names()
    running = list(tokens[:1]) == ["run"]
    source = _source(tokens) if running else None
    choice = choose(source, *named) if known else Choice(str(named[0]), named[1] or "fast")
    config_class = find_config(choice.method) if known else Config
    if running and known:
        _check_settings(tokens, choice.method)
    preset = choice.preset
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
        method: Annotated[str | None, Parameter(help=HOW)] = None,
        preset: str | None = None,
        resume: Path | None = None,
        moved_source: Annotated[str | None, Parameter(name="--source", help=MOVED)] = None,
        moved_target: Annotated[str | None, Parameter(name="--target", help=MOVED)] = None,
        out: Path | None = None,
        data_root: DataRoot = None,
        device: Device = None,
        threads: Threads = None,
        settings: Config = settings(),  # noqa: B008 (frozen; cyclopts reads the defaults here)
    ) -> None:
        """Adapt a classifier from a labelled source to an unlabelled target.

        Parameters
        ----------
        source
            A domain (acclimate data list) or a folder with one subfolder a class.
        target
            A domain or a folder of images; labels are not needed. If there are some, only target-only learns from them.
        resume
            Go on with this run; everything is taken from it. With a larger --steps, --epochs or --stage-steps it goes
            on beyond its end.
        out
            The run directory; by default runs/SOURCE-TARGET-METHOD-PRESET-SEED.
        """
        from acclimate.pipeline.resuming import LENGTHS, extend, move_data
        from acclimate.pipeline.stages import run_stages
        from acclimate.pipeline.starting import start
        from acclimate.runs.adaptation import Adaptation
        from acclimate.runs.directory import Run
        from acclimate.training.distributed import joined, processes

        stored = {} if resume is None else Run(resume).config
        if resume is not None:
            _check_resumption(tokens, source)
            begun = stored.get("threads")
            if threads and begun and threads != begun:
                say(f"the run was begun on {begun} threads: on {threads} its result will not be the same to the byte")
            threads = threads or begun
            device = device or stored["device"]
        use_threads(threads)
        with joined(device):
            if resume is not None:
                lengths = {name: getattr(settings, name) for name in LENGTHS if _given(tokens, name)}
                moved: tuple[tuple[DomainName, str | None], ...] = ("source", moved_source), ("target", moved_target)
                places = {name: place for name, place in moved if place is not None}
                group = processes()
                group.first_then_all(lambda: move_data(Run(resume), places) if group.first else None)
                group.first_then_all(lambda: extend(Run(resume), lengths) if group.first else None)
                adaptation = Adaptation(resume, device)
            elif moved_source or moved_target:
                raise AcclimateError("--source and --target are for --resume; else name them without: SOURCE TARGET")
            elif source is None or target is None:
                lacks = "a source and a target" if source is None else f"a target beside the source {source}"
                raise AcclimateError(f"name {lacks}, such as: acclimate run mnist mnist-m (or --resume RUN)")
            else:
                find_config(choice.method).preset(choice.preset)
                if choice.reason:
                    say(choice.reason)
                changes = {item.name: getattr(settings, item.name) for item in fields(config_class)}
                adaptation = start(
                    source,
                    target,
                    method=choice.method,
                    preset=choice.preset,
                    out=out,
                    data_root=data_root,
                    device=device or "auto",
                    **changes,
                )
            say(f"run: {adaptation.run.path}")
            run_stages(adaptation)
            if adaptation.engine.processes.first:
                print(summary_table(adaptation))

    known_presets = _presets(choice.method, config_class)
    run.__annotations__["preset"] = Annotated[str | None, Parameter(help=known_presets)]
    run.__annotations__["settings"] = Annotated[
        settings, Parameter(name="*", group=f"Settings of {choice.method}, {preset}")
    ]
    return run


WITH_RESUME = ("resume", "source", "target", "device", "threads", "steps", "epochs", "stage-steps")
"""What may be said beside --resume."""


def _check_resumption(tokens: Sequence[str], source: str | None) -> None:
    """Refuse what a run that is resumed does not ask for.

    Raises
    ------
    AcclimateError
        A setting, or a domain, is given.
    """
    options = [token.partition("=")[0] for token in tokens if token.startswith("--")]
    refused = [option for option in options if option.removeprefix("--").removeprefix("no-") not in WITH_RESUME]
    if refused or source is not None:
        what = ", ".join(refused) or "source and target (they have moved? --source, --target)"
        raise AcclimateError(f"--resume takes everything from the run: leave out {what}")


def _of_resumed(tokens: Sequence[str]) -> tuple[str, str] | None:
    """Return method and preset of the run that is to be resumed, if it is there."""
    file = Path(_peek(tokens, "--resume") or "", "config.json")
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return str(stored["method"]), str(stored["preset"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _given(tokens: Sequence[str], setting: str) -> bool:
    flag = f"--{setting.replace('_', '-')}"
    return any(token.partition("=")[0] == flag for token in tokens)


def _peek(tokens: Sequence[str], option: str) -> str | None:
    """Return what an option is given on the command line."""
    for index, token in enumerate(tokens):
        if token == option and index + 1 < len(tokens):
            return tokens[index + 1]
        if token.startswith(f"{option}="):
            return token.partition("=")[2]
    return None


def _source(tokens: Sequence[str]) -> str | None:
    """Return the source that ``run`` is given: the first word that is neither an option nor what one is given."""
    flags = {item.name for settings in _settings_of_all().values() for item in settings if item.type == "bool"}
    words = iter(tokens[1:])
    for word in words:
        if not word.startswith("-"):
            return word
        name = word.removeprefix("--").replace("-", "_")
        if "=" not in word and name not in flags and name.removeprefix("no_") not in flags:
            next(words, None)
    return None


def _settings_of_all() -> dict[str, tuple[Field[Any], ...]]:
    """Return each method's settings, but those of a package that is broken, which is for whoever asks for it."""
    found = {}
    for name in method_names():
        with suppress(AcclimateError):
            found[name] = fields(find_config(name))
    return found


OF_RUN = ("method", "preset", "resume", "source", "target", "out", "data-root", "device", "threads", "help", "version")
"""Options of ``run`` that are no settings."""


def _check_settings(tokens: Sequence[str], method: str) -> None:
    """Say of a setting that only other methods have which ones those are.

    Raises
    ------
    AcclimateError
        There is one.
    """
    of_all = {name: {item.name for item in settings} for name, settings in _settings_of_all().items()}
    own = of_all.get(method, set())
    for option in (token.partition("=")[0] for token in tokens if token.startswith("--")):
        name = option.removeprefix("--").removeprefix("no-").replace("-", "_")
        if name in own or name.replace("_", "-") in OF_RUN:
            continue
        if others := [other for other, names in of_all.items() if name in names]:
            alike = [f"--{one.replace('_', '-')}" for one in sorted(own) if one.endswith(f"_{name}")]
            instead = f" It has {' and '.join(alike)}." if alike else ""
            more = f" and {len(others) - 4} more" if len(others) > 4 else ""
            raise AcclimateError(f"{method} has no {option}, a setting of {', '.join(others[:4])}{more}.{instead}")


def summary_table(adaptation: Adaptation) -> str:
    """Return what a person wants to know of a finished run: accuracies, costs, where things are."""
    from acclimate.runs.kinds import accuracies, tested_images

    result, path = adaptation.run.result, adaptation.run.path
    seconds = result["seconds"]
    lines = [
        f"{adaptation.source.name} -> {adaptation.target.name},"
        f" {result['method']} ({result['preset']}, seed {result['seed']})"
    ]
    if result["accuracy"] is None:
        lines.append("  the target has no labels: accuracy unknown")
    else:
        lines.append(f"  accuracy on {tested_images(result):,} target test images, % (+- over re-trained classifiers)")
        rows = accuracies(result, adaptation.own_kind)
        width = max(12, *map(len, rows))
        for name, row in rows.items():
            note = f"   {_gain(row, rows['source-only'])}" if name != "source-only" else ""
            if name == "adapted" and "source-only-augmented" in rows:  # which is trained as this is
                note += f", {_gain(row, rows['source-only-augmented']).strip()} over source-only-augmented"
            spread = f"+- {100 * row['std']:.1f}" if len(row["runs"]) > 1 else " " * 6
            lines.append(f"    {name:<{width}} {100 * row['mean']:5.1f} {spread}{note}")
    if "choice" in result:
        from acclimate.pipeline.auto import candidate_lines

        lines += ["  candidates", *(f"    {line}" for line in candidate_lines(result["choice"]))]
    lines += _forecast_lines(result)
    if result["translation"]["images"]:
        lines.append(f"  {_translation_costs(result)}")
    if adaptation.method_class.translates:
        lines.append(f"  pictures     {path / 'figures'}")
    beside_it = [
        name for name in result["baselines"] if name in seconds and name.replace("_", "-") != adaptation.own_kind
    ]
    bars = sum(seconds[name] for name in beside_it)
    beside = f", and {bars / 60:.1f} for the classifiers beside it" if bars else ""
    features = seconds.get("features", 0.0)
    before = f"{features / 60:.1f} minutes for features, " if features else ""
    training = (seconds["total"] - bars - features) / 60
    lines.append(f"  took         {before}{training:.1f} minutes of training{beside}")
    lines.append(f"  result       {path / 'result.json'}")
    lines.append(f"  next         acclimate report {path}")
    if result.get("recommendation", {}).get("use") == "unadapted":
        lines.append(f"               acclimate predict {path} IMAGES --kind {result['unadapted']['kind']}")
    return "\n".join(lines)


def _gain(row: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    return f"{100 * (row['mean'] - reference['mean']):+5.1f}"


def _forecast_lines(result: Mapping[str, Any]) -> list[str]:
    """Say what accuracy to expect, what to use, and what looks wrong, all known without target labels."""
    if result["forecast"] is None:
        return []
    low, mean, high = (100 * result["forecast"][name] for name in ("low", "mean", "high"))
    lines = [f"  forecast     {mean:.0f} % ({low:.0f} to {high:.0f} in nine of ten cases), made without target labels"]
    if "recommendation" in result:
        use, sure = result["recommendation"]["use"], 100 * result["recommendation"]["sure"]
        other = f"{result['unadapted']['kind']}, with a forecast of {100 * result['unadapted']['mean']:.0f} %"
        what = f"the adapted classifier rather than {other}" if use == "adapted" else f"{other}, not the adapted one"
        lines.append(f"  recommended  {what} ({sure:.0f} % sure)")
    return lines + [f"  note         {finding['text']}" for finding in result.get("findings", [])]


def _translation_costs(result: Mapping[str, Any]) -> str:
    """Say what translating took, and for methods that know another way what that would have taken."""
    config, images, seconds = result["config"], result["translation"]["images"], result["seconds"]["translation"]
    size, per_image = result["translation"]["bytes_on_disk"] / 1e6, seconds / max(images, 1)
    way = config.get("adapt", "offline")
    costs = f"translation  {way}: {seconds:.1f} s, {size:,.1f} MB on disk"
    if "adapt" not in config:
        return costs
    train, val, _ = result["protocol"]["splits"]["source"]
    train = min(train, config["classifier_images"] or train)
    epochs, repeats = config["classifier_epochs"], config["repeats"]
    if way == "offline":
        other = f"on the fly: up to {epochs * repeats * train * per_image:.0f} s, nothing on disk"
    else:
        megabytes = (train + val) * config["channels"] * config["image_size"] ** 2 / 1e6
        other = f"offline: about {(train + val) * per_image:.0f} s, {megabytes:,.1f} MB"
    return f"{costs} ({other})"
