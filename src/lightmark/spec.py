"""ModelSpec: the contract between training, export and run time, stored inside every model file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import SpecError, describe_error
from lightmark.geometry import Array, Floats, crop_matrix, map_box, require_box, tight_box
from lightmark.schema import Schema, schema_from_dict, schema_to_dict

SPEC_VERSION = 1
# Bounds of what a file may ask for: opening it runs one crop, whose planes take 12 bytes a pixel (201 MB at the bound).
MOST_PIXELS = 4096
MOST_POINTS = 4096
MOST_SCALE = 100.0  # crop_scale, and offsets in shares of the box: a hundred boxes wide is no crop of a face
METADATA_KEY = "lightmark"  # under which model files of every format keep the spec's JSON


@dataclass(frozen=True)
class ModelSpec:
    """What a landmark model takes and gives.

    The model takes crops of `size`×`size` RGB pixels, as (pixel / 255 − `mean`) / `std`, in planes (B, 3, size, size),
    and gives unit_points (B, N, 2) of `schema`. The crop is the square around the face's tight box, enlarged by
    `crop_scale`; `box_offsets` first maps the 68-point box to the box of this model's own points. A model with
    `confidence` gives all that `Outputs` names.
    """

    schema: Schema
    size: int
    crop_scale: float = 1.25
    box_offsets: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    confidence: bool = False
    architecture: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

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
        if not all(abs(value) <= MOST_SCALE for value in self.box_offsets):
            raise SpecError(
                f"ModelSpec: box_offsets {self.box_offsets}; each is a share of the box's side, at most {MOST_SCALE:g}"
            )
        if not all(math.isfinite(value) for value in self.mean):
            raise SpecError(f"ModelSpec: mean {self.mean}; each must be a finite number")
        if not all(0 < value < math.inf for value in self.std):
            raise SpecError(f"ModelSpec: std {self.std}; each must be positive and finite")


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model says of B crops: unit_points (B, N, 2) and, where its spec promises `confidence`, the rest.

    `errors` (B, N) are the points' expected errors as shares of the crop's side, `presence` (B,) the probability that
    the crop holds a face that fills it as it should.
    """

    unit_points: NDArray[np.floating[Any]]
    errors: NDArray[np.floating[Any]] | None = None
    presence: NDArray[np.floating[Any]] | None = None


def spec_crop_matrix(spec: ModelSpec, box: ArrayLike, angle: float = 0.0) -> Array:
    """Matrix (2, 3) from the image to the model's crop, given the 68-point tight box (x0, y0, x1, y1)."""
    return crop_matrix(map_box(require_box(box), spec.box_offsets), spec.size, spec.crop_scale, angle)


def label_crop_matrix(spec: ModelSpec, points: Floats, angle: float = 0.0) -> Array:
    """Matrix (2, 3) from the image to the model's crop, given points (N, 2) of the model's own schema."""
    return crop_matrix(require_box(tight_box(points)), spec.size, spec.crop_scale, angle)


def require_crops(crops: NDArray[np.uint8], spec: ModelSpec) -> None:
    """Raise `SpecError` unless the crops are uint8 (B, S, S, 3) of the spec's size."""
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (spec.size, spec.size, 3):
        raise SpecError(f"crops: got {crops.dtype} {crops.shape}, needs uint8 (B, {spec.size}, {spec.size}, 3)")


def normalisation(spec: ModelSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factor (3,) and subtrahend (3,) of each channel: planes are pixel · factor − subtrahend."""
    std = np.asarray(spec.std, dtype=np.float32)
    return np.asarray(1 / (255 * std), dtype=np.float32), np.asarray(spec.mean / std, dtype=np.float32)


def normalise_crops(crops: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """Planes (B, 3, S, S) float32 that the model takes: (pixel / 255 − mean) / std of uint8 RGB crops (B, S, S, 3).

    Raises `SpecError` where the crops have another type or size than the spec says.
    """
    require_crops(crops, spec)
    scale, shift = normalisation(spec)
    # In place and in the planes' own order: four times as fast as one expression over strided pixels.
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2)).astype(np.float32)
    planes *= scale[:, None, None]
    planes -= shift[:, None, None]
    return planes


def spec_to_json(spec: ModelSpec) -> str:
    """JSON text, read back by `spec_from_json`."""
    return json.dumps(
        {
            "lightmark": SPEC_VERSION,
            "schema": schema_to_dict(spec.schema),
            "size": spec.size,
            "crop_scale": spec.crop_scale,
            "box_offsets": list(spec.box_offsets),
            "mean": list(spec.mean),
            "std": list(spec.std),
            "confidence": spec.confidence,
            "architecture": dict(spec.architecture),
            "provenance": dict(spec.provenance),
        },
        sort_keys=True,
    )


def spec_from_json(text: str, where: str) -> ModelSpec:
    """ModelSpec of the JSON text found in `where`; raises `SpecError` naming it."""
    try:
        data = json.loads(text)
        version = data["lightmark"]
        if version == SPEC_VERSION:
            return _spec_from_dict(data)
    except Exception as error:  # of whatever kind: the text may come from anybody
        raise SpecError(f"{where}: holds no usable ModelSpec: {describe_error(error)}") from error
    raise SpecError(
        f"{where}: ModelSpec version {version!r}, this Lightmark reads {SPEC_VERSION}; use a matching release"
    )


def _spec_from_dict(data: Mapping[str, Any]) -> ModelSpec:
    x0, y0, x1, y1 = (float(v) for v in data["box_offsets"])
    return ModelSpec(
        schema=schema_from_dict(data["schema"]),
        size=int(data["size"]),
        crop_scale=float(data["crop_scale"]),
        box_offsets=(x0, y0, x1, y1),
        mean=_triple(data["mean"]),
        std=_triple(data["std"]),
        confidence=bool(data.get("confidence", False)),  # files older than confidence lack it
        architecture=dict(data["architecture"]),
        provenance=dict(data["provenance"]),
    )


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(v) for v in values)
    return first, second, third
