"""Run the documentation's notebook in an empty folder and keep what it shows: ``make notebook``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "two-folders.ipynb"

if __name__ == "__main__":
    notebook = nbformat.read(NOTEBOOK, 4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, resources=where, coalesce_streams=True).execute()
        for cell in notebook.cells:
            cell.metadata = {}
        text = nbformat.writes(notebook).replace(f"{folder}/", "")
    NOTEBOOK.write_text(text.rstrip() + "\n", encoding="utf-8")
