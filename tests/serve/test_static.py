"""Static files: the page at /, models below /models, and no other path."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from lightmark.errors import ConfigError
from lightmark.runtime.shipped import FOLDER
from lightmark.serve.app import build_app
from lightmark.serve.static import is_known, model_files, page_files

Ask: TypeAlias = Callable[..., Any]  # method, path, body, headers → answer


@pytest.fixture(scope="module")
def ask(page: Path, serving: Callable[..., Any]) -> Iterator[Ask]:
    """The page and the models, without the endpoint."""
    with serving(build_app(page_files(page) | model_files(), None, "http://127.0.0.1/")) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "file", "kind"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html", "index.html", "text/html; charset=utf-8"),
        ("/sw.js", "sw.js", "text/javascript; charset=utf-8"),
        ("/manifest.webmanifest", "manifest.webmanifest", "application/manifest+json"),
        ("/assets/main-1a2b.mjs", "assets/main-1a2b.mjs", "text/javascript; charset=utf-8"),
        ("/assets/ort.wasm", "assets/ort.wasm", "application/wasm"),
        ("/assets/style.css?v=1", "assets/style.css", "text/css; charset=utf-8"),
    ],
)
def test_the_page_is_served_byte_for_byte(ask: Ask, page: Path, path: str, file: str, kind: str) -> None:
    """Each file of the page under its path, with the type that browsers insist on."""
    answer = ask("GET", path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert answer.body == (page / file).read_bytes()


@pytest.mark.parametrize("name", ["models.json", "detectors.json", "fast.onnx", "face.onnx"])
def test_shipped_models_are_served(ask: Ask, name: str) -> None:
    """The browser gets the very files that Python loads."""
    answer = ask("GET", f"/models/{name}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == (
        "application/json" if name.endswith("json") else "application/octet-stream"
    )
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256((FOLDER / name).read_bytes()).digest()


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/..%5c..%5csecret.txt",
        "//secret.txt",
        "/models/../__init__.py",
        "/models/%2e%2e/errors.py",
        "/models/%2fetc%2fpasswd",
        "/.hidden",
        "/index.html/",
        "/index.html%00.js",
        "/assets",
        "/assets/",
        "/models/",
        "/%ff%fe",
        "/" + 3000 * "a",
    ],
)
def test_nothing_else_is_served(ask: Ask, path: str) -> None:
    """Paths that climb, hidden files, folders, null bytes: 404 with a reason that repeats nothing of the request."""
    answer = ask("GET", path)
    assert answer.status == 404
    assert answer.json == {"error": "there is nothing at this address; the page is at /"}


def test_an_unchanged_file_is_not_sent_again(ask: Ask) -> None:
    """Its ETag is answered by 304 without a body, also weak and among others; another tag by the file."""
    etag = ask("GET", "/sw.js").headers["ETag"]
    for known in (etag, f'W/{etag}, "other"', "*"):
        answer = ask("GET", "/sw.js", headers={"If-None-Match": known})
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag)
        assert answer.headers["Cache-Control"] == "no-cache"
    assert ask("GET", "/sw.js", headers={"If-None-Match": '"other"'}).status == 200


def test_the_etag_is_of_what_is_in_the_file(page: Path, tmp_path: Path) -> None:
    """Two pages of one size and time, as packages have them, differ."""
    (tmp_path / "index.html").write_text((page / "index.html").read_text().upper())
    assert page_files(tmp_path)["/"].etag != page_files(page)["/"].etag


def test_no_etag_is_known_without_a_header() -> None:
    """An empty If-None-Match names nothing."""
    assert not is_known("", '"abc"')


def test_head_gives_the_size_without_the_file(ask: Ask) -> None:
    """HEAD returns the headers of GET without the file."""
    got, headed = ask("GET", "/assets/ort.wasm"), ask("HEAD", "/assets/ort.wasm")
    assert (headed.status, headed.body) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag"):
        assert headed.headers[name] == got.headers[name]


def test_a_part_of_a_file_is_sent(ask: Ask) -> None:
    """Range, by which a broken download goes on."""
    answer = ask("GET", "/assets/ort.wasm", headers={"Range": "bytes=1-3"})
    assert (answer.status, answer.body) == (206, b"asm")


def test_files_are_not_written_to(ask: Ask) -> None:
    """Other methods get 405 and those that are allowed; what is not there is 404 for them, too."""
    answer = ask("POST", "/index.html", b"hello")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.json == {"error": "POST is not for this address, only GET, HEAD"}
    assert ask("DELETE", "/nothing").status == 404


def test_a_page_that_is_not_built_is_explained(tmp_path: Path) -> None:
    """The folder and the command that builds it."""
    with pytest.raises(ConfigError, match=r"has no index\.html; .* npm run build"):
        page_files(tmp_path / "page")
