"""Static files: the built page at / and the shipped models below /models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from lightmark.errors import ConfigError
from lightmark.files import sha256_of
from lightmark.runtime import shipped

PAGE = Path(__file__).parent.parent / "page"
INDEX = "index.html"
METHODS = ("GET", "HEAD")
BYTES = "application/octet-stream"
# Not the mimetypes module: some systems do not know .mjs or .wasm, and on Windows programs change the type of .js.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm",
    ".onnx": BYTES,
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/vnd.microsoft.icon",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True)
class StaticFile:
    """A file to serve; `etag` is a hash of its content."""

    path: Path
    etag: str

    @property
    def media_type(self) -> str:
        """Content-Type by the file's suffix."""
        return TYPES.get(self.path.suffix.lower(), BYTES)


class SentFile(FileResponse):
    """File response in chunks of 1 MB; each chunk waits for a thread, so that Starlette's 64 kB would be slow."""

    chunk_size = 2**20


class StaticFiles:
    """ASGI application that serves `files` by URL path, and 404 for any other path.

    Only listed files can be requested, whatever the path. Browsers must revalidate all of them with If-None-Match: the
    origin localhost:8000 is shared by versions and other programs, and a cached page would survive an upgrade.
    """

    def __init__(self, files: Mapping[str, StaticFile]) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        file = self._files.get(request.scope["path"])
        if file is None:
            raise HTTPException(404)
        if request.method not in METHODS:
            raise HTTPException(405, headers={"Allow": ", ".join(METHODS)})
        headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
        if is_known(request.headers.get("If-None-Match", ""), file.etag):
            return Response(status_code=304, headers=headers)
        return SentFile(file.path, headers=headers, media_type=file.media_type)


def is_known(known: str, etag: str) -> bool:
    """Whether an If-None-Match header matches `etag` by the weak comparison of RFC 9110, 13.1.2."""
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in known.split(","))


def page_files(folder: Path = PAGE) -> dict[str, StaticFile]:
    """Files of the built page by URL path, index.html also at /; raises `ConfigError` if it is not built."""
    if not (folder / INDEX).is_file():
        raise ConfigError(
            f"{folder}: has no {INDEX}; the page comes with the released package, in a checkout build it first: "
            "cd web && npm ci && npm run build"
        )
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    files = {f"/{path.relative_to(folder).as_posix()}": _static_file(path) for path in paths}
    return {"/": files[f"/{INDEX}"], **files}


def model_files(folder: Path = shipped.FOLDER) -> dict[str, StaticFile]:
    """Shipped models and their lists by URL path, below /models."""
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".onnx")]
    return {f"/models/{path.name}": _static_file(path) for path in paths}


def _static_file(path: Path) -> StaticFile:
    # Not from time and size: files of a package may all have the same time, and different pages the same size.
    return StaticFile(path, f'"{sha256_of(path)[:32]}"')
