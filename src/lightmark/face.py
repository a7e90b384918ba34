"""Face: landmarks, box, expected errors, confidence and pose of one face."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import GeometryError, SchemaError
from lightmark.geometry import Array
from lightmark.image import Picture
from lightmark.pose import Axes, Pose, assumed_camera, head_pose, head_transform
from lightmark.schema import Schema

if TYPE_CHECKING:  # rarely used modules are imported where they are used, so that `detect` starts faster
    from lightmark.alignment import AlignedCrop, Template
    from lightmark.measures import Sides


@dataclass(frozen=True, eq=False)
class Face:
    """Landmarks `points` (N, 2) of `schema` in image pixels, and the 68-point tight `box` (4,).

    `expected_error` (N,) is the mean error to expect of each point, in image pixels; `confidence`, from 0 to 1, is the
    probability that the box frames a face. Both are None for a model without confidence.
    """

    points: Array
    box: Array
    schema: Schema
    expected_error: Array | None = None
    confidence: float | None = None

    def __repr__(self) -> str:
        x0, y0, x1, y1 = (round(value) for value in self.box.tolist())
        parts = [f"{len(self.points)} points of {self.schema.name}", f"box {x0}, {y0} to {x1}, {y1}"]
        if self.confidence is not None:
            parts.append(f"confidence {self.confidence:.2f}")
        if self.expected_error is not None:
            parts.append(f"expected error {float(self.expected_error.mean()):.1f} px")
        if self.pose is not None:
            parts.append(f"yaw {self.pose.yaw:.0f}°, pitch {self.pose.pitch:.0f}°, roll {self.pose.roll:.0f}°")
        return f"Face({', '.join(parts)})"

    @cached_property
    def pose(self) -> Pose | None:
        """Head pose computed from the points on first access; None for other schemas or collinear points.

        Available for the 68 and for WFLW's 98 points, see `lightmark.pose.head_pose`.
        """
        try:
            return head_pose(self.points, self.schema)
        except GeometryError:
            return None

    @cached_property
    def eye_openness(self) -> Sides[float] | None:
        """Openness of the person's own left and right eye, from 0 (closed) to 1 (wide); None without a pose.

        See `lightmark.measures.eye_openness`.
        """
        from lightmark.measures import eye_openness

        return None if self.pose is None else eye_openness(self.points, self.schema, self.pose)

    @property
    def eyes_closed(self) -> Sides[bool] | None:
        """Whether the person's own left and right eye are closed; None without a pose.

        See `lightmark.measures.eyes_closed`.
        """
        from lightmark.measures import eyes_closed

        return None if self.eye_openness is None else eyes_closed(self.eye_openness)

    @cached_property
    def mouth_openness(self) -> float | None:
        """Openness of the mouth, from 0 (closed) to 1 (wide); None without a pose.

        See `lightmark.measures.mouth_openness`.
        """
        from lightmark.measures import mouth_openness

        return None if self.pose is None else mouth_openness(self.points, self.schema, self.pose)

    @property
    def five_points(self) -> Array:
        """Right eye, left eye, nose tip, right and left mouth corner (5, 2), as recognition models order them.

        Left and right are the person's own. Raises `SchemaError` for schemas without them, see
        `lightmark.schemes.five_points`.
        """
        from lightmark.schemes import five_points

        return five_points(self.points, self.schema)

    def aligned(self, image: Picture, size: int = 112, template: Template | ArrayLike = "arcface") -> AlignedCrop:
        """Upright crop of the face in `image`, as recognition models expect it, and its matrix (2, 3).

        `template`: "arcface", "ffhq", or where the `five_points` go in the crop (5, 2). See
        `lightmark.alignment.align_crop`.
        """
        from lightmark.alignment import align_crop

        return align_crop(image, self.five_points, size, template)

    def transform(self, camera: ArrayLike, axes: Axes = "opencv") -> Array | None:
        """Rigid transform (4, 4) from head to camera coordinates; None without a pose.

        For an unknown camera pass `lightmark.pose.assumed_camera(width, height)`. Axes and units:
        `lightmark.pose.head_transform`.
        """
        return None if self.pose is None else head_transform(self.points, self.schema, camera, axes)

    def inside(self, width: int, height: int) -> NDArray[np.bool_]:
        """Mask (N,) of the points within a picture of `width`×`height` pixels; the model extrapolates the others."""
        x, y = self.points.T
        return np.asarray((x >= -0.5) & (y >= -0.5) & (x < width - 0.5) & (y < height - 0.5))

    def to(self, scheme: str) -> Face:
        """This face with the points of another scheme: "ibug68", "ibug51", "five" or "cofw29".

        Expected errors are the weighted means of those of the source points. Raises `SchemaError` for unknown
        conversions; `lightmark.schemes.conversion` says which are exact.
        """
        from lightmark.schemes import conversion

        schema, weights = conversion(self.schema, scheme)
        errors = None if self.expected_error is None else np.abs(weights) @ self.expected_error
        return replace(self, points=weights @ self.points, schema=schema, expected_error=errors)

    def to_dict(self, size: tuple[int, int] | None = None) -> dict[str, Any]:
        """JSON-ready dict: schema name, box, points and, if known, expected_error, confidence and pose.

        With the `size` (width, height) of the picture also `measures` of the face. Pixels are rounded to three
        decimals, far below the error of any point.
        """
        fields: dict[str, Any] = {"schema": self.schema.name}
        fields |= {"box": _rounded(self.box), "points": _rounded(self.points)}
        if self.expected_error is not None:
            fields["expected_error"] = _rounded(self.expected_error)
        if self.confidence is not None:
            fields["confidence"] = round(self.confidence, CONFIDENCE_DECIMALS)
        if self.pose is not None:
            fields["pose"] = {angle: round(degrees, PIXEL_DECIMALS) for angle, degrees in asdict(self.pose).items()}
        return fields if size is None else fields | self.measures(*size)

    def measures(self, width: int, height: int) -> dict[str, Any]:
        """JSON-ready dict of what is measured on the points, in a picture of `width`×`height` pixels.

        `inside`, and where the schema has them `five_points`, and where there is a pose `eye_openness` and
        `eyes_closed` (left, right: the person's own), `mouth_openness` and the `transform` (OpenCV's axes) for
        `assumed_camera`.
        """
        fields: dict[str, Any] = {"inside": self.inside(width, height).tolist()}
        with suppress(SchemaError):
            fields["five_points"] = _rounded(self.five_points)
        if self.eye_openness is not None and self.eyes_closed is not None:
            openness = {side: round(value, PIXEL_DECIMALS) for side, value in self.eye_openness._asdict().items()}
            fields |= {"eye_openness": openness, "eyes_closed": self.eyes_closed._asdict()}
        if self.mouth_openness is not None:
            fields["mouth_openness"] = round(self.mouth_openness, PIXEL_DECIMALS)
        matrix = self.transform(assumed_camera(width, height))
        if matrix is not None:
            fields["transform"] = matrix.round(TRANSFORM_DECIMALS).tolist()
        return fields


PIXEL_DECIMALS, CONFIDENCE_DECIMALS, TRANSFORM_DECIMALS = 3, 4, 6
MEASURES = ("eye_openness_left", "eye_openness_right", "mouth_openness", "yaw", "pitch", "roll")


def table_columns(points: int, measures: bool = False) -> list[str]:
    """Column names of `table_cells` for faces with `points` points, with `measures` also `MEASURES`."""
    coordinates = [f"{axis}{index}" for index in range(points) for axis in "xy"]
    box = ["box_x0", "box_y0", "box_x1", "box_y1"]
    errors = (f"expected_error{index}" for index in range(points))
    return ["confidence", "expected_error", *box, *coordinates, *errors, *(MEASURES if measures else ())]


def table_cells(face: Face, measures: bool = False) -> list[str]:
    """Table row of a face: confidence, mean expected error, box, points, expected errors; "" if unknown.

    With `measures` also those named in `MEASURES`.
    """
    confidence = "" if face.confidence is None else f"{face.confidence:.{CONFIDENCE_DECIMALS}f}"
    if face.expected_error is None:
        mean, errors = "", [""] * len(face.points)
    else:
        mean, errors = _pixels(face.expected_error.mean()), [_pixels(error) for error in face.expected_error]
    measured = _measured(face) if measures else []
    return [confidence, mean, *map(_pixels, [*face.box, *face.points.ravel()]), *errors, *measured]


def _measured(face: Face) -> list[str]:
    if face.pose is None or face.eye_openness is None or face.mouth_openness is None:
        return [""] * len(MEASURES)
    return [_pixels(value) for value in (*face.eye_openness, face.mouth_openness, *asdict(face.pose).values())]


def _pixels(number: float) -> str:
    return f"{number:.{PIXEL_DECIMALS}f}"


def _rounded(array: Array) -> Any:
    return np.asarray(array, dtype=np.float64).round(PIXEL_DECIMALS).tolist()
