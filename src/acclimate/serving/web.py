"""The service: JSON over HTTP, a page to drop images on, and what it refuses in one line."""

from __future__ import annotations

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any, Literal

import torch
from fastapi import FastAPI, File, HTTPException, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from torch import Tensor

from acclimate._version import __version__
from acclimate.errors import DataError
from acclimate.serving.batching import Batcher, BusyError
from acclimate.serving.model import Model, answer, likeness_in_words

LOOPBACK = ("127.0.0.1", "localhost", "::1")

OPEN = ("/health", "/", "/docs")
"""What is answered without the token."""

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; script-src 'self'"
        b" 'unsafe-inline'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""Of every answer: a page may load nothing from elsewhere, and nobody may show it as a part of theirs."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may ask for.

    Attributes
    ----------
    bytes
        Of a whole request.
    images
        Files of a request.
    pixels
        Of one image, unpacked.
    waiting
        Images that wait to be classified, of all requests; more are told to come again.
    redrawing
        The same of images that wait to be redrawn.
    unpacking
        Images that are unpacked at a time, each of which may take half a gigabyte for a moment.
    """

    bytes: int = 32_000_000
    images: int = 64
    pixels: int = 50_000_000
    waiting: int = 2_048
    redrawing: int = 8
    unpacking: int = 4


def create_app(
    model: Model, *, limits: Limits | None = None, token: str = "", abstain_below: float = 0.0, any_host: bool = False
) -> FastAPI:
    """Return the service as an ASGI application.

    Parameters
    ----------
    model
        What answers.
    limits
        What one request may ask for.
    token
        What every request must bring as ``Authorization: Bearer TOKEN``; empty for none.
    abstain_below
        Name no class that is less probable, unless a request says otherwise.
    any_host
        Whether it answers under other names than those of this machine alone, which keeps web pages from reaching it
        by a name of their own.
    """
    limits = limits or Limits()
    computing, redrawing = ThreadPoolExecutor(1, "computing"), ThreadPoolExecutor(1, "redrawing")
    unpacking, being_redrawn = asyncio.Semaphore(limits.unpacking), 0
    classify = Batcher(model.probabilities, computing, limits.waiting)
    compare = Batcher(model.likeness, computing, limits.waiting)
    started = time.monotonic()

    app = FastAPI(title="acclimate", version=__version__, docs_url=None, redoc_url=None, summary=_summary(model))
    if not any_host:
        hosts = [*LOOPBACK, "[::1]", "["]  # the last is what an older Starlette takes for the host of [::1]:8000
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_middleware(_Guarded, most=limits.bytes, token=token)

    @app.post("/predict")
    async def predict(
        files: Annotated[list[UploadFile], File(description="Image files.")],
        abstain: Annotated[
            float, Query(ge=0, le=1, description="Name no class that is less probable.")
        ] = abstain_below,
        likeness: Annotated[bool, Query(description="Tell how like the target each image is, too.")] = False,
    ) -> dict[str, Any]:
        """Classify images: class, probability, the three likeliest, whether it abstains."""
        if len(files) > limits.images:
            raise HTTPException(413, f"{len(files)} images; the limit of a request is {limits.images}")
        if likeness and not model.knows_target:
            raise HTTPException(409, "this model has no images of its target to compare with")
        if classify.is_full(len(files)):  # before anything is unpacked for nothing
            raise _busy()
        names = [_name(file, number) for number, file in enumerate(files)]
        read = []
        for file, name in zip(files, names, strict=True):
            async with unpacking:
                read.append(await _read(model, file, name, limits))
        pixels = torch.stack(read)
        probabilities = (await _computed(classify, pixels)).tolist()
        answers = [
            {"file": name, **answer(model, row, abstain)} for name, row in zip(names, probabilities, strict=True)
        ]
        if likeness:
            for one, value in zip(answers, (await _computed(compare, pixels)).tolist(), strict=True):
                one |= {"likeness": round(value, 4), "likeness_in_words": likeness_in_words(value)}
        return {"predictions": answers}

    @app.post("/translate", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    async def translate(
        file: Annotated[UploadFile, File(description="An image file.")],
        to: Annotated[Literal["target", "source"], Query(description="In whose style.")] = "target",
    ) -> Response:
        """Redraw an image in the style of the target, or of the source, as PNG."""
        nonlocal being_redrawn
        if to not in model.directions:
            raise HTTPException(409, f"this model does not redraw images as those of the {to}")
        if being_redrawn >= limits.redrawing:
            raise _busy()
        name, content = _name(file, 0), await file.read()
        loop = asyncio.get_running_loop()
        being_redrawn += 1
        try:
            redrawn = await loop.run_in_executor(redrawing, model.redraw, content, name, to, limits.pixels)
        except DataError as error:
            raise HTTPException(422, str(error)) from None
        finally:
            being_redrawn -= 1
        return Response(redrawn, media_type="image/png")

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Tell that it answers."""
        return {"status": "ok", "version": __version__, "seconds": round(time.monotonic() - started, 1)}

    @app.get("/model")
    async def card() -> dict[str, Any]:
        """Tell what the model is: classes, where it comes from, its forecast, its card, what may be asked."""
        return {
            "about": dict(model.about),
            "card": model.card,
            "engine": model.engine,
            "redraws_as": list(model.directions),
            "knows_target": model.knows_target,
            "limits": vars(limits),
        }

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> str:
        return _page("page.html", about=model.about, model=model, limits=limits, needs_token=bool(token))

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def described() -> str:
        return _page("described.html", api=app.openapi())

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"detail": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)

    return app


def _summary(model: Model) -> str:
    return f"A classifier of images, {model.about['source']} → {model.about['target']}."


def _page(name: str, **values: object) -> str:
    pages = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = files("acclimate.serving").joinpath(name).read_text(encoding="utf-8")
    return pages.from_string(template).render(**values)


def _name(file: UploadFile, number: int) -> str:
    return (file.filename or f"image {number + 1}")[-200:]


async def _read(model: Model, file: UploadFile, name: str, limits: Limits) -> Tensor:
    content = await file.read()
    try:
        return await asyncio.to_thread(model.read, content, name, limits.pixels)
    except DataError as error:
        raise HTTPException(422, str(error)) from None


async def _computed(compute: Batcher, pixels: Tensor) -> Tensor:
    try:
        return await compute(pixels)
    except BusyError:
        raise _busy() from None


def _busy() -> HTTPException:
    return HTTPException(503, "too many images are waiting: come again", {"Retry-After": "1"})


class _Guarded:
    """Refuses requests without the token, and those of too many bytes, before they are read; adds :data:`HEADERS`."""

    def __init__(self, app: ASGIApp, most: int, token: str) -> None:
        self.app, self.most, self.token = app, most, token

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        told = dict(scope.get("headers", ()))
        given = told.get(b"authorization", b"").removeprefix(b"Bearer ")
        needed = self.token and scope["type"] != "lifespan" and scope.get("path") not in OPEN
        if needed and not secrets.compare_digest(given, self.token.encode()):
            detail = "a token is needed: Authorization: Bearer TOKEN"
            return JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer", "Connection": "close"})
        length = told.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.most:
            return JSONResponse({"detail": self._too_large}, 413, {"Connection": "close"})
        return None

    @property
    def _too_large(self) -> str:
        return f"the request is too large; the limit is {self.most:,} bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self.most:
                raise HTTPException(413, self._too_large)
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await (self._refusal(scope) or self.app)(scope, counted, with_headers)
