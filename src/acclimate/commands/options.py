"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from acclimate.errors import AcclimateError

RunPath = Annotated[Path, Parameter(help="The run directory.")]
RunDevice = Annotated[str | None, Parameter(help="Where to compute; by default where the run was trained.")]
Device = Annotated[str | None, Parameter(help="auto, cpu, cuda, cuda:1.")]
Threads = Annotated[int | None, Parameter(help="CPU threads; by default all cores.")]
DataRoot = Annotated[
    Path | None, Parameter(help="Where publishers' files lie or are downloaded to; by default $ACCLIMATE_DATA.")
]
ImageSize = Annotated[int, Parameter(help="Height and width in pixels.")]
Channels = Annotated[int, Parameter(help="1 or 3.")]


def use_threads(threads: int | None) -> None:
    """Compute on so many CPU threads; None leaves all cores.

    Raises
    ------
    AcclimateError
        None at all.
    """
    if threads is not None:
        import torch

        if threads < 1:
            raise AcclimateError(f"--threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)
