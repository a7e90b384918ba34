"""Landmarker: picture and boxes in, faces out, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import GeometryError
from lightmark.geometry import Array, from_unit, invert, matrix_scale, require_box, transform
from lightmark.image import require_image, warp
from lightmark.runtime.detector import Detector, open_detector
from lightmark.runtime.face import Face
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import DEFAULT_MODEL, model_path
from lightmark.spec import Outputs, spec_crop_matrix


class Landmarker:
    """Finds faces and their landmarks with an exported model.

    `model` is the name of a shipped model (see `lightmark models`) or the path of an ONNX file that `lightmark export`
    wrote; `detector` what finds the faces, by name (see `open_detector`) or any `Detector`; `threads` the number of
    processor threads (None: as many as there are cores). Raises `CheckpointError` or `SpecError` for a file that cannot
    be used, `ConfigError` for an unknown detector.
    """

    def __init__(
        self, model: str | Path = DEFAULT_MODEL, detector: str | Detector = "auto", threads: int | None = None
    ) -> None:
        self._model = OnnxModel(model_path(model), threads)
        self.spec = self._model.spec
        self._detector = open_detector(detector) if isinstance(detector, str) else detector

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """The faces of `image`, RGB uint8 (H, W, 3), the largest first; none is an empty list.

        Raises `ImageError` for an image of another form.
        """
        return self.landmarks(image, self._detector(require_image(image)))

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
        outputs = self._model.outputs(crops)
        pairs = zip(matrices, rows, strict=True)
        return [self._face(outputs, index, matrix, box) for index, (matrix, box) in enumerate(pairs)]

    def _face(self, outputs: Outputs, index: int, matrix: Array, box: Array) -> Face:
        points = transform(invert(matrix), from_unit(outputs.unit_points[index], self.spec.size))
        uncertainty = score = None
        if outputs.errors is not None:
            uncertainty = outputs.errors[index] * self.spec.size / matrix_scale(matrix)
        if outputs.presence is not None:
            score = float(outputs.presence[index])
        return Face(points, box, self.spec.schema, uncertainty, score)
