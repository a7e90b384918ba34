"""POST /v1/landmarks: the faces of a picture; a reason for everything that is none; bounded in every respect."""

from __future__ import annotations

import io
import json
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.types import ASGIApp

from lightmark.cli import main
from lightmark.data.synthetic import synthetic_samples
from lightmark.face import Face
from lightmark.landmarker import Landmarker
from lightmark.schema import Schema
from lightmark.serve.app import build_app
from lightmark.serve.endpoint import Endpoint, Limits
from lightmark.serve.openapi import FACE, FACE_MEASURES, PICTURE
from lightmark.serve.workers import Workers

Ask: TypeAlias = Callable[..., Any]  # method, path, body, headers → answer
Serving: TypeAlias = Callable[[ASGIApp], AbstractContextManager[Ask]]
PATH = "/v1/landmarks"
JPEG = {"Content-Type": "image/jpeg"}
FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
MOST = 60_000  # bytes of a body


class Fake:
    """Sees two faces of five points in every picture, scored 0.9 and 0.4, once `go` is set; notes what it began."""

    def __init__(self, confidence: bool = True) -> None:
        self.spec = SimpleNamespace(confidence=confidence)
        self.go = threading.Event()
        self.go.set()
        self.begun = 0

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Waits, then answers."""
        self.begun += 1
        self.go.wait(20)
        points, box = np.full((5, 2), 1.5), np.array([0.0, 0, 3, 3])
        return [Face(points, box, FIVE, confidence=confidence) for confidence in (0.9, 0.4)]


def app_of(landmarker: Any, workers: Workers | None = None, seconds: float = 20.0) -> ASGIApp:
    """The endpoint alone, with small limits."""
    endpoint = Endpoint(landmarker, workers or Workers(2, 4), Limits(MOST, 1_000_000, seconds))
    return build_app({}, endpoint, "http://127.0.0.1/")


def encoded(form: str, size: tuple[int, int] = (40, 30)) -> bytes:
    """A picture of noise in that format."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, form)
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG of 100 bytes that claims 60000×60000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def ask(serving: Serving) -> Iterator[Ask]:
    """The endpoint with the fake model."""
    with serving(app_of(Fake())) as client:
        yield client


def reason(answer: Any, status: int) -> str:
    """Reason in a response that must have this status: JSON with nothing else in it."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    (text,) = answer.json.values()
    assert list(answer.json) == ["error"]
    assert "Traceback" not in text
    assert str(Path(__file__).parents[2]) not in text
    return text


def test_the_answer_is_that_of_the_command(serving: Serving) -> None:
    """The response for a synthetic face equals that of `lightmark detect -` and fits the OpenAPI document."""
    stream = io.BytesIO()
    Image.fromarray(np.asarray(synthetic_samples(5, 0)[4].image)).save(stream, "PNG")
    command = ["detect", "-", "--model", "fast", "--format", "jsonl", "--threads", "1"]
    printed = CliRunner().invoke(main, command, input=stream.getvalue())
    with serving(app_of(Landmarker("fast", threads=1))) as ask:
        answer = ask("POST", PATH, stream.getvalue(), {"Content-Type": "image/png"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == json.loads(printed.stdout)
    assert len(answer.json["faces"]) == 1
    assert set(answer.json) == set(PICTURE["properties"])
    assert set(answer.json["faces"][0]) == set(FACE["properties"]) - set(FACE_MEASURES)


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/X-ANYTHING", "application/octet-stream; version=1"])
def test_the_format_is_recognised_from_the_bytes(ask: Ask, kind: str) -> None:
    """Any type of a picture, or of bytes, is good for any picture."""
    answer = ask("POST", PATH, encoded("WEBP"), {"Content-Type": kind})
    assert answer.status == 200
    assert {**answer.json, "faces": len(answer.json["faces"])} == {"file": "-", "width": 40, "height": 30, "faces": 2}


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "image"]
)
def test_what_any_web_page_may_send_is_refused(ask: Ask, kind: str | None) -> None:
    """Types of forms, and none: 415 with the command that does it right, and what is accepted."""
    answer = ask("POST", PATH, encoded("JPEG"), {} if kind is None else {"Content-Type": kind})
    assert "--data-binary @photo.jpg" in reason(answer, 415)
    assert answer.headers["Accept"] == "image/*, application/octet-stream"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "it is empty"),
        (b"hello, is this a picture?", "no format that is known here"),
        (encoded("JPEG")[:300], "cannot be read as a picture"),
        (encoded("PNG")[:-40], "cannot be read as a picture"),
        (bomb(), "60000×60000 are 3,600,000,000 pixels, more than the limit of 1,000,000"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no format that is known here"),
    ],
)
def test_a_body_that_is_no_picture_gets_the_reason(ask: Ask, body: bytes, text: str) -> None:
    """Empty, text, cut, a bomb, a program: 422 with the reason."""
    assert text in reason(ask("POST", PATH, body, JPEG), 422)


def test_a_format_whose_reader_is_missing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """HEIC without pillow-heif is 415, not the sender's fault; the reason says what the server lacks."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    answer = ask("POST", PATH, b"\0\0\0\x18ftypheic" + bytes(40), {"Content-Type": "image/heic"})
    assert "HEIC needs pillow-heif" in reason(answer, 415)


def test_min_confidence_leaves_out_doubtful_faces(ask: Ask) -> None:
    """As --min-confidence does, for this request."""
    found = [
        ask("POST", f"{PATH}?min_confidence={least}", encoded("PNG"), JPEG).json["faces"] for least in ("0", "0.5", "1")
    ]
    assert [len(faces) for faces in found] == [2, 1, 0]


@pytest.mark.parametrize("value", ["much", "", "1.1", "-0.1", "nan"])
def test_min_confidence_is_a_probability(ask: Ask, value: str) -> None:
    """Anything else is 422 with the range."""
    assert "a number from 0 to 1" in reason(ask("POST", f"{PATH}?min_confidence={value}", encoded("PNG"), JPEG), 422)


def test_a_misspelt_parameter_is_refused(ask: Ask) -> None:
    """It would otherwise silently do nothing."""
    said = reason(ask("POST", f"{PATH}?minscore=0.5", encoded("PNG"), JPEG), 422)
    assert "there are min_confidence and measures" in said


def test_measures_are_returned_on_request(ask: Ask) -> None:
    """As `detect --measures` gives them; with other words 422."""
    plain, asked, refused = (
        ask("POST", f"{PATH}?measures={word}", encoded("PNG"), JPEG) for word in ("false", "true", "1")
    )
    assert "inside" not in plain.json["faces"][0]
    assert len(asked.json["faces"][0]["inside"]) == len(asked.json["faces"][0]["points"])
    assert asked.json["faces"][0].keys() - plain.json["faces"][0].keys() <= set(FACE_MEASURES)
    assert "needs true or false" in reason(refused, 422)


def test_min_confidence_needs_a_model_with_confidence(serving: Serving) -> None:
    """A model without confidence cannot leave anything out."""
    with serving(app_of(Fake(confidence=False))) as ask:
        assert "gives no confidence" in reason(ask("POST", f"{PATH}?min_confidence=0.5", encoded("PNG"), JPEG), 422)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(ask: Ask, method: str) -> None:
    """405 and what is allowed; OPTIONS, too, by which browsers ask whether other sites may send pictures here."""
    answer = ask(method, PATH)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_body_above_the_limit_is_refused(ask: Ask) -> None:
    """A client that sends it all the same gets the response, not a reset connection."""
    for _ in range(5):
        assert "60,000 bytes" in reason(ask("POST", PATH, bytes(8_000_000), JPEG), 413)


def test_a_body_without_a_content_length(ask: Ask) -> None:
    """In chunks it is counted as it comes."""
    chunks = (bytes(10_000) for _ in range(100))
    assert "60,000 bytes" in reason(ask("POST", PATH, chunks, JPEG), 413)


def test_a_body_announced_too_large_need_not_be_sent(ask: Ask) -> None:
    """The response is sent after the header alone."""
    with socket.create_connection(("127.0.0.1", ask.port), timeout=10) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n".encode())
        connection.sendall(b"Content-Length: 999999999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_never_ends_is_not_waited_for(serving: Serving, wait_until: Callable[..., None]) -> None:
    """408 when the time is over, and its place is free again."""
    workers = Workers(1, 0)
    with (
        serving(app_of(Fake(), workers, seconds=0.2)) as ask,
        socket.create_connection(("127.0.0.1", ask.port), timeout=10) as connection,
    ):
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n".encode())
        connection.sendall(b"Content-Length: 1000\r\n\r\nbegin")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
        wait_until(lambda: not workers.busy)


def test_a_body_that_trickles_holds_no_place(serving: Serving) -> None:
    """Whoever has sent all of theirs is served meanwhile, where there is but one place."""
    with (
        serving(app_of(Fake(), Workers(1, 0))) as ask,
        socket.create_connection(("127.0.0.1", ask.port), timeout=10) as connection,
    ):
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n".encode())
        connection.sendall(b"Content-Length: 1000\r\n\r\nbegin")
        assert ask("POST", PATH, encoded("PNG"), JPEG).status == 200


def test_bodies_share_a_room(serving: Serving, wait_until: Callable[..., None]) -> None:
    """What all of them hold is no more than places times the limit of one: the next is refused, and room comes back."""
    workers = Workers(1, 0)
    endpoint = Endpoint(Fake(), workers, Limits(MOST, 1_000_000, 20.0))
    with serving(build_app({}, endpoint, "http://127.0.0.1/")) as ask:
        with socket.create_connection(("127.0.0.1", ask.port), timeout=10) as connection:
            connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n".encode())
            connection.sendall(f"Content-Length: {MOST}\r\n\r\n".encode() + bytes(MOST - 1))
            wait_until(lambda: endpoint._budget.free == 1)
            assert "try again" in reason(ask("POST", PATH, encoded("PNG"), JPEG), 503)
        wait_until(lambda: endpoint._budget.free == MOST)
        assert ask("POST", PATH, encoded("PNG"), JPEG).status == 200
        assert endpoint._budget.free == MOST


def test_bombs_keep_nobody_waiting(serving: Serving) -> None:
    """Two pictures of thousands of scans are refused at once; a third visitor gets an answer."""
    stream = io.BytesIO()
    Image.new("L", (900, 900)).save(stream, "JPEG", progressive=True)
    jpeg = stream.getvalue()
    content = jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * 400 + b"\xff\xd9"
    with serving(app_of(Fake(), Workers(2, 0))) as ask:
        for _ in range(2):
            assert "more than 100 scans" in reason(ask("POST", PATH, content, JPEG), 422)
        assert ask("POST", PATH, encoded("PNG"), JPEG).status == 200


def ask_in_thread(ask: Ask, answers: list[Any]) -> threading.Thread:
    """A thread that sends a good picture and notes the answer."""
    thread = threading.Thread(target=lambda: answers.append(ask("POST", PATH, encoded("PNG"), JPEG)))
    thread.start()
    return thread


def test_a_full_queue_refuses_and_loses_nothing(serving: Serving, wait_until: Callable[..., None]) -> None:
    """One running, one queued; the next gets 503 with Retry-After; the first two are served."""
    fake, workers, answers = Fake(), Workers(1, 1), []
    fake.go.clear()
    with serving(app_of(fake, workers)) as ask:
        threads = [ask_in_thread(ask, answers) for _ in range(2)]
        wait_until(lambda: workers.full)
        refused = ask("POST", PATH, encoded("PNG"), JPEG)
        assert "queue" in reason(refused, 503)
        assert refused.headers["Retry-After"] == "1"
        fake.go.set()
        for thread in threads:
            thread.join(10)
        assert [answer.status for answer in answers] == [200, 200]
        assert ask("POST", PATH, encoded("PNG"), JPEG).status == 200


def test_a_slow_response_times_out(serving: Serving, wait_until: Callable[..., None]) -> None:
    """503 after the time, also for what waited behind it and never began; the place is taken until the work ends."""
    fake, workers, answers = Fake(), Workers(1, 1), []
    fake.go.clear()
    with serving(app_of(fake, workers, seconds=1.5)) as ask:
        threads = [ask_in_thread(ask, answers) for _ in range(2)]
        for thread in threads:
            thread.join(10)
        for answer in answers:
            assert "no answer within 1.5 s" in reason(answer, 503)
            assert answer.headers["Retry-After"] == "1"
        assert workers.busy
        fake.go.set()
        wait_until(lambda: not workers.busy)
        assert fake.begun == 1


def test_a_visitor_who_leaves_is_not_worked_for(serving: Serving, wait_until: Callable[..., None]) -> None:
    """A queued request that is cancelled frees its place at once."""
    fake, workers, answers, lines = Fake(), Workers(1, 1), [], []
    fake.go.clear()
    endpoint = Endpoint(fake, workers, Limits(MOST, 1_000_000, 20.0))
    with serving(build_app({}, endpoint, "http://127.0.0.1/", lines.append)) as ask:
        thread = ask_in_thread(ask, answers)
        wait_until(lambda: fake.begun == 1)
        body = encoded("PNG")
        with socket.create_connection(("127.0.0.1", ask.port), timeout=10) as connection:
            connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n".encode())
            connection.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(lambda: workers.full)
        wait_until(lambda: len(lines) == 1)
        assert " 499 " in lines[0]
        assert workers.busy
        assert not workers.full
        fake.go.set()
        thread.join(10)
    assert answers[0].status == 200
    assert fake.begun == 1


@given(
    body=st.binary(max_size=400), head=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"])
)
@settings(max_examples=60, deadline=None)
def test_random_bytes_never_break_the_server(ask: Ask, body: bytes, head: bytes) -> None:
    """Noise, also behind the first bytes of a format, is refused with a reason, or is a picture after all."""
    answer = ask("POST", PATH, head + body, JPEG)
    assert answer.status in (200, 422), answer.body


@given(data=st.data(), form=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"]))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
def test_damaged_pictures_never_break_the_server(ask: Ask, data: st.DataObject, form: str) -> None:
    """Real files of every format with some bytes changed or cut off."""
    body = bytearray(encoded(form, (12, 8)))
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    answer = ask("POST", PATH, bytes(body[: data.draw(st.integers(1, len(body)))]), JPEG)
    assert answer.status in (200, 422), answer.body


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST /v1/landmarks?min_confidence=\xff HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"hello",
        b"POST /v1/landmarks HTTP/9.9",
    ],
)
def test_what_is_no_http_is_refused(ask: Ask, request_line: bytes) -> None:
    """A broken request gets a 4xx or nothing, and the server lives."""
    with socket.create_connection(("127.0.0.1", ask.port), timeout=10) as connection:
        connection.sendall(request_line + b"\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100)[9:12] in (b"400", b"404", b"415")
    assert ask("GET", "/healthz").status == 200
