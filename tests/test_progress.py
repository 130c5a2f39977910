"""What a person sees while something takes its time: on a terminal, in a log, in a notebook."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from acclimate.progress import progress, shown


def test_a_log_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("acclimate.progress._LogBar.every", 0.0)
    with progress("reading", 3, unit="images") as bar:
        for _ in range(3):
            bar.advance()
            bar.note("some")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "reading: 1/3 images",
        "reading: 2/3 images",
        "reading: 3/3 images",
    ]


def test_a_notebook_has_one_line_that_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", cell)
    monkeypatch.setattr("acclimate.progress._LineBar.every", 0.0)
    with progress("reading", 20, unit="images") as bar:
        for _ in range(20):
            bar.advance()
    written = cell.getvalue()
    assert written.count("\n") == 1
    assert written.split("\r")[-1].startswith("reading: 20/20 images")


def test_names_are_shown_whatever_their_bytes() -> None:
    assert shown("café/1.png") == "café/1.png"
    assert shown(os.fsdecode(b"caf\xe9")) == "caf\\xe9"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_on_a_narrow_terminal_stays_on_its_line() -> None:
    master, slave = pty.openpty()
    script = (
        "from acclimate.progress import progress\n"
        "with progress('translator', 200, unit='steps') as bar:\n"
        "    for _ in range(200): bar.advance(); bar.note('generators 2.3  discriminators 0.5')\n"
    )
    environment = os.environ | {"COLUMNS": "40", "LINES": "20", "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", script], stderr=slave, env=environment, check=True)
    os.close(slave)
    written = io.BytesIO()
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        written.write(part)
    os.close(master)
    last = re.sub(r"\x1b\[[0-9?]*[a-zA-Z]", "", written.getvalue().decode()).split("\r")[-2]
    assert last.split() == ["translator", "200/200", "0:00:00"]
    assert len(last) <= 40
