"""FaceDetector: Lightmark's own small network for faces, by onnxruntime."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import CheckpointError, ConfigError, SpecError, foreign_errors_as
from lightmark.geometry import Array, invert, order_by_area, overlaps, transform
from lightmark.image import require_image, warp
from lightmark.runtime.onnx_model import open_session
from lightmark.runtime.shipped import DETECTORS, model_path, portable_model

DETECTOR_KEY = "lightmark_detector"  # under which a detector's file keeps its settings, as JSON
SAME_IOU = 0.4  # boxes that overlap by more are one face, found twice
MOST = 400  # finds a picture that are looked at, surest first


class FaceDetector:
    """Finds faces, also turned ones, as tight 68-point boxes.

    `model` is the name of a shipped detector or the path of one. A picture is brought to `longest` pixels on its longer
    side, so that the smallest faces found are about 1/24 of that side; larger finds smaller ones, in more time. A find
    counts from the score `threshold` on (None: the one that the file holds); from a lower one, which the file holds
    too, it is proposed to a landmark model that can judge it. `threads` is the number of processor threads (None: as
    many as there are cores). Raises `CheckpointError` or `SpecError` for a file that cannot be used, `ConfigError` for
    other numbers.
    """

    def __init__(
        self,
        model: str | Path = "face",
        longest: int = 320,
        threshold: float | None = None,
        threads: int | None = None,
    ) -> None:
        path = model_path(model, registry=DETECTORS)
        self._path, self._session = path, open_session(path, threads)
        settings = _read_settings(self._session, path)
        self.threshold = float(settings["threshold"]) if threshold is None else threshold
        self._possible = min(self.threshold, float(settings["possible"]))
        self._multiple, self._longest = int(settings["multiple"]), longest
        if longest < self._multiple:
            raise ConfigError(f"longest {longest}: needs at least {self._multiple} pixels")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"threshold {threshold}: needs a score between 0 and 1")
        self._made_of = portable_model(model, registry=DETECTORS), longest, threshold, threads

    def __reduce__(self) -> tuple[type[FaceDetector], tuple[Any, ...]]:
        """What makes it anew in another process, where onnxruntime's session cannot go."""
        return type(self), self._made_of

    def __call__(self, image: NDArray[np.uint8]) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1 in pixels of `image`, RGB uint8 (H, W, 3), the largest first.

        They may reach over the picture's edges. Raises `ImageError` for an image of another form.
        """
        boxes, sure = self.propose(image)
        return np.asarray(boxes[sure])

    def propose(self, image: NDArray[np.uint8]) -> tuple[Array, NDArray[np.bool_]]:
        """Boxes (F, 4) as calling gives them, and of what may be faces, the largest first; which are sure (F,)."""
        boxes, scores = self.scored(image, self._possible)
        order = order_by_area(boxes)
        return boxes[order], scores[order] >= self.threshold

    def scored(self, image: NDArray[np.uint8], threshold: float | None = None) -> tuple[Array, Array]:
        """Boxes (F, 4) as calling gives them, and their scores (F,) from 0 to 1, the surest first."""
        picture = require_image(image)
        matrix, size = fit_whole(picture.shape[:2], self._longest, self._multiple)
        network_picture = warp(picture, matrix, size)[None]
        with foreign_errors_as(CheckpointError, f"{self._path}: does not run as a face detector"):
            boxes, scores = self._session.run(["boxes", "scores"], {"image": network_picture})
            if boxes.shape != (1, *scores.shape[1:], 4) or scores.ndim != 2:
                raise ValueError(f"it gives boxes {boxes.shape} and scores {scores.shape}, wanted (1, C, 4) and (1, C)")
        least = self.threshold if threshold is None else threshold
        found, certain = choose_boxes(boxes[0].astype(np.float64), scores[0], least)
        return transform(invert(matrix), found.reshape(-1, 2, 2)).reshape(-1, 4), certain


def fit_whole(shape: tuple[int, ...], longest: int, multiple: int) -> tuple[Array, tuple[int, int]]:
    """Matrix (2, 3) that brings a whole picture (H, W) to `longest` pixels on its longer side, and width and height.

    These are rounded up to a multiple of `multiple`; the picture lies in the upper left corner, its outer edges kept.
    """
    height, width = shape
    zoom = longest / max(height, width)
    shift = (zoom - 1) / 2  # the edge at −0.5 stays at −0.5
    columns, rows = (max(1, math.ceil(round(side * zoom, 6) / multiple)) * multiple for side in (width, height))
    return np.array([[zoom, 0, shift], [0, zoom, shift]]), (columns, rows)


def choose_boxes(boxes: Array, scores: NDArray[np.floating[Any]], least: float) -> tuple[Array, Array]:
    """Boxes (F, 4) and scores (F,), surest first, of cells' `boxes` (C, 4) whose score is at least `least`.

    Of several on one face the surest stays (non-maximum suppression).
    """
    kept = np.flatnonzero(scores >= least)
    order = kept[np.argsort(-scores[kept], kind="stable")][:MOST]
    found, certain = boxes[order], np.asarray(scores[order], dtype=np.float64)
    shares, stays = overlaps(found, found), np.ones(len(found), bool)
    for index in range(len(found)):
        if stays[index]:
            stays[index + 1 :] &= shares[index, index + 1 :] <= SAME_IOU
    return found[stays], certain[stays]


def _read_settings(session: Any, path: Path) -> dict[str, Any]:
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        settings: dict[str, Any] = json.loads(metadata[DETECTOR_KEY])
        scores, multiple = [float(settings[name]) for name in ("threshold", "possible")], int(settings["multiple"])
        if not all(0 <= score <= 1 for score in scores) or multiple < 1:
            raise ValueError(f"threshold and possible {scores}, multiple {multiple}")
    except Exception as error:  # of whatever kind: the text may come from anybody
        raise SpecError(f"{path}: an ONNX file, but not a face detector that Lightmark exported") from error
    return settings
