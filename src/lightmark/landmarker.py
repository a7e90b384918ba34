"""Landmarker: detect faces and their landmarks in pictures, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.detectors.open import Detector, Proposer, open_detector
from lightmark.errors import ConfigError
from lightmark.face import Face
from lightmark.geometry import Array, from_normalized, invert, matrix_scale, require_boxes_near, transform
from lightmark.image import Picture, warp
from lightmark.runtime.model_file import open_exported
from lightmark.runtime.onnx_model import CPU, Provider
from lightmark.runtime.shipped import DEFAULT_MODEL, model_path, portable_model
from lightmark.source import Source, to_picture
from lightmark.spec import Outputs, require_face_box, spec_crop_matrix

PROPOSAL_CONFIDENCE = 0.5  # minimum confidence of a low-score detection: more likely a face than not
BATCH = 32  # crops per call, 19 MB of float32 at 224 px: bounds the memory for pictures of crowds


@dataclass(frozen=True, eq=False)
class _Crop:
    """Crop `pixels` (S, S, 3) of picture number `picture`, cut around `box` by `matrix`."""

    picture: int
    box: Array
    matrix: Array
    pixels: Picture


class Landmarker:
    """Detects faces and their landmarks with an exported model.

    `model` is the name of a shipped model (see `lightmark models`) or the path of a file that `lightmark export` wrote,
    in any format that `open_exported` knows; `detector` the name of a face detector (see `open_detector`) or any
    `Detector`; `threads` the number of CPU threads (None: one per core); `providers` onnxruntime's execution providers,
    first choice first.

    Every detection of the detector is a face; a proposal (see `Proposer`) is one if its `confidence` by the landmark
    model is at least 0.5. With `min_confidence` every face needs that confidence: this drops faces in full profile,
    which the shipped students were not trained on.

    A picture is any `Source`: a path, encoded bytes, a PIL image or an array. For pictures above the pixel limit call
    `to_picture` with its `max_pixels` first. Threads may share a Landmarker if they may share its detector, which
    holds for all named ones. It can be pickled and copied if its detector can; the copy opens the model file again.
    Raises `CheckpointError` or `SpecError` for an unusable file, `MissingExtraError` if its runtime is not installed,
    `ConfigError` for an unknown detector, an unavailable provider, or `min_confidence` with a model without confidence.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        detector: str | Detector = "auto",
        threads: int | None = None,
        providers: Sequence[Provider] = (CPU,),
        min_confidence: float | None = None,
    ) -> None:
        self._model = open_exported(model_path(model), threads, providers)
        self.spec = self._model.spec
        if min_confidence is not None and not self.spec.confidence:
            raise ConfigError(f"min_confidence {min_confidence}: needs a model with confidence, {model} has none")
        self._min_confidence = min_confidence
        self._detector = open_detector(detector, threads) if isinstance(detector, str) else detector
        self._made_of = portable_model(model), detector, threads, providers, min_confidence

    def __reduce__(self) -> tuple[type[Landmarker], tuple[Any, ...]]:
        """Pickle the options only: runtime sessions cannot be pickled."""
        return type(self), self._made_of

    def __repr__(self) -> str:
        model, detector = self._made_of[:2]
        points = f"{self.spec.schema.size} points of {self.spec.schema.name}"
        return f"Landmarker({str(model)!r}, detector={detector!r}): {points}, crops of {self.spec.size} px"

    def __call__(self, source: Source) -> list[Face]:
        """Same as `detect`."""
        return self.detect(source)

    def detect(self, source: Source) -> list[Face]:
        """Faces of `source`, largest first; an empty list if there are none.

        Raises `ImageError` if `source` cannot be read as a picture.
        """
        image = to_picture(source)
        boxes, certain = self._propose(image)
        return self._accept(self.landmarks(image, boxes), certain)

    def detect_batch(self, sources: Iterable[Source]) -> list[list[Face]]:
        """Faces of each of `sources`, as `detect` returns them.

        Crops of different pictures share batches of `BATCH`; one picture at a time is in memory. Raises `ImageError`
        for the first picture that cannot be read.
        """
        faces_by_picture: list[list[Face]] = []
        masks: list[NDArray[np.bool_]] = []

        def crops() -> Iterator[_Crop]:
            for number, source in enumerate(sources):
                faces_by_picture.append([])
                image = to_picture(source)
                boxes, certain = self._propose(image)
                masks.append(certain)
                yield from self._crops(image, boxes, number)

        for number, face in self._faces(crops()):
            faces_by_picture[number].append(face)
        return [self._accept(faces, certain) for faces, certain in zip(faces_by_picture, masks, strict=True)]

    def landmarks(self, source: Source, boxes: ArrayLike | Sequence[ArrayLike]) -> list[Face]:
        """Landmarks in `boxes` without face detection: one face per box, in the same order.

        `boxes` (F, 4) are tight 68-point boxes x0, y0, x1, y1 in pixels of the upright `source`, and may extend beyond
        it. Raises `ImageError` if `source` cannot be read as a picture, `GeometryError` for invalid boxes and for boxes
        far outside the picture (`require_boxes_near`).
        """
        image = to_picture(source)
        return [face for _, face in self._faces(self._crops(image, boxes, 0))]

    def _propose(self, image: Picture) -> tuple[Array, NDArray[np.bool_]]:
        """Boxes (F, 4) of detections and proposals, and a mask (F,) of the detections.

        Raises `SpecError` for a model that needs other boxes than detectors return (`require_face_box`).
        """
        require_face_box(self.spec, self.spec.schema.name)
        if self.spec.confidence and isinstance(self._detector, Proposer):
            return self._detector.propose(image)
        boxes = self._detector(image)
        return boxes, np.ones(len(boxes), bool)

    def _accept(self, faces: list[Face], certain: NDArray[np.bool_]) -> list[Face]:
        """Faces of all detections (`certain`), and of the proposals that the landmark model confirms."""
        minimum = self._min_confidence or 0.0
        minima = [minimum if detected else max(minimum, PROPOSAL_CONFIDENCE) for detected in certain]
        return [
            face
            for face, limit in zip(faces, minima, strict=True)
            if face.confidence is None or face.confidence >= limit
        ]

    def _crops(self, image: Picture, boxes: ArrayLike | Sequence[ArrayLike], number: int) -> Iterator[_Crop]:
        rows = require_boxes_near(boxes, image.shape[1], image.shape[0])
        matrices = [spec_crop_matrix(self.spec, box) for box in rows]
        for box, matrix in zip(rows, matrices, strict=True):
            yield _Crop(number, box, matrix, warp(image, matrix, self.spec.size))

    def _faces(self, crops: Iterator[_Crop]) -> Iterator[tuple[int, Face]]:
        """Face of each of `crops`, with the number of its picture."""
        while batch := list(islice(crops, BATCH)):
            outputs = self._model.outputs(np.stack([crop.pixels for crop in batch]))
            for index, crop in enumerate(batch):
                yield crop.picture, self._face(outputs, index, crop.matrix, crop.box)

    def _face(self, outputs: Outputs, index: int, matrix: Array, box: Array) -> Face:
        points = transform(invert(matrix), from_normalized(outputs.normalized_points[index], self.spec.size))
        expected_error = confidence = None
        if outputs.errors is not None:
            expected_error = outputs.errors[index] * self.spec.size / matrix_scale(matrix)
        if outputs.presence is not None:
            confidence = float(outputs.presence[index])
        return Face(points, box, self.spec.schema, expected_error, confidence)
