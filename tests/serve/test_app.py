"""The application: headers of every response, health, disabled endpoints, errors, the log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from starlette.requests import Request
from starlette.responses import Response

from lightmark.serve.app import build_app
from lightmark.serve.endpoint import Limits
from lightmark.serve.headers import HEADERS
from lightmark.serve.static import StaticFile, model_files, page_files

Serving: TypeAlias = Callable[..., AbstractContextManager[Callable[..., Any]]]

URL = "http://127.0.0.1:8000/"
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self' blob:; style-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class Broken:
    """An endpoint with a fault of its own."""

    limits = Limits(10, 10, 1.0)

    async def __call__(self, request: Request) -> Response:
        """Fails."""
        raise RuntimeError("/home/someone/model.onnx is broken")


def test_every_kind_of_answer_has_every_header(page: Path, serving: Serving) -> None:
    """Files, 304, 404, 405, JSON, the docs and our own failures alike."""
    with serving(build_app(page_files(page) | model_files(), Broken(), URL)) as ask:
        known = {"If-None-Match": "*"}
        answers = [
            *(ask("GET", path) for path in ("/", "/models/models.json", "/healthz", "/docs", "/openapi.json", "/no")),
            *(ask(method, "/") for method in ("HEAD", "POST", "OPTIONS")),
            *(ask("GET", "/", headers=one) for one in (known, {"Range": "bytes=0-1"}, {"Range": "bytes=9999-"})),
            ask("POST", "/v1/landmarks", b"x"),
        ]
    assert {answer.status for answer in answers} == {200, 206, 304, 404, 405, 416, 500}
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert answer.headers["Cache-Control"] in ("no-cache", "no-store")
        assert answer.headers["Server"] is None or "lightmark" not in answer.headers["Server"]


def test_the_headers_isolate_the_page() -> None:
    """Written out once more: a slip in them shows nowhere else."""
    assert HEADERS["Content-Security-Policy"] == POLICY
    assert HEADERS["Cross-Origin-Opener-Policy"] == "same-origin"
    assert HEADERS["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert HEADERS["Cross-Origin-Resource-Policy"] == "same-origin"
    assert HEADERS["X-Content-Type-Options"] == "nosniff"
    assert HEADERS["Referrer-Policy"] == "no-referrer"
    assert HEADERS["Permissions-Policy"].startswith("camera=(self),")


def test_answers_that_are_made_are_not_kept(page: Path, serving: Serving) -> None:
    """Only files may be cached, and only with revalidation."""
    with serving(build_app(page_files(page), None, URL)) as ask:
        assert ask("GET", "/healthz").headers["Cache-Control"] == "no-store"
        assert ask("GET", "/").headers["Cache-Control"] == "no-cache"


def test_health(page: Path, serving: Serving) -> None:
    """The health check responds 200."""
    with serving(build_app(page_files(page), None, URL)) as ask:
        answer = ask("GET", "/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/landmarks"), ("GET", "/docs"), ("GET", "/openapi.json")])
def test_addresses_of_a_disabled_endpoint_give_the_reason(page: Path, serving: Serving, method: str, path: str) -> None:
    """404 with the option that switches it on."""
    with serving(build_app(page_files(page), None, URL)) as ask:
        answer = ask(method, path)
    assert (answer.status, answer.json) == (404, {"error": "the endpoint is off; start the server with --api"})


def test_an_internal_error_discloses_nothing(page: Path, serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """Neither path nor stack nor the error's words leave the server; its own log has them."""
    with serving(build_app(page_files(page), Broken(), URL)) as ask:
        answer = ask("POST", "/v1/landmarks", b"x")
    assert answer.status == 500
    assert answer.json == {"error": "the server could not do this; see its error log"}
    assert "model.onnx is broken" in caplog.text


def test_a_deleted_file_discloses_no_path(tmp_path: Path, serving: Serving) -> None:
    """Taken away under the running server."""
    with serving(build_app({"/": StaticFile(tmp_path / "gone.html", '"a"')}, None, URL)) as ask:
        answer = ask("GET", "/")
    assert answer.status == 500
    assert b"gone" not in answer.body


def test_the_log_has_a_line_a_request(page: Path, serving: Serving) -> None:
    """Time, method, address, status, milliseconds; of unknown addresses and queries nothing is repeated."""
    lines: list[str] = []
    with serving(build_app(page_files(page), None, URL, lines.append)) as ask:
        ask("GET", "/sw.js?name=Ada")
        ask("GET", "/Ada%0aLovelace")
    assert [line.split()[1:4] for line in lines] == [["GET", "/sw.js", "200"], ["GET", "(unknown)", "404"]]
    assert all(line.endswith(" ms") for line in lines)
    assert "Ada" not in "".join(lines)


def test_the_docs_need_nothing_from_elsewhere(page: Path, serving: Serving) -> None:
    """The page has the example and the limits, no script, and no style but the server's own."""
    with serving(build_app(page_files(page), Broken(), URL)) as ask:
        docs, style = ask("GET", "/docs"), ask("GET", "/docs.css")
    text = docs.body.decode()
    assert (docs.status, style.status, style.headers["Content-Type"]) == (200, 200, "text/css; charset=utf-8")
    assert "--data-binary @photo.jpg http://127.0.0.1:8000/v1/landmarks" in text
    assert "larger than 10 bytes" in text
    assert "<script" not in text
    assert "style=" not in text
