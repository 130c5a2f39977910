"""The directive ``printed``: commands that are run in a workspace of the build, shown with what they printed.

A command that fails is a warning, and so an error of the build. ``:lines: 12`` shows only so many, from the first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOG = logging.getLogger(__name__)


class Workspace:
    """A folder with a cache of its own, in which commands are run once each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, dict[str, tuple[int, str]]()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def run(self, command: str) -> tuple[int, str]:
        """Return a command's exit status, and what it printed to either stream."""
        if command not in self.said:
            LOG.info("$ %s", command)
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            own = {"PATH": path, "ACCLIMATE_CACHE": str(self.folder / ".cache"), "COLUMNS": "100", "NO_COLOR": "1"}
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=self.folder,
                env=os.environ | own,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            self.said[command] = done.returncode, done.stdout.replace(f"{self.folder}/", "").rstrip()
        return self.said[command]


class Printed(SphinxDirective):
    """A literal block of commands and their output."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"lines": directives.positive_int}

    def run(self) -> list[nodes.Node]:
        shown = []
        for command in self.content:
            status, said = self.env.app.workspace.run(command)
            if status:
                LOG.warning("%s failed with %d:\n%s", command, status, said, location=self.get_location())
            lines = [line.rstrip() for line in said.splitlines()]
            if (most := self.options.get("lines", len(lines))) < len(lines):
                lines = [*lines[:most], "…"]
            shown.append("\n".join([f"$ {command}", *lines]))
        block = nodes.literal_block("\n\n".join(shown), "\n\n".join(shown))
        block["language"] = "text"
        return [block]


def _prepare(app: Sphinx) -> None:
    app.workspace = Workspace(Path(app.outdir).parent / "workspace")
    for command in app.config.printed_first:
        status, said = app.workspace.run(command)
        if status:
            LOG.warning("%s failed with %d:\n%s", command, status, said)


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_config_value("printed_first", [], "env")
    app.add_directive("printed", Printed)
    app.connect("builder-inited", _prepare)
    return {"parallel_read_safe": False}
