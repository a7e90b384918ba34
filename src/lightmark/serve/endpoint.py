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

LEFT = 499  # as nginx logs visitors that did not wait; nobody is there to read it
RETRY = {"Retry-After": "1"}


@dataclass(frozen=True)
class Limits:
    """What one request may take: bytes of its body, pixels of its picture, seconds from its header to its answer."""

    max_bytes: int
    max_pixels: int
    seconds: float


class Room:
    """Memory budget in bytes, shared by all request bodies."""

    def __init__(self, size: int) -> None:
        self.free = size

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Context manager with the share of one body, released at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.free += share.size


class Share:
    """Part of the memory budget held by one request body."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size = 0

    def take(self, size: int) -> None:
        """Take so many bytes more; raises `BusyError` where there are not as many."""
        if size > self._room.free:
            raise BusyError
        self._room.free -= size
        self.size += size


class Endpoint:
    """Answers requests with the faces that `landmarker` finds, on `workers`, within `limits`."""

    def __init__(self, landmarker: Landmarker, workers: Workers, limits: Limits) -> None:
        self._landmarker = landmarker
        self._workers = workers
        self._room = Room(workers.size * limits.max_bytes)
        self.limits = limits

    async def __call__(self, request: Request) -> Response:
        """The JSON of one picture; raises `HTTPException` with the reason for any other request."""
        require_picture_type(request)
        least = self._min_confidence(request)
        require_length(request, self.limits.max_bytes)
        try:
            return Response(await self._find(request, least), media_type="application/json")
        except BusyError as error:
            raise HTTPException(503, "all places in the queue are taken; try again", RETRY) from error
        except ClientDisconnect:
            return Response(status_code=LEFT)

    async def _find(self, request: Request, least: float | None) -> bytes:
        whole = False
        try:
            async with asyncio.timeout(self.limits.seconds):
                # A place is taken once the body is here: one that trickles keeps nobody out.
                with self._room.share() as share:
                    body = await read_body(request, self.limits.max_bytes, share)
                    whole = True
                    find = partial(find_faces, self._landmarker, body, self.limits.max_pixels, least)
                    with self._workers.place() as place:
                        return await while_connected(request, place.run(find))
        except TimeoutError as error:
            if whole:
                reason = f"no answer within {self.limits.seconds:g} s: the server is busy, or the picture very large"
                raise HTTPException(503, reason, RETRY) from error
            raise HTTPException(408, f"the body did not arrive within {self.limits.seconds:g} s") from error
        except MissingExtraError as error:
            raise HTTPException(415, str(error)) from error
        except ImageError as error:
            raise HTTPException(422, str(error)) from error

    def _min_confidence(self, request: Request) -> float | None:
        for name in request.query_params:
            if name != "min_confidence":
                raise HTTPException(422, "unknown query parameter; the only one is min_confidence")
        text = request.query_params.get("min_confidence")
        if text is None:
            return None
        try:
            least = float(text)
        except ValueError:
            least = -1.0
        if not 0 <= least <= 1:
            raise HTTPException(422, "min_confidence: needs a number from 0 to 1")
        if not self._landmarker.spec.confidence:
            raise HTTPException(422, "min_confidence: the model of this server gives no confidence; leave it out")
        return least


def require_picture_type(request: Request) -> None:
    """Raise `HTTPException` 415 where the header does not say that the body is a picture.

    What the bytes are is decided by themselves. But the three types that forms have, and none at all, are what any
    web page may send to any server; for these two a browser asks first, and is not given leave.
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
    """Raise `HTTPException` 413 where the header announces more than `most` bytes."""
    announced = request.headers.get("Content-Length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise too_large(most)


async def read_body(request: Request, most: int, share: Share) -> bytes:
    """The whole body, counted in `share`; raises `HTTPException` 413 for more than `most` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large(most)
        share.take(len(chunk))
    return bytes(body)


def too_large(most: int) -> HTTPException:
    """The refusal of a body."""
    return HTTPException(413, f"the body is larger than the limit of {most:,} bytes")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; where the visitor leaves first, cancels it and raises `ClientDisconnect`."""
    doing, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left(request))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise ClientDisconnect
    finally:
        doing.cancel()
        leaving.cancel()


async def left(request: Request) -> None:
    """Return when the visitor, whose body is read, has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def find_faces(landmarker: Landmarker, body: bytes, max_pixels: int, least: float | None) -> bytes:
    """JSON of the faces in an encoded picture, those of a `least` confidence; raises what `to_picture` raises."""
    picture = to_picture(body, max_pixels, "picture")
    faces = landmarker.detect(picture)
    if least is not None:
        faces = [face for face in faces if face.confidence is not None and face.confidence >= least]
    detection = Detection(Input(None, Path()), picture.shape[1], picture.shape[0], faces)
    return json.dumps(detection.to_dict()).encode()
