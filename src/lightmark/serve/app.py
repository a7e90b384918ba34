"""ASGI application: routes, and errors as JSON with only the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from lightmark.serve.headers import with_headers
from lightmark.serve.hosts import with_hosts
from lightmark.serve.log import with_log
from lightmark.serve.openapi import describe, docs_page
from lightmark.serve.static import StaticFile, StaticFiles

if TYPE_CHECKING:
    from lightmark.serve.endpoint import Endpoint  # imports OpenCV, which the page alone does not need

STYLE = Path(__file__).parent / "docs.css"
NOT_FOUND = "there is nothing at this address; the page is at /"
OFF = "the endpoint is off; start the server with --api"
BROKEN = "the server could not do this; see its error log"


def build_app(
    files: Mapping[str, StaticFile],
    endpoint: Endpoint | None,
    url: str,
    log: Callable[[str], None] | None = None,
    hosts: Iterable[str] = (),
) -> ASGIApp:
    """ASGI application that serves `files` and, unless it is None, `endpoint`; `url` is its own address.

    `log` is called with a line per request. Accepted Host headers are addresses, localhost and the names in `hosts`.
    """
    routes = [
        Route("/healthz", healthy),
        *(api_off() if endpoint is None else api(endpoint, url)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: refuse, Exception: break_off})
    app.router.default = StaticFiles(files)  # no route for every path: it would hide the others' 405
    app.router.redirect_slashes = False  # a redirect would contain the Host header, which the client controls
    guarded = with_headers(with_hosts(app, hosts))
    return guarded if log is None else with_log(guarded, log)


def api(endpoint: Endpoint, url: str) -> list[BaseRoute]:
    """Routes of the endpoint, its OpenAPI document and its documentation page."""
    document = describe(endpoint.limits)
    page = docs_page(document, url)

    async def landmarks(request: Request) -> Response:
        return await endpoint(request)

    async def openapi(_request: Request) -> Response:
        return JSONResponse(document)

    async def docs(_request: Request) -> Response:
        return HTMLResponse(page)

    async def style(_request: Request) -> Response:
        return FileResponse(STYLE, media_type="text/css; charset=utf-8")

    return [
        Route("/v1/landmarks", landmarks, methods=["POST"]),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Route("/docs.css", style),
    ]


def api_off() -> list[BaseRoute]:
    """Routes of a disabled endpoint, which return 404 with the reason."""

    async def off(_request: Request) -> Response:
        raise HTTPException(404, OFF)

    return [Route(path, off, methods=["GET", "POST"]) for path in ("/v1/landmarks", "/openapi.json", "/docs")]


async def healthy(_request: Request) -> Response:
    """Health check."""
    return JSONResponse({"status": "ok"})


async def refuse(request: Request, error: Exception) -> Response:
    """Response with the reason of an `HTTPException`; the router's own reasons are replaced by helpful ones."""
    assert isinstance(error, HTTPException)  # build_app registers it for this type only
    reason, headers = error.detail, error.headers or {}
    if reason == HTTPStatus(error.status_code).phrase:
        allowed = headers.get("Allow")
        reason = NOT_FOUND if allowed is None else f"{request.method} is not for this address, only {allowed}"
    return JSONResponse({"error": reason}, error.status_code, headers)


async def break_off(_request: Request, _error: Exception) -> Response:
    """Response 500 without details; the traceback goes to the server's standard error."""
    return JSONResponse({"error": BROKEN}, 500)
