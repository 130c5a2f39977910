"""The command that answers over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from acclimate.commands.options import RunDevice, Threads, use_threads
from acclimate.errors import AcclimateError


def serve(
    run: Annotated[Path, Parameter(help="The run directory, or a folder that export wrote.")],
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str = "",
    abstain_below: float = 0.0,
    max_images: int = 64,
    max_megabytes: int = 32,
    device: RunDevice = None,
    threads: Threads = None,
) -> None:
    """Serve a run's classifier over HTTP, with a page to drop images on. Needs pip install 'acclimate[serve]'.

    POST /predict takes files and answers in JSON, /translate redraws one, /model is the card, /docs tells the rest.
    A run is computed by torch, an exported folder by onnxruntime.

    Parameters
    ----------
    host
        Where to listen; other addresses than this machine's own need a token, which is made up if none is given.
    port
        0 takes a free one.
    token
        What requests must bring as Authorization: Bearer TOKEN; by default $ACCLIMATE_TOKEN.
    abstain_below
        Name no class where its probability is smaller.
    max_images
        Files of a request.
    max_megabytes
        Of a request.
    """
    from acclimate.serving.server import serve as run_server

    if not 0 <= abstain_below <= 1:
        raise AcclimateError(f"--abstain-below must be 0 to 1, not {abstain_below:g}")
    use_threads(threads)
    run_server(
        run,
        host=host,
        port=port,
        token=token,
        abstain_below=abstain_below,
        most_images=max_images,
        most_megabytes=max_megabytes,
        device=device,
        threads=threads,
    )
