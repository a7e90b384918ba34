"""`lightmark serve` as a process: output, shutdown, and the options it refuses."""

from __future__ import annotations

import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from lightmark.cli import main

# The command, its Landmarker so slow that a test can be quicker; it says when it has begun.
SLOW = """
import sys, time
from lightmark import landmarker
def detect(self, picture):
    print("begun", flush=True)
    time.sleep(float(sys.argv[1]))
    return []
landmarker.Landmarker.detect = detect
from lightmark.cli import main
main(sys.argv[2:])
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The smallest page."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<!doctype html><title>Lightmark</title>")
    return tmp_path / "page"


@contextmanager
def started(page: Path, seconds: float, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The running command, whose model takes so many seconds a picture, and its port."""
    command = [sys.executable, "-c", SLOW, str(seconds), "serve", "--page", str(page), "--port", "0", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = threading.Timer(60, process.kill)  # lest a test that waits for its words waits for ever
    watch.start()
    try:
        assert process.stdout is not None
        url = process.stdout.readline()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", url)
        assert found, (url, process.communicate(timeout=10))
        yield process, int(found[1])
    finally:
        watch.cancel()
        process.kill()
        process.communicate()


def send_picture(port: int, answers: list[tuple[int, bytes]]) -> threading.Thread:
    """A thread that sends a picture and notes status and body of the answer."""
    stream = io.BytesIO()
    Image.new("RGB", (20, 10)).save(stream, "PNG")

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/landmarks", stream.getvalue(), {"Content-Type": "image/png"})
        answer = connection.getresponse()
        answers.append((answer.status, answer.read()))

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def serve(*words: object) -> Result:
    """The command where it is to end by itself."""
    return CliRunner().invoke(main, ["serve", *map(str, words)])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_ends_when_what_it_is_doing_is_done(page: Path, number: signal.Signals, status: int) -> None:
    """After the signal the running request is completed, and new connections are refused."""
    answers: list[tuple[int, bytes]] = []
    with started(page, 1.0, "--api") as (process, port):
        sending = send_picture(port, answers)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        sending.join(30)
        _, log = process.communicate(timeout=30)
        assert process.returncode == status, log
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    ((answered, body),) = answers
    assert (answered, json.loads(body)["width"]) == (200, 20)
    assert re.fullmatch(r"\d\d:\d\d:\d\d POST /v1/landmarks 200 \d+ ms\n", log)


def test_it_does_not_wait_for_ever(page: Path) -> None:
    """Work far beyond the timeout is answered by 503 and left behind; the process ends all the same."""
    answers: list[tuple[int, bytes]] = []
    with started(page, 300.0, "--api", "--timeout", "2") as (process, port):
        sending = send_picture(port, answers)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        sending.join(30)
        process.communicate(timeout=60)
        assert process.returncode == 143
    assert [status for status, _ in answers] == [503]


def test_the_page_alone_is_served_quietly(page: Path) -> None:
    """Without --api only the page is served, and with --quiet only its address is printed."""
    with started(page, 0.0, "--quiet") as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        assert b"Lightmark" in connection.getresponse().read()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0


def test_the_application_alone_is_light() -> None:
    """What the page needs loads no numbers and no pictures."""
    code = (
        "import sys, lightmark.serve.app, lightmark.serve.server, lightmark.serve.workers; print(sorted(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "cv2", "onnxruntime", "PIL"} & set(re.findall(r"'(\w+)'", found.stdout))


def test_a_port_that_is_taken_is_named(page: Path) -> None:
    """A port in use is named, with another one to try."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = serve("--page", page, "--port", port)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"lightmark: port {port} on 127.0.0.1 is taken; give another, such as --port ")


def test_a_host_that_is_none_is_named(page: Path) -> None:
    """An address of another machine cannot be listened on."""
    result = serve("--page", page, "--port", "0", "--host", "203.0.113.7")  # RFC 5737: nobody's
    assert result.exit_code == 2
    assert "cannot listen on 203.0.113.7" in result.stderr


def test_options_of_the_endpoint_need_it(page: Path) -> None:
    """They would do nothing without --api."""
    for words in (("--max-bytes", "5"), ("--model", "fast"), ("--timeout", "10")):
        result = serve("--page", page, *words)
        assert result.exit_code == 2
        assert f"{words[0]} is for the endpoint, which is off; add --api" in result.stderr


def test_without_a_page_there_is_nothing_to_serve(tmp_path: Path) -> None:
    """The folder, and how a page is built."""
    result = serve("--page", tmp_path)
    assert result.exit_code == 2
    assert "has no index.html" in result.stderr


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra_the_error_has_the_install_line(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Without the extra the error has the install line."""
    monkeypatch.setitem(sys.modules, missing, None)
    result = serve()
    assert result.exit_code == 2
    assert result.stderr == f'lightmark: serving needs {missing}: pip install "lightmark[serve]"\n'


def test_the_browser_is_opened_where_asked(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--open opens the browser at the printed address."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("lightmark.serve.server.run", lambda *given: given[-1]())
    result = serve("--page", page, "--port", "0", "--open")
    assert result.exit_code == 0
    assert opened == [result.stdout.strip()]
