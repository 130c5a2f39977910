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
from fastapi import Depends, FastAPI, File, HTTPException, Query, Request, Response, UploadFile
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
        Images that wait to be computed, of all requests; more are told to come again.
    """

    bytes: int = 32_000_000
    images: int = 64
    pixels: int = 50_000_000
    waiting: int = 2_048


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
    computing = ThreadPoolExecutor(1, "computing")
    classify = Batcher(model.probabilities, computing, limits.waiting)
    compare = Batcher(model.likeness, computing, limits.waiting)
    started = time.monotonic()

    def allowed(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and not secrets.compare_digest(given.encode(), token.encode()):
            raise HTTPException(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    app = FastAPI(title="acclimate", version=__version__, docs_url=None, redoc_url=None, summary=_summary(model))
    if not any_host:
        hosts = [*LOOPBACK, "[::1]", "["]  # the last is what an older Starlette takes for the host of [::1]:8000
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_middleware(_Limited, most=limits.bytes)
    asked = [Depends(allowed)]

    @app.post("/predict", dependencies=asked)
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
        names = [_name(file, number) for number, file in enumerate(files)]
        pixels = torch.stack([await _read(model, file, name, limits) for file, name in zip(files, names, strict=True)])
        probabilities = (await _computed(classify, pixels)).tolist()
        answers = [
            {"file": name, **answer(model, row, abstain)} for name, row in zip(names, probabilities, strict=True)
        ]
        if likeness:
            for one, value in zip(answers, (await _computed(compare, pixels)).tolist(), strict=True):
                one |= {"likeness": round(value, 4), "likeness_in_words": likeness_in_words(value)}
        return {"predictions": answers}

    @app.post(
        "/translate", dependencies=asked, response_class=Response, responses={200: {"content": {"image/png": {}}}}
    )
    async def translate(
        file: Annotated[UploadFile, File(description="An image file.")],
        to: Annotated[Literal["target", "source"], Query(description="In whose style.")] = "target",
    ) -> Response:
        """Redraw an image in the style of the target, or of the source, as PNG."""
        if to not in model.directions:
            raise HTTPException(409, f"this model does not redraw images as those of the {to}")
        name, content = _name(file, 0), await file.read()
        loop = asyncio.get_running_loop()
        try:
            redrawn = await loop.run_in_executor(computing, model.redraw, content, name, to, limits.pixels)
        except DataError as error:
            raise HTTPException(422, str(error)) from None
        return Response(redrawn, media_type="image/png")

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Tell that it answers."""
        return {"status": "ok", "version": __version__, "seconds": round(time.monotonic() - started, 1)}

    @app.get("/model", dependencies=asked)
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
        raise HTTPException(503, "too many images are waiting: come again", {"Retry-After": "1"}) from None


class _Limited:
    """Refuses requests of too many bytes, told beforehand or not, before they are read whole; adds :data:`HEADERS`."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        came, refusal = 0, HTTPException(413, f"the request is too large; the limit is {self.most:,} bytes")

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self.most:
                raise refusal
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        told = dict(scope.get("headers", ())).get(b"content-length", b"0")
        if told.isdigit() and int(told) > self.most:
            await JSONResponse({"detail": refusal.detail}, 413, {"Connection": "close"})(scope, receive, with_headers)
        else:
            await self.app(scope, counted, with_headers)
