"""Conversion of faces to `supervision.KeyPoints`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmark.errors import MissingExtraError, SchemaError
from lightmark.face import Face

if TYPE_CHECKING:
    from supervision import KeyPoints


def faces_to_supervision(faces: Sequence[Face]) -> KeyPoints:
    """Convert the `faces` of one picture to `supervision.KeyPoints` of class 0, "face".

    `detection_confidence` is the faces' confidence, if all have one. `keypoint_confidence` is not set, since an
    expected error in pixels is no probability; it is in `data["expected_error"]` (F, N), and the box in `data["box"]`
    (F, 4). Raises `SchemaError` for faces of several schemas, `MissingExtraError` without supervision 0.29 or later.
    """
    key_points = _key_points_class()
    schemas = {face.schema.name for face in faces}
    if len(schemas) > 1:
        raise SchemaError(f"faces of {', '.join(sorted(schemas))}: KeyPoints hold one number of points; convert each")
    if not faces:
        return key_points.empty()
    return key_points(
        xy=np.stack([face.points for face in faces]).astype(np.float32),
        class_id=np.zeros(len(faces), dtype=int),
        detection_confidence=_stacked([face.confidence for face in faces]),
        data=_data(faces),
    )


def _key_points_class() -> type[KeyPoints]:
    install = 'pip install "lightmark[supervision]"'
    try:
        from supervision import KeyPoints
    except ImportError as error:
        raise MissingExtraError(f"these faces are to go to supervision, which is not installed: {install}") from error
    # Before 0.29 there was one field for the confidence of the detection and of the points.
    if "detection_confidence" not in KeyPoints.__dataclass_fields__:
        raise MissingExtraError(f"this supervision is older than 0.29: {install}")
    checked: type[KeyPoints] = KeyPoints
    return checked


def _stacked(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """`values` of the faces as one array; None if one of them is None."""
    return None if any(value is None for value in values) else np.asarray(values, dtype=np.float32)


def _data(faces: Sequence[Face]) -> dict[str, Any]:
    data: dict[str, Any] = {"class_name": np.full(len(faces), "face"), "box": np.stack([face.box for face in faces])}
    expected_error = _stacked([face.expected_error for face in faces])
    return data if expected_error is None else data | {"expected_error": expected_error}
