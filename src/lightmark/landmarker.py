"""Landmarker: detect faces and their landmarks in pictures, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lightmark.crop_requests import BATCH, CropRequest, batches_of, requests_for, requests_of
from lightmark.detectors.open import Detector, Proposals, Proposer, Reproposer, open_detector
from lightmark.errors import ConfigError, GeometryError
from lightmark.face import Face
from lightmark.geometry import (
    Array,
    from_normalized,
    invert,
    matrix_scale,
    require_boxes_near,
    suppress,
    tight_box,
    transform,
    wrap_degrees,
)
from lightmark.image import Picture, warp
from lightmark.runtime.model_file import open_exported
from lightmark.runtime.onnx_model import CPU, Provider
from lightmark.runtime.shipped import DEFAULT_MODEL, model_path, portable_model
from lightmark.source import Source, to_picture
from lightmark.spec import Outputs, face_box, face_roll, require_face_box, spec_crop_matrix

LIKELY = 0.5  # confidence that is more likely a face's than not
# Minimum confidence of a low-score detection, and of a prediction from a rotated crop: four crops of a proposal give
# more false positives than one. In 101 pictures without faces that the detector was not trained on, their halves and
# all of these turned by quarters (1212), `fast` finds 11 faces with 0.5, 3 with 0.95 and 1 with 0.98, which costs none
# of 60 validation faces of any size, noise or exposure.
CONFIRMED = 0.98
# Confidence below which a detection is none: of 295 boxes with scores above 0.45 in pictures without faces 95 % have
# less, of 896 detections in validation pictures of all kinds 2, but for those under noise of 80 grey levels (29 of 49).
DENIED = 0.1
# Confidence from which on no other orientation is tried. Of 120 validation faces rotated in steps of 15°, all upright
# ones exceed it in their first crop, and of the first predictions above it at most one stays wrong after alignment;
# with 0.5 instead, nine do.
SURE = 0.99
SAME_FACE = 0.4  # overlap (IoU) above which the points of two proposals are of one face
STEEP_ROLL = 25.0  # degrees: `fast` errs by 15 % more at 30° of roll than upright, by 3 % at 15°
QUARTERS = (90.0, 180.0, -90.0)


@dataclass(frozen=True, eq=False)
class _Prediction:
    """Face predicted from a crop with `roll` degrees taken out."""

    face: Face
    roll: float

    @property
    def confidence(self) -> float:
        """The face's confidence; 1 for a model without a confidence output."""
        return 1.0 if self.face.confidence is None else self.face.confidence


class Landmarker:
    """Detects faces and their landmarks with an exported model.

    `model` is the name of a shipped model (see `lightmark models`) or the path of a file that `lightmark export` wrote,
    in any format that `open_exported` knows; `detector` the name of a face detector (see `open_detector`) or any
    `Detector`; `threads` the number of CPU threads (None: one per core); `providers` onnxruntime's execution providers,
    first choice first.

    A detection of the detector is a face unless its `confidence` by the landmark model is below 0.1; a proposal (see
    `Proposer`) is one from a confidence of 0.98 on. A picture whose detections are all none
    is searched once more without them. With `min_confidence` every face needs that confidence, and 0 keeps all
    detections; high ones drop some faces in full profile. `min_face` is the smallest face to look for, in pixels or,
    below 1, as a share of the picture's longer side; without it that is about 1/19 of that side, less beside small
    faces or none. Smaller faces take longer.

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
        min_face: float | None = None,
    ) -> None:
        self._model = open_exported(model_path(model), threads, providers)
        self.spec = self._model.spec
        if min_confidence is not None and not self.spec.confidence:
            raise ConfigError(f"min_confidence {min_confidence}: needs a model with confidence, {model} has none")
        self._min_confidence = min_confidence
        if min_face is not None and not isinstance(detector, str):
            raise ConfigError(f"min_face {min_face}: is an option of named detectors; give it to the detector itself")
        self._detector = open_detector(detector, threads, min_face) if isinstance(detector, str) else detector
        # Asked once: looking through a protocol's methods takes longer than choosing among the detector's boxes.
        judged: object = self._detector if self.spec.confidence else None
        self._proposer = judged if isinstance(judged, Proposer) else None
        self._reproposer = judged if isinstance(judged, Reproposer) else None
        self._made_of = portable_model(model), detector, threads, providers, min_confidence, min_face

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
        proposals = self._propose(image)
        return self._judge(image, proposals) or self._look_again(image, proposals)

    def detect_batch(self, sources: Iterable[Source]) -> list[list[Face]]:
        """Faces of each of `sources`, as `detect` returns them.

        Crops of different pictures share batches of `BATCH`; of pictures with faces `HELD_PIXELS` and one more are in
        memory, of others one at a time. Raises `ImageError` for the first picture that cannot be read.
        """
        faces_by_picture: list[list[Face]] = []
        waiting: dict[int, tuple[Picture, Proposals]] = {}

        def requests() -> Iterator[CropRequest]:
            for number, source in enumerate(sources):
                faces_by_picture.append([])
                image = to_picture(source)
                proposals = self._propose(image)
                if len(proposals.boxes):
                    waiting[number] = image, proposals
                yield from requests_of(image, proposals, number)

        for number, group in groupby(self._faces(requests()), key=itemgetter(0)):
            image, proposals = waiting.pop(number)
            faces = [face for _, face in group]
            faces_by_picture[number] = self._accept(faces, proposals) or self._look_again(image, proposals)
        return faces_by_picture

    def landmarks(
        self, source: Source, boxes: ArrayLike | Sequence[ArrayLike], angles: ArrayLike | None = None
    ) -> list[Face]:
        """Landmarks in `boxes` without face detection: one face per box, in the same order.

        `boxes` (F, 4) are tight 68-point boxes x0, y0, x1, y1 in pixels of the upright `source`, and may extend beyond
        it. `angles` (F,) are the faces' roll in degrees, as `Pose.roll`: such a box lies along its face's axes, turned
        about its centre. An unknown angle (None, or NaN for one face) is estimated: a face that is rolled by more than
        `STEEP_ROLL`, or whose confidence is below `SURE`, takes one to four more crops. Raises `ImageError`
        if `source` cannot be read as a picture, `GeometryError` for invalid boxes and angles and for boxes far outside
        the picture (`require_boxes_near`).
        """
        image = to_picture(source)
        return [face for _, face in self._faces(requests_for(image, boxes, angles))]

    def _propose(self, image: Picture) -> Proposals:
        """Detections and proposals of the detector.

        Raises `SpecError` for a model that needs other boxes than detectors return (`require_face_box`).
        """
        require_face_box(self.spec, self.spec.schema.name)
        if self._proposer is not None:
            return Proposals(*self._proposer.propose(image))
        boxes = self._detector(image)
        return Proposals(boxes, np.ones(len(boxes), bool))

    def _look_again(self, image: Picture, proposals: Proposals) -> list[Face]:
        """Faces of a second search where none of `proposals` is a face although some are detections."""
        if not proposals.certain.any() or self._reproposer is None:
            return []
        others = self._reproposer.propose_without(image, proposals.boxes[proposals.certain])
        return self._judge(image, others)

    def _judge(self, image: Picture, proposals: Proposals) -> list[Face]:
        """Those of `proposals` that are faces."""
        return self._accept([face for _, face in self._faces(requests_of(image, proposals))], proposals)

    def _accept(self, faces: list[Face], proposals: Proposals) -> list[Face]:
        """Faces of detections that the landmark model does not deny, and of other proposals that it confirms."""
        minimum, certain = self._min_confidence, proposals.certain
        of_detections, of_proposals = DENIED if minimum is None else minimum, max(minimum or 0.0, CONFIRMED)
        minima = [of_detections if detected else of_proposals for detected in certain]
        accepted = [
            face
            for face, limit in zip(faces, minima, strict=True)
            if face.confidence is None or face.confidence >= limit
        ]
        return accepted if certain.any() else _most_confident(accepted)

    def _faces(self, requests: Iterable[CropRequest]) -> Iterator[tuple[int, Face]]:
        """Face of each of `requests`, with the number of its picture."""
        for batch in batches_of(requests):
            predictions = self._predict(batch)
            guesses = [index for index, request in enumerate(batch) if request.guessed]
            upright = self._upright([batch[index] for index in guesses], [predictions[index] for index in guesses])
            for index, prediction in zip(guesses, upright, strict=True):
                predictions[index] = prediction
            yield from (
                (request.picture, replace(prediction.face, box=request.box))
                for request, prediction in zip(batch, predictions, strict=True)
            )

    def _upright(self, requests: Sequence[CropRequest], firsts: Sequence[_Prediction]) -> list[_Prediction]:
        """Predictions from upright crops for those of `firsts` that are not upright; the others unchanged.

        Where no orientation is confident, as in full profiles, the first prediction is kept.
        """
        turned = self._turned(requests, firsts)
        seconds = self._aligned(requests, turned)
        pairs = zip(firsts, turned, strict=True)
        minima = [LIKELY if best is first else CONFIRMED for first, best in pairs]
        return [
            second if second.confidence >= max(min(first.confidence, SURE), minimum) else first
            for first, second, minimum in zip(firsts, seconds, minima, strict=True)
        ]

    def _turned(self, requests: Sequence[CropRequest], firsts: Sequence[_Prediction]) -> list[_Prediction]:
        """The most confident predictions of all quarter turns for `firsts` below `SURE`; the others unchanged."""
        best = list(firsts)
        unsure = [index for index, first in enumerate(firsts) if first.confidence < SURE]
        turns = [replace(requests[index], roll=requests[index].roll + turn) for turn in QUARTERS for index in unsure]
        for index, prediction in zip(unsure * len(QUARTERS), self._predict(turns), strict=True):
            best[index] = max(best[index], prediction, key=lambda one: one.confidence)
        return best

    def _aligned(self, requests: Sequence[CropRequest], predictions: Sequence[_Prediction]) -> list[_Prediction]:
        """Second predictions of faces that are rolled by over `STEEP_ROLL` or come from another crop than asked for.

        Their first crop is rough: upside down a detector's box covers the brows instead of the chin, and its keypoints
        miss the roll of such faces by 13 degrees on average. The second has the box and roll of the first points.
        """
        best = list(predictions)
        crops = [self._aligned_crop(*pair) for pair in zip(requests, predictions, strict=True)]
        steep = [index for index, crop in enumerate(crops) if crop is not None]
        for index, second in zip(steep, self._predict([crop for crop in crops if crop is not None]), strict=True):
            if second.confidence >= min(best[index].confidence, SURE):
                best[index] = second
        return best

    def _aligned_crop(self, request: CropRequest, prediction: _Prediction) -> CropRequest | None:
        """Request for an upright crop of a predicted face; None if it is upright or its points span no box."""
        roll = face_roll(self.spec, prediction.face.points)
        steep = any(abs(wrap_degrees(roll - other)) > STEEP_ROLL for other in (0.0, prediction.roll))
        if prediction.roll == request.roll and not steep:
            return None
        height, width = request.image.shape[:2]
        try:
            box = require_boxes_near([face_box(self.spec, prediction.face.points, request.box, roll)], width, height)[0]
        except GeometryError:
            return None
        return replace(request, box=box, roll=roll)

    def _predict(self, requests: Sequence[CropRequest]) -> list[_Prediction]:
        """Predictions for the crops of `requests`."""
        predictions = []
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            matrices = [spec_crop_matrix(self.spec, request.box, request.roll) for request in batch]
            pairs = zip(batch, matrices, strict=True)
            crops = [warp(request.image, matrix, self.spec.size) for request, matrix in pairs]
            outputs = self._model.outputs(np.stack(crops))
            for index, (request, matrix) in enumerate(zip(batch, matrices, strict=True)):
                predictions.append(_Prediction(self._face(outputs, index, matrix, request.box), request.roll))
        return predictions

    def _face(self, outputs: Outputs, index: int, matrix: Array, box: Array) -> Face:
        points = transform(invert(matrix), from_normalized(outputs.normalized_points[index], self.spec.size))
        expected_error = confidence = None
        if outputs.expected_error is not None:
            expected_error = outputs.expected_error[index] * self.spec.size / matrix_scale(matrix)
        if outputs.confidence is not None:
            confidence = float(outputs.confidence[index])
        return Face(points, box, self.spec.schema, expected_error, confidence)


def _most_confident(faces: list[Face]) -> list[Face]:
    """`faces` without those at the place of a more confident one: boxes that hardly overlap may propose one face."""
    boxes = np.array([tight_box(face.points) for face in faces]).reshape(-1, 4)
    confidences = np.array([face.confidence or 0.0 for face in faces])
    return [faces[index] for index in sorted(suppress(boxes, confidences, SAME_FACE))]
