"""Landmarker: pictures in, faces out, without torch."""

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

LIKELY = 0.5  # a confidence from here on is more likely a face's than not
BATCH = 32  # crops that run at once, 19 MB of float32 at 224 px: a crowd costs time, not memory


@dataclass(frozen=True, eq=False)
class _Crop:
    """`pixels` (S, S, 3), cut by `matrix` around `box` out of the picture of that number."""

    picture: int
    box: Array
    matrix: Array
    pixels: Picture


class Landmarker:
    """Finds faces and their landmarks with an exported model.

    `model` is the name of a shipped model (see `lightmark models`) or the path of a file that `lightmark export` wrote,
    in any format that `open_exported` knows; `detector` what finds the faces, by name (see `open_detector`) or any
    `Detector`; `threads` the number of processor threads (None: as many as there are cores); `providers`
    onnxruntime's, the first choice first.

    What the detector is sure of is a face; what it only proposes (see `Proposer`) is one if the model gives it a
    `confidence` of at least 0.5. With `min_confidence` every face must have that much: this costs faces in full
    profile, which the shipped students do not know.

    Everywhere a picture is any `Source`: a path, encoded bytes, a PIL image or an array; see `to_picture`, also for
    pictures of more than its limit of pixels, which it takes as an option. Threads may share a Landmarker, if they may
    share its detector, as they may those that have names; it can be pickled and copied, if its detector can, and the
    copy opens the model's file anew. Raises `CheckpointError` or `SpecError` for a file that
    cannot be used, `MissingExtraError` for one whose runtime is not installed, `ConfigError` for an unknown detector, a
    provider that is not there, or a `min_confidence` for a model without confidence.
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
        """What makes it anew in another process, where no session of a runtime can go."""
        return type(self), self._made_of

    def __repr__(self) -> str:
        model, detector = self._made_of[:2]
        points = f"{self.spec.schema.size} points of {self.spec.schema.name}"
        return f"Landmarker({str(model)!r}, detector={detector!r}): {points}, crops of {self.spec.size} px"

    def __call__(self, source: Source) -> list[Face]:
        """The same as `detect`."""
        return self.detect(source)

    def detect(self, source: Source) -> list[Face]:
        """The faces of `source`, the largest first; none is an empty list.

        Raises `ImageError` for what cannot be read as a picture.
        """
        image = to_picture(source)
        boxes, sure = self._propose(image)
        return self._accept(self.landmarks(image, boxes), sure)

    def detect_batch(self, sources: Iterable[Source]) -> list[list[Face]]:
        """The faces of each of `sources`, as `detect` gives them.

        The crops of all pictures run together, `BATCH` at a time, and one picture at a time is held in memory. Raises
        `ImageError` for the first that cannot be read.
        """
        found: list[list[Face]] = []
        sure: list[NDArray[np.bool_]] = []

        def crops() -> Iterator[_Crop]:
            for number, source in enumerate(sources):
                found.append([])
                image = to_picture(source)
                boxes, certain = self._propose(image)
                sure.append(certain)
                yield from self._crops(image, boxes, number)

        for number, face in self._faces(crops()):
            found[number].append(face)
        return [self._accept(faces, certain) for faces, certain in zip(found, sure, strict=True)]

    def landmarks(self, source: Source, boxes: ArrayLike | Sequence[ArrayLike]) -> list[Face]:
        """One face a box, in the boxes' order.

        `boxes` (F, 4) are tight 68-point boxes x0, y0, x1, y1 in pixels of `source`, turned upright, and may reach over
        its edges. No boxes give no faces. Raises `ImageError` for what cannot be read as a picture and
        `GeometryError` for other boxes, and for those that have nothing to do with the picture (`require_boxes_near`).
        """
        image = to_picture(source)
        return [face for _, face in self._faces(self._crops(image, boxes, 0))]

    def _propose(self, image: Picture) -> tuple[Array, NDArray[np.bool_]]:
        """Boxes (F, 4) to look at, and which of them (F,) the detector is sure of.

        Raises `SpecError` for a model that no detector's box serves (`require_face_box`).
        """
        require_face_box(self.spec, self.spec.schema.name)
        if self.spec.confidence and isinstance(self._detector, Proposer):
            return self._detector.propose(image)
        boxes = self._detector(image)
        return boxes, np.ones(len(boxes), bool)

    def _accept(self, faces: list[Face], sure: NDArray[np.bool_]) -> list[Face]:
        """The detector's sure finds, and of the others those in which the model sees a face."""
        asked = self._min_confidence or 0.0
        least = [asked if certain else max(asked, LIKELY) for certain in sure]
        return [
            face
            for face, minimum in zip(faces, least, strict=True)
            if face.confidence is None or face.confidence >= minimum
        ]

    def _crops(self, image: Picture, boxes: ArrayLike | Sequence[ArrayLike], number: int) -> Iterator[_Crop]:
        rows = require_boxes_near(boxes, image.shape[1], image.shape[0])
        matrices = [spec_crop_matrix(self.spec, box) for box in rows]
        for box, matrix in zip(rows, matrices, strict=True):
            yield _Crop(number, box, matrix, warp(image, matrix, self.spec.size))

    def _faces(self, crops: Iterator[_Crop]) -> Iterator[tuple[int, Face]]:
        """The face in each of `crops`, with the number of its picture."""
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
