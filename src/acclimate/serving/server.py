"""Running the service until it is told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from pathlib import Path

from acclimate.errors import AcclimateError
from acclimate.progress import say


def serve(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str = "",
    abstain_below: float = 0.0,
    most_images: int = 64,
    most_megabytes: int = 32,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Serve a run, or a folder that ``acclimate export`` wrote, until Ctrl-C or SIGTERM; requests under way finish.

    Raises
    ------
    AcclimateError
        The extra ``serve`` is not installed, the path is neither, or the address cannot be had.
    """
    try:
        import uvicorn

        from acclimate.serving.web import LOOPBACK, Limits, create_app
    except ImportError as error:
        raise AcclimateError(f"serve needs {error.name}: pip install 'acclimate[serve]'") from None
    from acclimate.serving.model import open_model

    model = open_model(path, device, threads)
    token = token or os.environ.get("ACCLIMATE_TOKEN", "")
    alone = host in LOOPBACK
    if not alone and not token:
        token = secrets.token_urlsafe(24)
        say(f"others can reach {host}: they need the token {token}")
    app = create_app(
        model,
        limits=Limits(bytes=most_megabytes * 1_000_000, images=most_images),
        token=token,
        abstain_below=abstain_below,
        any_host=not alone,
    )
    listening = _listen(host, port)
    name = f"[{host}]" if ":" in host else host
    say(
        f"{model.about['source']} → {model.about['target']}, by {model.engine}: http://{name}:{listening.getsockname()[1]}"
    )
    say("/ is a page to drop images on, /docs tells what else there is; Ctrl-C stops")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each malformed request
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=20))
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn passes it on once all is answered
        server.run([listening])
    say("stopped")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)  # asyncio sends at once only where the protocol is named
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(512)  # who comes before the first answer waits
    except (OSError, OverflowError) as error:
        raise AcclimateError(f"{host}, port {port}: {getattr(error, 'strerror', None) or error}") from None
    return listening
