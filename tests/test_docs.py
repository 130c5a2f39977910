"""The documentation is whole: a page a command, a picture a page shows, pages of methods that say when they fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from acclimate.commands import build_app
from acclimate.methods import find_method, method_names

DOCS = Path(__file__).parents[1] / "docs"


def test_every_command_has_its_page_in_the_list() -> None:
    commands = {name for name in build_app(["--help"]) if not name.startswith("-")}
    pages = {path.stem for path in (DOCS / "commands").glob("*.md")} - {"index"}
    assert pages == commands
    listed = re.findall(r"\[(\w+)\]\(\1\.md\)", (DOCS / "commands" / "index.md").read_text())
    assert sorted(listed) == sorted(commands)


WRITTEN = [page for page in sorted(DOCS.rglob("*.md")) if not {"_build", "methods"} & {*page.relative_to(DOCS).parts}]
"""All but those that each build makes, and checks."""


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_what_a_page_shows_and_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not re.match(r"https?:", target):
            made = (page.parent / target).resolve().relative_to(DOCS.resolve().parent)
            assert (DOCS.parent / made).exists() or made.parts[:2] == ("docs", "methods"), target


@pytest.mark.parametrize(
    "name", [name for name in method_names() if name not in ("auto", "source-only", "target-only")]
)
def test_a_method_says_when_it_fails(name: str) -> None:
    assert "When it fails: " in (find_method(name).__doc__ or "")
