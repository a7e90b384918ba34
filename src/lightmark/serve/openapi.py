"""OpenAPI document of the endpoint, and an HTML page generated from it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from lightmark import __version__

if TYPE_CHECKING:
    from lightmark.serve.endpoint import Limits

SCHEMAS = "#/components/schemas"
NUMBERS = {"type": "array", "items": {"type": "number"}}
POSE = {
    "type": "object",
    "description": "Degrees: yaw > 0 turns the nose to the right of the picture, pitch > 0 lifts it, roll > 0 tilts "
    "the head counter-clockwise.",
    "required": ["yaw", "pitch", "roll"],
    "properties": {name: {"type": "number"} for name in ("yaw", "pitch", "roll")},
}
SIDES = {"left": {"type": "number"}, "right": {"type": "number"}}
FACE_MEASURES: dict[str, Any] = {
    "inside": {"type": "array", "items": {"type": "boolean"}, "description": "Which points are in the picture."},
    "five_points": {
        "type": "array", "items": {**NUMBERS, "minItems": 2, "maxItems": 2},
        "description": "The person's right eye, left eye, nose tip, right and left mouth corner.",
    },
    "eye_openness": {
        "type": "object", "properties": SIDES,
        "description": "Openness of the person's own left and right eye, from 0 (closed) to 1 (wide).",
    },
    "eyes_closed": {
        "type": "object", "properties": {"left": {"type": "boolean"}, "right": {"type": "boolean"}},
        "description": "Whether the eyes are closed.",
    },
    "mouth_openness": {"type": "number", "description": "Openness of the mouth, from 0 (closed) to 1 (wide)."},
    "transform": {
        "type": "array", "items": {**NUMBERS, "minItems": 4, "maxItems": 4}, "minItems": 4, "maxItems": 4,
        "description": "From the head to a camera of 63 degrees from top to bottom, in OpenCV's axes and units of the "
        "distance of the outer eye corners.",
    },
}  # fmt: skip
FACE = {
    "type": "object",
    "required": ["schema", "box", "points"],
    "properties": {
        "schema": {"type": "string", "description": "Which points these are, such as ibug68."},
        "box": {**NUMBERS, "minItems": 4, "maxItems": 4, "description": "x0, y0, x1, y1 of the face."},
        "points": {"type": "array", "items": {**NUMBERS, "minItems": 2, "maxItems": 2}, "description": "x, y each."},
        "expected_error": {**NUMBERS, "description": "Expected distance of each point from its true place, in pixels."},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1, "description": "Probability of a face."},
        "pose": POSE,
        **FACE_MEASURES,
    },
}
PICTURE = {
    "type": "object",
    "required": ["file", "width", "height", "faces"],
    "properties": {
        "file": {"const": "-", "description": "As in the output of `lightmark detect -`."},
        "width": {"type": "integer", "minimum": 1, "description": "Pixels of the picture once upright."},
        "height": {"type": "integer", "minimum": 1},
        "faces": {"type": "array", "items": {"$ref": f"{SCHEMAS}/Face"}, "description": "Largest first."},
    },
}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
HEALTH = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
MIN_SCORE = {
    "name": "min_confidence",
    "in": "query",
    "description": "Drop faces whose confidence is below this value (0–1).",
    "schema": {"type": "number", "minimum": 0, "maximum": 1},
}
MEASURES = {
    "name": "measures",
    "in": "query",
    "description": "Also give the measures of each face: from inside to transform.",
    "schema": {"type": "boolean", "default": False},
}
BINARY = {"schema": {"type": "string", "format": "binary"}}


def describe(limits: Limits) -> dict[str, Any]:
    """OpenAPI 3.1 document of the endpoint within its limits."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lightmark",
            "version": __version__,
            "description": "Facial landmarks of a picture. Coordinates are pixels of the upright picture, x then y, "
            "counted from 0 at the centre of the first pixel.",
        },
        "paths": {"/v1/landmarks": {"post": _landmarks(limits)}, "/healthz": {"get": _health()}},
        "components": {"schemas": {"Face": FACE, "Picture": PICTURE, "Error": ERROR}},
    }


def _landmarks(limits: Limits) -> dict[str, Any]:
    seconds = f"{limits.seconds:g} s"
    refusals = {
        408: f"The body did not arrive within {seconds}.",
        413: f"The body is larger than {limits.max_bytes:,} bytes.",
        415: "The Content-Type is no picture's, or the picture's format needs what this server has not installed.",
        422: f"The bytes are not a complete picture of at most {limits.max_pixels:,} pixels, or min_confidence is no "
        "number from 0 to 1, or measures is neither true nor false, or the query has other parameters.",
        503: f"The queue is full, or there was no answer within {seconds}; Retry-After says when to try again.",
    }
    return {
        "operationId": "landmarks",
        "summary": "Find the faces of a picture and their landmarks",
        "description": "The body is the picture's bytes as they are: JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000, PNM, "
        "and AVIF and HEIC where the server can read them. A picture without a face is no error.",
        "parameters": [MIN_SCORE, MEASURES],
        "requestBody": {"required": True, "content": {"image/*": BINARY, "application/octet-stream": BINARY}},
        "responses": {
            "200": _json("The faces.", {"$ref": f"{SCHEMAS}/Picture"}),
            **{str(status): _json(reason, {"$ref": f"{SCHEMAS}/Error"}) for status, reason in refusals.items()},
        },
    }


def _health() -> dict[str, Any]:
    return {
        "operationId": "health",
        "summary": "Whether the server is up",
        "responses": {"200": _json("The server is up.", HEALTH)},
    }


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def docs_page(document: dict[str, Any], url: str) -> str:
    """HTML of an OpenAPI `document` for people who reach the server at `url`; needs nothing but /docs.css."""
    operations = [
        _operation_html(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    title = f"{document['info']['title']} {document['info']['version']}"
    curl = f"curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg {url}v1/landmarks"
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<title>{escape(title)}</title>\n<link rel="stylesheet" href="/docs.css">\n'
        f"<h1>{escape(title)}</h1>\n<p>{escape(document['info']['description'])}</p>\n<pre>{escape(curl)}</pre>\n"
        f"{''.join(operations)}<h2>Face</h2>\n{_fields_html(FACE)}"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>. <a href="/">The page</a> does the same without '
        "sending the picture anywhere.</p>\n</html>\n"
    )


def _operation_html(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [f"<h2>{method.upper()} {escape(path)}</h2>\n<p>{escape(operation['summary'])}.</p>\n"]
    if "description" in operation:
        parts.append(f"<p>{escape(operation['description'])}</p>\n")
    if "parameters" in operation:
        rows = [(one["name"], one["description"]) for one in operation["parameters"]]
        parts.append(f"<h3>Query</h3>\n{_list_html(rows)}")
    rows = [(status, answer["description"]) for status, answer in operation["responses"].items()]
    parts.append(f"<h3>Responses</h3>\n{_list_html(rows)}")
    return "".join(parts)


def _fields_html(schema: dict[str, Any]) -> str:
    return _list_html([(name, field.get("description", "")) for name, field in schema["properties"].items()])


def _list_html(rows: list[tuple[str, str]]) -> str:
    items = [f"<dt><code>{escape(term)}</code></dt><dd>{escape(text)}</dd>\n" for term, text in rows]
    return f"<dl>\n{''.join(items)}</dl>\n"
