"""The notebook of the documentation runs, from its first cell to its last, and its committed outputs are its own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).parents[1] / "docs" / "two-folders.ipynb"


@pytest.mark.filterwarnings("default")  # of the kernel's own machinery
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )  # its cells call acclimate
    notebook = nbformat.read(shutil.copy(NOTEBOOK, tmp_path), 4)
    committed = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in committed), "make notebook runs it"
    assert not any(output.output_type == "error" for cell in committed for output in cell.outputs)
    nbclient.NotebookClient(notebook, timeout=550, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "".join(
        str(output.get("data", output.get("text", ""))) for cell in notebook.cells for output in cell.get("outputs", ())
    )
    assert "<td>source-only</td>" in shown
    assert "image/png" in shown
    assert (tmp_path / "exported" / "model.onnx").exists()
