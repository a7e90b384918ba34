"""FaceDetector: Lightmark's own small face-detection network, run by onnxruntime."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightmark.detectors.keypoint_box import FACE, roll_of_keypoints
from lightmark.detectors.open import Proposals
from lightmark.errors import CheckpointError, ConfigError, SpecError, foreign_errors_as
from lightmark.geometry import (
    SMALLEST_BOX,
    Array,
    clusters,
    crop_matrix,
    invert,
    largest_first,
    matrix_scale,
    order_by_area,
    outside,
    overlaps,
    suppress,
    transform,
)
from lightmark.image import Picture, require_image, warp
from lightmark.runtime.onnx_model import open_session
from lightmark.runtime.shipped import DETECTORS, model_path, portable_model

OUTPUTS = ("boxes", "scores", "keypoints")  # of the ONNX file
DETECTOR_KEY = "lightmark_detector"  # ONNX metadata key of the detector's settings, as JSON
NMS_IOU = 0.4  # of two boxes that overlap by more, non-maximum suppression keeps the one with the higher score
# A face's box is the mean of those that overlap the one with the highest score by BLEND_IOU and have the share
# BLEND_SCORE of its score, weighted by score. It is closer to the face (landmarks in it err by 0.5 % less), and hardly
# changes where a rounding gives a neighbouring cell the highest score.
BLEND_IOU, BLEND_SCORE = 0.7, 0.8
INPUT_SIZE = 256  # pixels of the picture's longer side
SMALLEST_FACE = 40 / 3  # pixels of the input: what the detector was trained to see
MAX_INPUT = 1920  # pixels: 56 times the work of 256
MAX_ENLARGEMENT = 2  # of a picture: beyond it a face has no more detail to show
# Without min_face, faces down to the share FAR_FACE of the largest detection are expected, and of any size where there
# is none: the picture is searched at the input that they need, too, up to FAR_INPUT pixels; but not at less than
# WORTHWHILE times the first input, which would find little that the first search did not.
FAR_FACE, FAR_INPUT, WORTHWHILE = 1 / 4, 1280, 1.35
# That input is a multiple of this: both sides of pictures of 4:3 and 16:9 are then whole numbers of pixels, to which
# `warp` scales in half the time.
FINER_STEP = 16
# Finds of a search with a score below the threshold are looked at again: upright, the longer side of the box LOOK_FACE
# of the LOOK_SIZE pixels of an input. This score tells faces from hands, clothes and textures better than the search's
# (of 89 faces and 647 others in pictures of people, an area under the ROC curve of 0.91 instead of 0.75), in a third of
# the time of `fast`'s crop. Boxes of 32 to 64 pixels did worse, inputs of 160 no better.
LOOK_SIZE, LOOK_FACE = 128, 80
LOOKS = 32  # at once: bounds the memory for pictures of crowds
# Score that is worth a look beside a detection, and if the box has less than the share SMALL of the largest one's side:
# with 0.4 half as many looks again find 0.6 % more faces, with 0.45 for small ones a tenth of them finds no more.
BESIDE, BESIDE_SMALL, SMALL = 0.45, 0.6, 0.3
MAX_DETECTIONS = 400  # candidates per picture before suppression, highest score first: bounds its quadratic time


class Detections(NamedTuple):
    """Boxes (F, 4) and keypoints (F, 5, 2) of faces in image pixels, scores (F,) from 0 to 1.

    Boxes are `upright_box`es. Keypoints are right and left eye centre, nose tip, right and left mouth corner; right and
    left are the person's own.
    """

    boxes: Array
    scores: Array
    keypoints: Array

    @property
    def rolls(self) -> Array:
        """Roll (F,) of the faces in degrees, signed as `Pose.roll`."""
        return roll_of_keypoints(self.keypoints)

    @property
    def sides(self) -> Array:
        """Longer sides (F,) of the boxes."""
        return np.asarray((self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1))

    def chosen(self, numbers: NDArray[np.intp]) -> Detections:
        """Those with these `numbers` (F,), in their order."""
        return Detections(self.boxes[numbers], self.scores[numbers], self.keypoints[numbers])

    def without(self, denied: Array) -> Detections:
        """Those that overlap no box of `denied` (D, 4) by more than `NMS_IOU`."""
        if not len(denied) or not len(self.boxes):
            return self
        return self.chosen(np.flatnonzero((overlaps(self.boxes, denied) <= NMS_IOU).all(axis=1)))


NONE = Detections(np.empty((0, 4)), np.empty(0), np.empty((0, len(FACE), 2)))


def joined(parts: Sequence[Detections]) -> Detections:
    """All detections of `parts`, one after the other."""
    columns = zip(NONE, *parts, strict=True)
    return Detections(*(np.concatenate(column) for column in columns))


class FaceDetector:
    """Detects faces at any in-plane rotation, as tight 68-point boxes.

    `model` is the name of a shipped detector or the path of a detector file. A picture is scaled so that its longer
    side has `input_size` pixels; the minimum face size is about 13 of them, so a larger input detects smaller faces and
    takes more time. For faces down to `min_face`, in pixels or, below 1, as a share of the picture's longer side, the
    picture is also searched at the larger input that they need, up to `MAX_INPUT`; without it at what faces of the
    share `FAR_FACE` of the largest detection need, up to `FAR_INPUT` pixels. Large faces are detected as before. A
    detection needs a score of at least `threshold` (None: the threshold stored in the file), in the search or, where
    that gives it at least a second threshold from the file, when it is looked at again at a size of its own. Where
    nothing is detected, finds above the second threshold are proposals, which a landmark model with a confidence head
    accepts or rejects. `threads` is the number of CPU threads (None: one per core). Raises `CheckpointError` or
    `SpecError` for an unusable file, `ConfigError` for numbers out of range.
    """

    def __init__(
        self,
        model: str | Path = "face",
        input_size: int = INPUT_SIZE,
        threshold: float | None = None,
        threads: int | None = None,
        min_face: float | None = None,
    ) -> None:
        path = model_path(model, registry=DETECTORS)
        self._path, self._session = path, open_session(path, threads)
        settings = read_settings(self._session, path)
        if {output.name for output in self._session.get_outputs()} != set(OUTPUTS):
            raise SpecError(f"{path}: a face detector that gives no keypoints; train it again with this version")
        self.threshold = float(settings["threshold"]) if threshold is None else threshold
        self._possible = min(self.threshold, float(settings["possible"]))
        self._multiple, self._input_size, self._min_face = int(settings["multiple"]), input_size, min_face
        if input_size < self._multiple:
            raise ConfigError(f"input_size {input_size}: needs at least {self._multiple} pixels")
        if min_face is not None and not 0 < min_face < math.inf:
            raise ConfigError(f"min_face {min_face}: needs pixels, or a share below 1 of the picture's longer side")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"threshold {threshold}: needs a score between 0 and 1")
        self._made_of = portable_model(model, registry=DETECTORS), input_size, threshold, threads, min_face

    def __reduce__(self) -> tuple[type[FaceDetector], tuple[Any, ...]]:
        """Pickle the options only: an onnxruntime session cannot be pickled."""
        return type(self), self._made_of

    def __call__(self, image: NDArray[np.uint8]) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1 in pixels of `image`, RGB uint8 (H, W, 3), the largest first.

        Boxes may extend beyond the picture. Raises `ImageError` for an image of another type or shape.
        """
        return largest_first(self.detections(image).boxes)

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """Detections, or where there is none proposals, largest first, with the rolls of their keypoints as angles."""
        return self._proposals(self.detections(image, self._possible))

    def propose_without(self, image: NDArray[np.uint8], denied: Array) -> Proposals:
        """Proposals as if nothing had been found in the boxes `denied` (D, 4), nor anything at their places.

        A detection that is none would otherwise hide faces that are hard to see: nothing is proposed beside it, and the
        picture is not searched at a larger input for its sake.
        """
        return self._proposals(self._detections(require_image(image), self._possible, denied))

    def _proposals(self, found: Detections) -> Proposals:
        certain = found.scores >= self.threshold
        order = order_by_area(found.boxes)
        if certain.any():
            order = order[certain[order]]
        return Proposals(found.boxes[order], certain[order], found.rolls[order])

    def detections(self, image: NDArray[np.uint8], threshold: float | None = None) -> Detections:
        """Detections with a score of at least `threshold` (None: the detector's), highest score first.

        Raises `ImageError` for an image of another type or shape, `CheckpointError` for a file that does not run.
        """
        minimum = self.threshold if threshold is None else threshold
        return self._detections(require_image(image), minimum, NONE.boxes)

    def candidates(self, image: NDArray[np.uint8], minimum: float) -> Detections:
        """Finds of the searches with a score of at least `minimum`, not looked at again; highest score first."""
        return self._search(require_image(image), minimum, NONE.boxes)

    def _detections(self, picture: Picture, minimum: float, denied: Array) -> Detections:
        """Detections with a score of at least `minimum`, but for those at the place of a box of `denied` (D, 4)."""
        searched = self._search(picture, min(minimum, self._possible), denied)
        found = self._look_again(picture, searched).without(denied)
        # Boxes in the padding, or of a part of a pixel, frame nothing that could be cut out.
        height, width = picture.shape[:2]
        shown = ~outside(found.boxes, width, height) & (found.sides >= SMALLEST_BOX)
        return found.chosen(np.flatnonzero(shown & (found.scores >= minimum)))

    def _search(self, picture: Picture, minimum: float, denied: Array) -> Detections:
        """Finds at one or two input sizes with a score of at least `minimum`, but for those `denied` (D, 4)."""
        near = self._at_size(picture, self._input_size, minimum).without(denied)
        finer = self.finer_input(picture.shape, near)
        if finer is None:
            return near
        found = joined([near, self._at_size(picture, finer, minimum).without(denied)])
        return found.chosen(suppress(found.boxes, found.scores, NMS_IOU))

    def _look_again(self, picture: Picture, found: Detections) -> Detections:
        """`found` with those below the threshold as a second look at each gives them, without those that it misses."""
        certain = found.scores >= self.threshold
        if certain.all():
            return found
        sure = found.chosen(np.flatnonzero(certain))
        unsure = found.chosen(np.flatnonzero(~certain))
        if len(sure.boxes):
            least = np.where(unsure.sides < SMALL * sure.sides.max(), BESIDE_SMALL, BESIDE)
            unsure = unsure.chosen(np.flatnonzero(unsure.scores >= least))
        # What is seen of a face that is detected already is the worse view of it, whatever its score.
        seen = self._look(picture, unsure).without(sure.boxes)
        if not len(seen.boxes):
            return sure
        both = joined([sure, seen.chosen(suppress(seen.boxes, seen.scores, NMS_IOU))])
        return both.chosen(np.argsort(-both.scores, kind="stable"))

    def _look(self, picture: Picture, found: Detections) -> Detections:
        """Those of `found` that an input of their own shows, as it shows them upright."""
        seen: list[Detections] = []
        for start in range(0, len(found.boxes), LOOKS):
            faces = slice(start, start + LOOKS)
            boxes, rolls = found.boxes[faces], found.rolls[faces].tolist()
            pairs = zip(boxes, rolls, strict=True)
            matrices = [crop_matrix(box, LOOK_SIZE, LOOK_SIZE / LOOK_FACE, -roll) for box, roll in pairs]
            outputs = self._run(np.stack([warp(picture, matrix, LOOK_SIZE) for matrix in matrices]))
            seen += [self._seen(*look) for look in zip(boxes, matrices, *outputs, strict=True)]
        return joined(seen)

    def _seen(self, box: Array, matrix: Array, boxes: Array, scores: Array, keypoints: Array) -> Detections:
        """The face in `box` (4,) by the cells of its look, which `matrix` (2, 3) cut; none if they show none there."""
        zoom, middle = matrix_scale(matrix), (LOOK_SIZE - 1) / 2
        half = (box[2:] - box[:2]) * (zoom / 2)
        cells = np.flatnonzero(scores >= self._possible)
        cells = cells[overlaps(np.concatenate([middle - half, middle + half])[None], boxes[cells])[0] > NMS_IOU]
        if not len(cells):
            return NONE
        numbers, merged = merge_cells(boxes[cells], scores[cells], 0.0)
        best, back = cells[numbers[:1]], invert(matrix)
        centre = transform(back, (merged[:1, :2] + merged[:1, 2:]) / 2)
        half = (merged[:1, 2:] - merged[:1, :2]) / (2 * zoom)  # of an upright face, as boxes have
        return Detections(np.hstack([centre - half, centre + half]), scores[best], transform(back, keypoints[best]))

    def finer_input(self, shape: tuple[int, ...], near: Detections) -> int | None:
        """Second input size at which a picture (H, W) is searched after the detections `near`; None for none."""
        longer = max(shape[:2])
        if self._min_face is None:
            largest = float(near.sides[near.scores >= self.threshold].max(initial=0.0))
            needed = SMALLEST_FACE * longer / (FAR_FACE * largest) if largest else math.inf
            finer = min(longer, math.floor(min(FAR_INPUT, needed) / FINER_STEP) * FINER_STEP)
            return finer if finer >= WORTHWHILE * self._input_size else None
        share = self._min_face if self._min_face < 1 else self._min_face / longer
        finer = min(math.ceil(SMALLEST_FACE / share), MAX_INPUT, MAX_ENLARGEMENT * longer)
        return finer if finer > self._input_size else None

    def _at_size(self, picture: Picture, input_size: int, minimum: float) -> Detections:
        """Detections with a score of at least `minimum` at one input size."""
        matrix, size = fit_input(picture.shape[:2], input_size, self._multiple)
        boxes, scores, keypoints = (output[0] for output in self._run(warp(picture, matrix, size)[None]))
        chosen, merged = merge_cells(boxes, scores, minimum)
        back = invert(matrix)
        return Detections(
            transform(back, merged.reshape(-1, 2, 2)).reshape(-1, 4),
            scores[chosen],
            transform(back, keypoints[chosen]),
        )

    def _run(self, images: NDArray[np.uint8]) -> list[Array]:
        """Boxes (B, C, 4), scores (B, C) and keypoints (B, C, 5, 2) of inputs (B, H, W, 3)."""
        with foreign_errors_as(CheckpointError, f"{self._path}: does not run as a face detector"):
            outputs = self._session.run(OUTPUTS, {"image": images})
            cells = len(images), *outputs[1].shape[1:]
            if len(cells) != 2 or [output.shape for output in outputs] != [(*cells, 4), cells, (*cells, len(FACE), 2)]:
                shapes = [output.shape for output in outputs]
                raise ValueError(f"{', '.join(OUTPUTS)} have shapes {shapes}; needs (B, C, 4), (B, C), (B, C, 5, 2)")
        return [output.astype(np.float64) for output in outputs]


def fit_input(shape: tuple[int, ...], input_size: int, multiple: int) -> tuple[Array, tuple[int, int]]:
    """Matrix (2, 3) that scales a picture (H, W) to the detector input, and the input's width and height.

    The longer side gets `input_size` pixels. Width and height are rounded up to a multiple of `multiple`, the network's
    total stride; the picture lies in the upper left corner, the padding right and below.
    """
    height, width = shape
    zoom = input_size / max(height, width)
    shift = (zoom - 1) / 2  # the edge at −0.5 stays at −0.5
    columns, rows = (max(1, math.ceil(round(side * zoom, 6) / multiple)) * multiple for side in (width, height))
    return np.array([[zoom, 0, shift], [0, zoom, shift]]), (columns, rows)


def merge_cells(boxes: Array, scores: NDArray[np.floating[Any]], minimum: float) -> tuple[NDArray[np.intp], Array]:
    """Numbers (F,) of the network's cells with the faces' highest scores, highest first, and the faces' boxes (F, 4).

    Only cells of `boxes` (C, 4) with a score of at least `minimum` count, `MAX_DETECTIONS` at most; see `NMS_IOU` and
    `BLEND_IOU`.
    """
    cells = np.flatnonzero(scores >= minimum)
    cells = cells[np.argsort(-scores[cells], kind="stable")][:MAX_DETECTIONS]
    boxes, scores = boxes[cells], scores[cells]
    best, shares, left = clusters(boxes, scores, NMS_IOU)
    near = left & (shares >= BLEND_IOU) & (scores >= BLEND_SCORE * scores[best, None])
    near[np.arange(len(best)), best] = True
    total = near @ np.column_stack([boxes * scores[:, None], scores])
    return cells[best], total[:, :4] / total[:, 4:]


def read_settings(session: Any, path: Path) -> dict[str, Any]:
    """Settings in the metadata of a detector's session; raises `SpecError` naming `path` for another file's."""
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        settings: dict[str, Any] = json.loads(metadata[DETECTOR_KEY])
        scores, multiple = [float(settings[name]) for name in ("threshold", "possible")], int(settings["multiple"])
        if not all(0 <= score <= 1 for score in scores) or multiple < 1:
            raise ValueError(f"threshold and possible {scores}, multiple {multiple}")
    except Exception as error:  # of any type: the JSON is untrusted
        raise SpecError(f"{path}: an ONNX file, but not a face detector that Lightmark exported") from error
    return settings
