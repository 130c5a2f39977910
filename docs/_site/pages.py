"""Pages that are made anew at each build: a method's, from its docstring, its settings and the result files."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import MISSING, fields
from pathlib import Path

from docstring_parser import parse
from sphinx.application import Sphinx

from acclimate.config import Config
from acclimate.methods import find_config, find_method, method_names
from acclimate.pipeline.self_training import SelfTraining
from acclimate.reporting.tables import Result, list_table, markdown, read_results

FOLDER = "methods"

SHARED = ("acclimate.config", "acclimate.methods.unet_config")
"""Modules whose settings every method, or several, have: they stand in ``acclimate run --help``."""


def write_pages(app: Sphinx) -> None:
    """Write a page a method, and their list."""
    docs = Path(app.srcdir)
    folder = docs / FOLDER
    folder.mkdir(exist_ok=True)
    results = read_results([docs / "results"])
    for name in method_names():
        own = [result for result in results if result.content["method"] == name]
        _write(folder / f"{name}.md", page(name, [result.seen_from(folder) for result in own]))
    rows = [[f"[{name}]({name}.md)", summary(name)] for name in method_names()]
    _write(folder / "index.md", contents(markdown(["method", "what it is"], rows)))


def _write(file: Path, text: str) -> None:
    if not file.exists() or file.read_text(encoding="utf-8") != text:  # else Sphinx would read it again
        file.write_text(text, encoding="utf-8")


def contents(table: str) -> str:
    """Return the page that lists the methods."""
    names = "\n".join(method_names())
    return "\n".join(
        [
            "# Methods",
            "",
            "Each is one room of `src/acclimate/methods` that reads next to its paper; these pages are made from its"
            " docstring, its settings and [the result files](../results/README.md).",
            "",
            table,
            "",
            "```{toctree}\n:hidden:\n\n" + names + "\n```",
            "",
        ]
    )


def summary(name: str) -> str:
    """Return a method's docstring's first line, as Markdown."""
    return as_markdown(inspect.getdoc(find_method(name)) or "").split("\n\n")[0].replace("\n", " ")


def page(name: str, results: list[Result]) -> str:
    """Return a method's page."""
    method, config = find_method(name), find_config(name)
    module = inspect.getmodule(method)
    source = (module.__doc__ or "").strip().rstrip(".")
    parts = [f"# {name}", f"*{as_markdown(source)}.*", as_markdown(inspect.getdoc(method) or "")]
    if name == "self-training":
        parts.append(as_markdown((inspect.getdoc(SelfTraining) or "").partition("\n\nParameters\n")[0]))
    parts += ["## Run it", f"```\nacclimate run SOURCE TARGET --method {name}\n```"]
    if own := settings(config):
        parts += ["## Its own settings", own]
    if config.presets:
        parts += ["## Presets", presets(config)]
    if results:
        parts += ["## Measured", list_table(results)]
    return "\n\n".join(parts) + "\n"


def settings(config: type[Config]) -> str:
    """Return a table of the settings that a method has of its own, with their defaults."""
    told: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if base.__module__ not in SHARED:
            told |= {one.arg_name: one.description or "" for one in parse(base.__doc__ or "").params}
    rows = [
        [f"`--{one.name.replace('_', '-')}`", _shown(one.default), as_markdown(told[one.name]).replace("\n", " ")]
        for one in fields(config)
        if one.name in told
    ]
    return markdown(["setting", "default", ""], rows) if rows else ""


def presets(config: type[Config]) -> str:
    """Return a list of presets, each with what it changes."""
    lines = []
    for name, changes in config.presets.items():
        changed = ", ".join(f"{one.replace('_', ' ')} {_shown(value)}" for one, value in changes.items())
        lines.append(f"- **{name}**: {changed or 'the defaults'}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    if value is MISSING:
        return ""
    return (
        {True: "yes", False: "no", "": "none"}.get(value, str(value)) if isinstance(value, bool | str) else f"{value}"
    )


def as_markdown(docstring: str) -> str:
    """Return a docstring as Markdown: paragraphs with lines that are set in, which are equations, become blocks."""
    paragraphs = re.split(r"\n\s*\n", docstring.strip("\n"))
    return "\n\n".join(_block(one) if re.search(r"^ {4}", one, re.MULTILINE) else _roles(one) for one in paragraphs)


def _block(paragraph: str) -> str:
    return "```text\n" + _plain(textwrap.dedent(paragraph)) + "\n```"


def _roles(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text).replace("|", "\\|").replace("*", "\\*")


def _plain(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]+)`", lambda found: found[1].rpartition(".")[2], text).replace("``", "")


TITLES = {
    "results/forecast": "The forecast, tried on runs with known truth",
    "results/photos": "Photos: every direction of PACS, and what else can be installed",
    "results/choice": "Choosing among methods, tried on runs with known truth",
    "results/selection": "Choosing a snapshot, tried on runs with known truth",
}
"""Of what programs write as the part of a page."""


def add_title(_app: Sphinx, name: str, source: list[str]) -> None:
    """Give a page its title that has none of its own."""
    if name in TITLES:
        source[0] = f"# {TITLES[name]}\n\n{source[0]}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before the others are read."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", add_title)
    return {"parallel_read_safe": True}
