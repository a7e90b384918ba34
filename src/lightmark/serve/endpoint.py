"""HTTP endpoint POST /v1/landmarks: encoded picture → faces as JSON, as from `lightmark detect`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from lightmark.errors import ImageError, MissingExtraError
from lightmark.landmarker import Landmarker
from lightmark.photos.detect import Detection
from lightmark.photos.inputs import Input
from lightmark.serve.workers import BusyError, Workers
from lightmark.source import to_picture

T = TypeVar("T")

LEFT = 499  # nginx's status for clients that disconnected; it appears in the log only
RETRY = {"Retry-After": "1"}


@dataclass(frozen=True)
class Limits:
    """Limits of a request: bytes of the body, pixels of the picture, seconds from header to response."""

    max_bytes: int
    max_pixels: int
    seconds: float


class MemoryBudget:
    """Memory budget in bytes, shared by all request bodies."""

    def __init__(self, size: int) -> None:
        self.free = size

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Context with the share of one body, released at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.free += share.size


class Share:
    """Part of the memory budget held by one request body."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.size = 0

    def take(self, size: int) -> None:
        """Increase the share by `size` bytes; raises `BusyError` if the budget is exhausted."""
        if size > self._budget.free:
            raise BusyError
        self._budget.free -= size
        self.size += size


class Endpoint:
    """Handler of POST /v1/landmarks: detects faces with `landmarker` on `workers`, within `limits`."""

    def __init__(self, landmarker: Landmarker, workers: Workers, limits: Limits) -> None:
        self._landmarker = landmarker
        self._workers = workers
        self._budget = MemoryBudget(workers.size * limits.max_bytes)
        self.limits = limits

    async def __call__(self, request: Request) -> Response:
        """JSON response for one picture; raises `HTTPException` with the reason for an invalid request."""
        require_picture_type(request)
        require_known_parameters(request)
        min_confidence, measures = self._min_confidence(request), measures_asked(request)
        require_length(request, self.limits.max_bytes)
        try:
            return Response(await self._detect(request, min_confidence, measures), media_type="application/json")
        except BusyError as error:
            raise HTTPException(503, "all places in the queue are taken; try again", RETRY) from error
        except ClientDisconnect:
            return Response(status_code=LEFT)

    async def _detect(self, request: Request, min_confidence: float | None, measures: bool) -> bytes:
        body_read = False
        try:
            async with asyncio.timeout(self.limits.seconds):
                # The place in the queue is taken after the body is read, so that slow uploads do not block it.
                with self._budget.share() as share:
                    body = await read_body(request, self.limits.max_bytes, share)
                    body_read = True
                    pixels = self.limits.max_pixels
                    detect = partial(detect_faces, self._landmarker, body, pixels, min_confidence, measures)
                    with self._workers.place() as place:
                        return await while_connected(request, place.run(detect))
        except TimeoutError as error:
            if body_read:
                reason = f"no answer within {self.limits.seconds:g} s: the server is busy, or the picture very large"
                raise HTTPException(503, reason, RETRY) from error
            raise HTTPException(408, f"the body did not arrive within {self.limits.seconds:g} s") from error
        except MissingExtraError as error:
            raise HTTPException(415, str(error)) from error
        except ImageError as error:
            raise HTTPException(422, str(error)) from error

    def _min_confidence(self, request: Request) -> float | None:
        text = request.query_params.get("min_confidence")
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise HTTPException(422, "min_confidence: needs a number from 0 to 1")
        if not self._landmarker.spec.confidence:
            raise HTTPException(422, "min_confidence: the model of this server gives no confidence; leave it out")
        return value


def require_known_parameters(request: Request) -> None:
    """Raise `HTTPException` 422 for a query with other parameters than min_confidence and measures."""
    if not request.query_params.keys() <= {"min_confidence", "measures"}:
        raise HTTPException(422, "unknown query parameter; there are min_confidence and measures")


def measures_asked(request: Request) -> bool:
    """Whether the query asks for measures; raises `HTTPException` 422 for another value than true or false."""
    text = request.query_params.get("measures", "false")
    if text not in ("true", "false"):
        raise HTTPException(422, "measures: needs true or false")
    return text == "true"


def require_picture_type(request: Request) -> None:
    """Raise `HTTPException` 415 unless the Content-Type is image/* or application/octet-stream.

    The format of the picture is detected from its bytes; this is a protection against cross-site requests. A web page
    of any origin can send the three types of HTML forms, or none, without asking; for image/* and octet-stream the
    browser first sends a preflight request, which is refused.
    """
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type.startswith("image/") or media_type == "application/octet-stream":
        return
    raise HTTPException(
        415,
        "the body is to be one picture's bytes, under Content-Type image/* or application/octet-stream; such as "
        "curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg",
        {"Accept": "image/*, application/octet-stream"},
    )


def require_length(request: Request, most: int) -> None:
    """Raise `HTTPException` 413 if the Content-Length is above `most` bytes."""
    length = request.headers.get("Content-Length", "0")
    if length.isdecimal() and int(length) > most:
        raise too_large(most)


async def read_body(request: Request, most: int, share: Share) -> bytes:
    """Read the body and count it in `share`; raises `HTTPException` 413 for more than `most` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large(most)
        share.take(len(chunk))
    return bytes(body)


def too_large(most: int) -> HTTPException:
    """Error 413 for a body of more than `most` bytes."""
    return HTTPException(413, f"the body is larger than the limit of {most:,} bytes")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Result of `work`; if the client disconnects first, `work` is cancelled and `ClientDisconnect` raised."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        waiting.cancel()


async def disconnected(request: Request) -> None:
    """Return when the client of a request, whose body has been read, disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def detect_faces(
    landmarker: Landmarker, body: bytes, max_pixels: int, min_confidence: float | None, measures: bool = False
) -> bytes:
    """JSON of the faces in an encoded picture with at least `min_confidence`; raises what `to_picture` raises."""
    picture = to_picture(body, max_pixels, "picture")
    faces = landmarker.detect(picture)
    if min_confidence is not None:
        faces = [face for face in faces if face.confidence is not None and face.confidence >= min_confidence]
    detection = Detection(Input(None, Path()), picture.shape[1], picture.shape[0], faces)
    return json.dumps(detection.to_dict(measures)).encode()
