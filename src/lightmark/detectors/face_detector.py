"""FaceDetector: Lightmark's own small face-detection network, run by onnxruntime."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.detectors.open import Proposals
from lightmark.detectors.quarter_turns import find_turned
from lightmark.errors import CheckpointError, ConfigError, SpecError, foreign_errors_as
from lightmark.geometry import Array, invert, order_by_area, overlaps, transform
from lightmark.image import require_image, warp
from lightmark.runtime.onnx_model import open_session
from lightmark.runtime.shipped import DETECTORS, model_path, portable_model

DETECTOR_KEY = "lightmark_detector"  # ONNX metadata key of the detector's settings, as JSON
NMS_IOU = 0.4  # of two boxes that overlap by more, non-maximum suppression keeps the one with the higher score
MAX_DETECTIONS = 400  # candidates per picture before suppression, highest score first: bounds its quadratic time


class FaceDetector:
    """Detects faces at any in-plane rotation, as tight 68-point boxes.

    `model` is the name of a shipped detector or the path of a detector file. A picture is scaled so that its longer
    side has `input_size` pixels; the minimum face size is about 1/24 of that side, so a larger input detects smaller
    faces and takes more time. A detection needs a score of at least `threshold` (None: the threshold stored in the
    file). Detections above a second, lower threshold from the file are only proposals, which a landmark model with a
    confidence head accepts or rejects. `threads` is the number of CPU threads (None: one per core). Raises
    `CheckpointError` or `SpecError` for an unusable file, `ConfigError` for numbers out of range.
    """

    def __init__(
        self,
        model: str | Path = "face",
        input_size: int = 320,
        threshold: float | None = None,
        threads: int | None = None,
    ) -> None:
        path = model_path(model, registry=DETECTORS)
        self._path, self._session = path, open_session(path, threads)
        settings = _read_settings(self._session, path)
        self.threshold = float(settings["threshold"]) if threshold is None else threshold
        self._possible = min(self.threshold, float(settings["possible"]))
        self._multiple, self._input_size = int(settings["multiple"]), input_size
        if input_size < self._multiple:
            raise ConfigError(f"input_size {input_size}: needs at least {self._multiple} pixels")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"threshold {threshold}: needs a score between 0 and 1")
        self._made_of = portable_model(model, registry=DETECTORS), input_size, threshold, threads

    def __reduce__(self) -> tuple[type[FaceDetector], tuple[Any, ...]]:
        """Pickle the options only: an onnxruntime session cannot be pickled."""
        return type(self), self._made_of

    def __call__(self, image: NDArray[np.uint8]) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1 in pixels of `image`, RGB uint8 (H, W, 3), the largest first.

        Boxes may extend beyond the picture. Raises `ImageError` for an image of another type or shape.
        """
        boxes, certain, _ = self._upright(image)
        return np.asarray(boxes[certain])

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """Detections and proposals, largest first; where there is no detection, those in the turned picture.

        A picture without faces takes four times as long as one with upright ones.
        """
        upright = self._upright(image)
        turned = None if upright.certain.any() else find_turned(self._upright, image)
        return upright if turned is None or not len(turned.boxes) else turned

    def _upright(self, image: NDArray[np.uint8]) -> Proposals:
        """Boxes with a score from the lower threshold on, largest first, and which of them are detections."""
        boxes, scores = self.scored(image, self._possible)
        order = order_by_area(boxes)
        return Proposals(boxes[order], scores[order] >= self.threshold)

    def scored(self, image: NDArray[np.uint8], threshold: float | None = None) -> tuple[Array, Array]:
        """Boxes (F, 4) in image pixels with scores (F,) from 0 to 1 of at least `threshold`, highest score first."""
        picture = require_image(image)
        matrix, size = fit_input(picture.shape[:2], self._input_size, self._multiple)
        network_picture = warp(picture, matrix, size)[None]
        with foreign_errors_as(CheckpointError, f"{self._path}: does not run as a face detector"):
            boxes, scores = self._session.run(["boxes", "scores"], {"image": network_picture})
            if boxes.shape != (1, *scores.shape[1:], 4) or scores.ndim != 2:
                raise ValueError(f"it gives boxes {boxes.shape} and scores {scores.shape}, needs (1, C, 4) and (1, C)")
        minimum = self.threshold if threshold is None else threshold
        chosen, chosen_scores = choose_boxes(boxes[0].astype(np.float64), scores[0], minimum)
        return transform(invert(matrix), chosen.reshape(-1, 2, 2)).reshape(-1, 4), chosen_scores


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


def choose_boxes(boxes: Array, scores: NDArray[np.floating[Any]], minimum: float) -> tuple[Array, Array]:
    """Non-maximum suppression over the network's cells: boxes (F, 4) and scores (F,), highest score first.

    Only cells of `boxes` (C, 4) with a score of at least `minimum` count; see `NMS_IOU` and `MAX_DETECTIONS`.
    """
    candidates = np.flatnonzero(scores >= minimum)
    order = candidates[np.argsort(-scores[candidates], kind="stable")][:MAX_DETECTIONS]
    boxes, ordered = boxes[order], np.asarray(scores[order], dtype=np.float64)
    ious, survives = overlaps(boxes, boxes), np.ones(len(boxes), bool)
    for index in range(len(boxes)):
        if survives[index]:
            survives[index + 1 :] &= ious[index, index + 1 :] <= NMS_IOU
    return boxes[survives], ordered[survives]


def _read_settings(session: Any, path: Path) -> dict[str, Any]:
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        settings: dict[str, Any] = json.loads(metadata[DETECTOR_KEY])
        scores, multiple = [float(settings[name]) for name in ("threshold", "possible")], int(settings["multiple"])
        if not all(0 <= score <= 1 for score in scores) or multiple < 1:
            raise ValueError(f"threshold and possible {scores}, multiple {multiple}")
    except Exception as error:  # of any type: the JSON is untrusted
        raise SpecError(f"{path}: an ONNX file, but not a face detector that Lightmark exported") from error
    return settings
