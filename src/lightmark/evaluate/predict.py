"""Open a model of any kind, and run it on labelled faces, one forward pass per face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.data.sample import Sample, load_image
from lightmark.errors import ConfigError, DataError, GeometryError, MissingExtraError, SchemaError, SpecError
from lightmark.geometry import Array, from_normalized, invert, tight_box, transform
from lightmark.image import Picture, warp
from lightmark.runtime.exported_model import CropModel
from lightmark.runtime.model_file import open_exported
from lightmark.runtime.shipped import model_path
from lightmark.schema import IBUG68, WFLW98, Schema, plain_schema
from lightmark.schemes import ibug68_from_wflw98
from lightmark.spec import ModelSpec, Outputs, spec_crop_matrix


@dataclass(frozen=True, eq=False)
class FaceOutputs:
    """Outputs of a model on F faces: `points` (F, N, 2) in image pixels, and with confidence the rest.

    `expected_error` (F, N) is relative to the crop's side; `confidence` (F,) is from 0 to 1.
    """

    points: Array
    expected_error: Array | None = None
    confidence: Array | None = None


def open_model(path: str | Path, threads: int | None = None) -> CropModel:
    """Open the model at `path`: a shipped name, an exported file or a `.safetensors` checkpoint.

    `threads` is used for exported files only. Raises `CheckpointError` or `SpecError` naming the file,
    `MissingExtraError` for a checkpoint without torch or a format whose runtime is not installed.
    """
    path = model_path(path)
    return _open_checkpoint(path) if path.suffix == ".safetensors" else open_exported(path, threads)


def _open_checkpoint(path: Path) -> CropModel:
    try:
        from lightmark.nets.checkpoint import load_model
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f'{path}: a checkpoint needs {error.name}: pip install "lightmark[train]", or evaluate an .onnx export'
        ) from error
    return load_model(path)


def predict(
    model: CropModel, samples: Sequence[Sample], batch: int = 32, box_jitter: float = 0.0, seed: int = 0
) -> Array:
    """Points (F, N, 2) in image pixels that `model` predicts on the crops around the boxes of `samples`.

    With `box_jitter` the boxes are first perturbed by `jitter_boxes`. Raises what `predict_outputs` raises.
    """
    return predict_outputs(model, samples, batch, box_jitter, seed).points


def predict_outputs(
    model: CropModel, samples: Sequence[Sample], batch: int = 32, box_jitter: float = 0.0, seed: int = 0
) -> FaceOutputs:
    """All outputs of `model` on the crops of `predict`.

    Raises `SchemaError` for samples of another schema than the model's, `DataError` naming a face whose labels span no
    box, `SpecError` for outputs of a wrong shape.
    """
    _require_schema(samples, model.spec.schema)
    boxes = jitter_boxes(face_boxes(samples), box_jitter, np.random.default_rng(seed))
    matrices = [_crop_matrix(model.spec, sample, box) for sample, box in zip(samples, boxes, strict=True)]
    outputs = run_crops(model, _crops(samples, matrices, model.spec.size), batch)
    expected = (len(samples), model.spec.schema.size, 2)
    if outputs.normalized_points.shape != expected:
        raise SpecError(f"model: gives points of shape {outputs.normalized_points.shape}, its spec says {expected}")
    pairs = zip(matrices, from_normalized(outputs.normalized_points, model.spec.size), strict=True)
    points = np.stack([transform(invert(matrix), crop_points) for matrix, crop_points in pairs])
    optional = (outputs.expected_error, outputs.confidence)
    return FaceOutputs(points, *(None if one is None else np.asarray(one, dtype=np.float64) for one in optional))


def run_crops(model: CropModel, crops: Iterable[Picture], batch: int = 32) -> Outputs:
    """Outputs of `model` on `crops` (S, S, 3), at least one, in batches of `batch`."""
    iterator, parts = iter(crops), []
    while chunk := list(islice(iterator, batch)):
        parts.append(_run(model, np.stack(chunk)))
    return Outputs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def to_schema(samples: Sequence[Sample], schema: Schema) -> list[Sample]:
    """`samples` converted to `schema`: WFLW's 98 points become the 68, a plain schema of the same size is replaced.

    Raises `SchemaError` for any other pair of schemas.
    """
    return [_convert(sample, schema) for sample in samples]


def face_boxes(samples: Sequence[Sample]) -> Array:
    """Boxes (F, 4) of the samples' faces."""
    return np.stack([sample.box for sample in samples])


def jitter_boxes(boxes: Array, level: float, rng: np.random.Generator) -> Array:
    """Boxes (F, 4) with random errors of up to `level`, relative to their size, from 0 to below 1.

    With u, v, w from U(−1, 1) for each face, the centre moves by level·u widths and level·v heights, and both sides are
    multiplied by 1 + level·w. With the same generator state the errors of different levels are proportional.
    """
    require_level(level)
    u, v, w = rng.uniform(-1, 1, (3, len(boxes)))
    centre, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    centre = centre + level * extent * np.stack([u, v], axis=1)
    half = extent * (1 + level * w[:, None]) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def require_level(level: float) -> None:
    """Raise `ConfigError` unless 0 ≤ `level` < 1; a box at level 1 may vanish."""
    if not 0 <= level < 1:
        raise ConfigError(f"box jitter {level}; needs a share of the box's size from 0 to below 1, 0.1 say")


def same_points(first: Schema, second: Schema) -> bool:
    """Whether two schemas have the same points; groups and edges may differ."""
    return first.name == second.name and first.mirror == second.mirror


def _convert(sample: Sample, schema: Schema) -> Sample:
    if same_points(sample.schema, schema):
        return sample
    if sample.schema.name == plain_schema(schema.size).name and sample.schema.size == schema.size:
        return replace(sample, schema=schema)
    if same_points(sample.schema, WFLW98) and same_points(schema, IBUG68):
        points = ibug68_from_wflw98(sample.points)
        return replace(sample, points=points, box=tight_box(points), schema=IBUG68, occluded=None)
    raise SchemaError(
        f"{sample.name}: labelled with {sample.schema.name} ({sample.schema.size} points), expected {schema.name} "
        f"({schema.size}); only wflw98 can be converted, to ibug68; use a model of the data's own schema"
    )


def _require_schema(samples: Sequence[Sample], schema: Schema) -> None:
    if not samples:
        raise DataError("predict: no faces; needs at least one")
    for sample in samples:
        if not same_points(sample.schema, schema):
            raise SchemaError(
                f"{sample.name}: labelled with {sample.schema.name}, the model gives {schema.name}; "
                f"convert the samples with to_schema(samples, model.spec.schema)"
            )


def _crop_matrix(spec: ModelSpec, sample: Sample, box: Array) -> Array:
    """Matrix (2, 3) of the crop around `box`; raises `DataError` naming the face if the box is empty."""
    try:
        return spec_crop_matrix(spec, box)
    except GeometryError as error:
        raise DataError(f"{sample.name}: the labelled points span no box: {error}") from error


def _run(model: CropModel, crops: Picture) -> tuple[NDArray[np.floating[Any]], ...]:
    """Outputs for one batch: the points, with confidence also expected errors and confidence."""
    if not model.spec.confidence:
        return (model(crops),)
    outputs = model.outputs(crops)
    values = (outputs.normalized_points, outputs.expected_error, outputs.confidence)
    return tuple(one for one in values if one is not None)


def _crops(samples: Sequence[Sample], matrices: Sequence[Array], size: int) -> Iterator[Picture]:
    for sample, matrix in zip(samples, matrices, strict=True):
        yield warp(load_image(sample), matrix, size)
