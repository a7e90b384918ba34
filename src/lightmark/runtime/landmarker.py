"""Landmarker: picture and boxes in, faces out, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import GeometryError
from lightmark.geometry import from_unit, invert, require_box, transform
from lightmark.image import require_image, warp
from lightmark.runtime.face import Face
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.spec import spec_crop_matrix


class Landmarker:
    """Finds the landmarks of faces whose boxes are known, with an exported model.

    `model` is the path of an ONNX file that `lightmark export` wrote, `threads` the number of processor threads (None:
    as many as there are cores). Raises `CheckpointError` or `SpecError` for a file that cannot be used.
    """

    def __init__(self, model: str | Path, threads: int | None = None) -> None:
        self._model = OnnxModel(model, threads)
        self.spec = self._model.spec

    def landmarks(self, image: NDArray[np.uint8], boxes: ArrayLike | Sequence[ArrayLike]) -> list[Face]:
        """One face a box, in the boxes' order; all crops run as one batch.

        `image` is RGB uint8 (H, W, 3), `boxes` (F, 4) are tight 68-point boxes x0, y0, x1, y1 in its pixels, and may
        reach over its edges. No boxes give no faces. Raises `ImageError` and `GeometryError` for other forms.
        """
        image = require_image(image)
        rows = np.asarray(boxes, dtype=np.float64)
        if rows.size == 0:
            return []
        if rows.ndim != 2:
            raise GeometryError(f"boxes of shape {rows.shape}: needs (F, 4), also for a single face: [box]")
        matrices = [spec_crop_matrix(self.spec, require_box(box)) for box in rows]
        crops = np.stack([warp(image, matrix, self.spec.size) for matrix in matrices])
        crop_points = from_unit(self._model(crops), self.spec.size)
        return [
            Face(transform(invert(matrix), points), box, self.spec.schema)
            for matrix, points, box in zip(matrices, crop_points, rows, strict=True)
        ]
