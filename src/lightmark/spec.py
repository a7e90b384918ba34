"""ModelSpec: input, output and provenance of a landmark model, stored in every model file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import GeometryError, SpecError, describe_error
from lightmark.geometry import (
    Array,
    Floats,
    align,
    crop_matrix,
    invert,
    labelled,
    longer_side,
    matrix_scale,
    roll_of_features,
    transform,
    upright_box,
)
from lightmark.schema import IBUG68, WFLW98, Schema, schema_from_dict, schema_to_dict

SPEC_VERSION = 1
# Limits for untrusted files: opening one runs a crop, whose planes take 12 bytes a pixel (201 MB at the limit).
MOST_PIXELS = 4096
MOST_POINTS = 4096
MOST_SCALE = 100.0  # of crop_scale, and of offsets relative to the box's side
MOST_MOVE = 0.5  # largest shift by a box map, relative to the box's side: beyond half a face it is not linear
FULL_SCHEMAS = (IBUG68, WFLW98)
Places = tuple[tuple[float, float], ...]
METADATA_KEY = "lightmark"  # metadata key of the spec's JSON, in every file format


@dataclass(frozen=True)
class ModelSpec:
    """Schema, crop rule, normalisation, outputs and provenance of a landmark model.

    The input is a batch of RGB crops, (pixel / 255 − `mean`) / `std` in planes (B, 3, size, size); the output is
    normalized_points (B, N, 2) of `schema`. The crop is the square around the face's box, the tight box of
    its 68 points whatever the model's schema, enlarged by `crop_scale`. For other schemas, `template` (N, 2) holds the
    mean positions of the points in that box, relative to its centre and longer side, from which the box is computed
    (`box_around`); the optional `box_map` (3, N, 2) corrects that box for the face's shape. Without a template, crops
    are cut around the model's own points, and face detectors cannot be used. A model with `confidence` has all of
    `Outputs`.
    """

    schema: Schema
    size: int
    crop_scale: float = 1.25
    template: Places | None = None
    box_map: tuple[Places, Places, Places] | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    confidence: bool = False
    architecture: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        points = f"{self.schema.size} points of {self.schema.name}"
        confidence = ", confidence" if self.confidence else ""
        return f"ModelSpec({points}, {self.size} px, crop_scale {self.crop_scale:g}{confidence})"

    def __post_init__(self) -> None:
        if self.size < 16:
            raise SpecError(f"ModelSpec: size {self.size}; a crop needs at least 16 pixels a side")
        if self.size > MOST_PIXELS:
            raise SpecError(f"ModelSpec: size {self.size}; a crop has at most {MOST_PIXELS} pixels a side")
        if self.schema.size > MOST_POINTS:
            raise SpecError(f"ModelSpec: {self.schema.size} points; a model has at most {MOST_POINTS}")
        if not 0 < self.crop_scale <= MOST_SCALE:
            raise SpecError(
                f"ModelSpec: crop_scale {self.crop_scale}; needs a positive factor, 1.25 say, up to {MOST_SCALE:g}"
            )
        if self.template is not None and len(self.template) != self.schema.size:
            raise SpecError(f"ModelSpec: template of {len(self.template)} points for {self.schema.size}")
        if not all(abs(value) <= MOST_SCALE for point in self.template or () for value in point):
            raise SpecError(f"ModelSpec: template has shares of the box's side beyond {MOST_SCALE:g}")
        if self.box_map is not None:
            _require_box_map(self.box_map, self.template)
        if not all(math.isfinite(value) for value in self.mean):
            raise SpecError(f"ModelSpec: mean {self.mean}; each must be a finite number")
        if not all(0 < value < math.inf for value in self.std):
            raise SpecError(f"ModelSpec: std {self.std}; each must be positive and finite")


@dataclass(frozen=True, eq=False)
class Outputs:
    """Outputs of a model for B crops: normalized_points (B, N, 2); the rest only with `confidence`.

    `expected_error` (B, N) of the points is relative to the crop's side; `confidence` (B,) is the probability that the
    crop shows a face.
    """

    normalized_points: NDArray[np.floating[Any]]
    expected_error: NDArray[np.floating[Any]] | None = None
    confidence: NDArray[np.floating[Any]] | None = None


def spec_crop_matrix(spec: ModelSpec, box: ArrayLike, roll: float = 0.0) -> Array:
    """Matrix (2, 3) from the image to the model's crop of the face in `box` (x0, y0, x1, y1).

    `roll` is the face's, in degrees as in `lightmark.pose.Pose`: the crop shows the face upright.
    """
    return crop_matrix(box, spec.size, spec.crop_scale, 0.0 - roll)  # 0.0 − 0.0 is 0.0, −0.0 is not


def spans_face(schema: Schema) -> bool:
    """Whether the tight box of the points is the face's box: for 68 and for WFLW's 98 points, named or not."""
    return any(schema.size == full.size and schema.name in (full.name, f"points{full.size}") for full in FULL_SCHEMAS)


def has_face_box(spec: ModelSpec) -> bool:
    """Whether the model's crops are cut around the box that face detectors return."""
    return spans_face(spec.schema) or spec.template is not None


def require_face_box(spec: ModelSpec, where: str) -> None:
    """Raise `SpecError` naming `where` for a model that cannot use the boxes of face detectors."""
    if not has_face_box(spec):
        raise SpecError(
            f"{where}: its crops are cut around its own points ({spec.schema.name}), whose place in a "
            "detector's box is unknown; train it again on pictures in which `lightmark detect` finds most of the faces"
        )


def face_box(spec: ModelSpec, points: Floats, near: Array | None = None, roll: float = 0.0) -> Array:
    """Face box (4,) for the model's crop of a face with this `roll` (degrees), computed from its `points` (N, 2).

    A single point does not determine the size of the face: the size of the box `near` (4,) is used, and without it
    `GeometryError` is raised.
    """
    if spans_face(spec.schema) or spec.template is None:
        return upright_box(points, roll)
    box_map = None if spec.box_map is None else np.asarray(spec.box_map)
    return box_around(np.asarray(spec.template), points, near, box_map)


def face_roll(spec: ModelSpec, points: Floats) -> float:
    """Roll of a face in degrees from the model's `points` (N, 2), signed as in `lightmark.pose.Pose`.

    For the 68 and WFLW's 98 points it is `roll_of_features`. For other points it is that of the `template` on them; 0
    where there is none, or the points lie in one place.
    """
    if spans_face(spec.schema):
        points68 = np.asarray(points)
        if spec.schema.size != IBUG68.size:
            from lightmark.schemes import ibug68_from_wflw98  # `detect` needs no other schemes

            points68 = ibug68_from_wflw98(points68)
        right_eye, left_eye = points68[36:48].reshape(2, 6, 2).sum(axis=1) / 6
        return float(roll_of_features(right_eye, left_eye, points68[48], points68[54]))
    frame = None if spec.template is None else face_frame(np.asarray(spec.template), points)
    x, y = (1.0, 0.0) if frame is None else frame[0][:, 0]
    return math.degrees(math.atan2(0.0 - y, x))


def box_around(template: Array, points: Floats, near: Array | None = None, box_map: Array | None = None) -> Array:
    """Square box (4,) whose `template` (N, 2) fits the labelled `points` (N, 2) by least squares.

    The face may have any roll; the box is upright. At large yaw or pitch the proportions differ from the template:
    `box_map` (3, N, 2) times the residuals of the points gives the shift of the centre (x and y, in the template's
    frame) and the logarithm of the scale of the side, each clipped to `MOST_MOVE`. `near` and errors as in `face_box`.
    """
    mask = labelled(points)
    frame = face_frame(template, points)
    if frame is not None:
        matrix, moves = frame
        x, y, growth = np.zeros(3) if box_map is None else np.tensordot(box_map, moves, 2).clip(-MOST_MOVE, MOST_MOVE)
        centre, side = transform(matrix, np.array([x, y])), matrix_scale(matrix) * math.exp(growth)
    elif near is not None and mask.any():
        side = longer_side(near)
        centre = (np.asarray(points)[mask] - side * template[mask]).mean(axis=0)
    else:
        raise GeometryError(f"{mask.sum()} labelled points in one place: they do not determine the face's size")
    return np.concatenate([centre - side / 2, centre + side / 2])


def face_frame(template: Array, points: Floats) -> tuple[Array, Array] | None:
    """Similarity (2, 3) from `template` (N, 2) to the labelled `points` (N, 2), and the residuals (N, 2).

    Residuals are in the template's frame, 0 for missing points. None if the points coincide.
    """
    mask = labelled(points)
    known, places = np.asarray(points, dtype=np.float64)[mask], template[mask]
    if mask.sum() < 2 or not (np.ptp(known, axis=0) > 0).any() or not (np.ptp(places, axis=0) > 0).any():
        return None
    matrix = align(places, known)
    moves = np.zeros(template.shape)
    moves[mask] = transform(invert(matrix), known) - places
    return matrix, moves


def require_crops(crops: NDArray[np.uint8], spec: ModelSpec) -> None:
    """Raise `SpecError` unless the crops are uint8 (B, S, S, 3) of the spec's size."""
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (spec.size, spec.size, 3):
        raise SpecError(f"crops: got {crops.dtype} {crops.shape}, needs uint8 (B, {spec.size}, {spec.size}, 3)")


def normalisation(spec: ModelSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factor (3,) and subtrahend (3,) of each channel: planes are pixel · factor − subtrahend."""
    std = np.asarray(spec.std, dtype=np.float32)
    return np.asarray(1 / (255 * std), dtype=np.float32), np.asarray(spec.mean / std, dtype=np.float32)


def normalise_crops(crops: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """Input planes (B, 3, S, S) float32 of uint8 RGB crops (B, S, S, 3): (pixel / 255 − mean) / std.

    Raises `SpecError` for crops of another type or size than the spec's.
    """
    require_crops(crops, spec)
    scale, shift = normalisation(spec)
    # In place on contiguous planes: four times as fast as one expression over strided pixels.
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2)).astype(np.float32)
    planes *= scale[:, None, None]
    planes -= shift[:, None, None]
    return planes


def describe_spec(spec: ModelSpec) -> dict[str, str]:
    """Summary lines of a model by name: points, input, outputs, network, costs, accuracy, provenance."""
    made, schema = spec.provenance, spec.schema
    box = "the 68 points' box" if has_face_box(spec) else "the box of its own points"
    costs = {"parameters": "parameters", "multiply_adds": "multiply-adds"}
    lines = {
        "points": f"{schema.size} of {schema.name}, errors in shares of the {schema.normaliser_name} distance",
        "input": f"{spec.size} x {spec.size} px, {spec.crop_scale:g} times {box}",
        "outputs": "points, expected errors, confidence" if spec.confidence else "points",
        "network": _stated(spec.architecture, "backbone", "head"),
        "costs": ", ".join(f"{made[key] / 1e6:.2f} M {name}" for key, name in costs.items() if key in made),
        "precision": str(made.get("precision", "")),
        "NME": ", ".join(f"{name} {100 * value:.2f} %" for name, value in made.get("nme", {}).items()),
        "validation": f"NME {100 * made['validation_nme']:.2f} %" if "validation_nme" in made else "",
        "trained by": _stated(made, "recipe", "seed", "step", "faces"),
        "commit": str(made.get("commit", "")),
        "checkpoint": f"sha256 {made['checkpoint_sha256'][:16]}…" if "checkpoint_sha256" in made else "",
    }
    return {name: text for name, text in lines.items() if text}


def _stated(values: Mapping[str, Any], *keys: str) -> str:
    return ", ".join(f"{key} {values[key]}" for key in keys if key in values)


def spec_to_json(spec: ModelSpec) -> str:
    """JSON text, read back by `spec_from_json`."""
    return json.dumps(
        {
            "lightmark": SPEC_VERSION,
            "schema": schema_to_dict(spec.schema),
            "size": spec.size,
            "crop_scale": spec.crop_scale,
            "template": spec.template,
            "box_map": spec.box_map,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "confidence": spec.confidence,
            "architecture": dict(spec.architecture),
            "provenance": dict(spec.provenance),
        },
        sort_keys=True,
    )


def spec_from_json(text: str, where: str) -> ModelSpec:
    """ModelSpec from the JSON text in file `where`; raises `SpecError` naming it."""
    try:
        data = json.loads(text)
        version = data["lightmark"]
        if version == SPEC_VERSION:
            return _spec_from_dict(data)
    except Exception as error:  # of any type: the text is untrusted
        raise SpecError(f"{where}: holds no usable ModelSpec: {describe_error(error)}") from error
    raise SpecError(
        f"{where}: ModelSpec version {version!r}, this Lightmark reads {SPEC_VERSION}; use a matching release"
    )


def _spec_from_dict(data: Mapping[str, Any]) -> ModelSpec:
    return ModelSpec(
        schema=schema_from_dict(data["schema"]),
        size=int(data["size"]),
        crop_scale=float(data["crop_scale"]),
        template=_template(data.get("template")),  # files of the 68 points have none
        box_map=_box_map(data.get("box_map")),
        mean=_triple(data["mean"]),
        std=_triple(data["std"]),
        confidence=bool(data.get("confidence", False)),
        architecture=dict(data["architecture"]),
        provenance=dict(data["provenance"]),
    )


def _require_box_map(box_map: tuple[Places, Places, Places], template: Places | None) -> None:
    if template is None or [len(part) for part in box_map] != [len(template)] * 3:
        raise SpecError(f"ModelSpec: box_map needs three numbers for each coordinate of {len(template or ())} points")
    if not all(abs(value) <= MOST_SCALE for part in box_map for point in part for value in point):
        raise SpecError(f"ModelSpec: box_map has weights beyond {MOST_SCALE:g}")


def _template(rows: Any) -> Places | None:
    if rows is None:
        return None
    pairs = [(float(x), float(y)) for x, y in rows]
    return tuple(pairs)


def _box_map(parts: Any) -> tuple[Places, Places, Places] | None:
    if parts is None:
        return None
    x, y, growth = (tuple((float(a), float(b)) for a, b in part) for part in parts)
    return x, y, growth


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(v) for v in values)
    return first, second, third
