"""Tracker: track the faces of a video frame by frame, each with a stable id."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lightmark.errors import ConfigError, VideoError
from lightmark.face import Face
from lightmark.geometry import Array, longer_side, overlaps, wrap_degrees
from lightmark.image import Picture, require_image
from lightmark.landmarker import STEEP_ROLL, Landmarker
from lightmark.spec import ModelSpec, face_box, face_roll
from lightmark.video.smoothing import SMOOTHING, OneEuro, Smoothing

MATCH_IOU = 0.3  # IoU at which a detection matches a track: low, because the boxes of Haar cascades are loose
DUPLICATE_IOU = 0.5  # IoU at which two tracks are on one face; tight boxes of two people hardly ever overlap so much
MIN_FACE_SIZE = 8.0  # pixels of the shorter side; points that collapse below have lost the face
MAX_MISSES = 3  # detector runs in a row without a match that end a track without confidence: the cascade misses 1 in 7
# Scene cut: correlation of successive thumbnails below this value. 99 of 100 pairs of unlike photographs are
# below 0.51 (scenes) or 0.65 (portraits); a pan of 2 % of the width a frame stays above 0.84, one of 5 % mostly above.
CUT = 0.5
THUMBNAIL = (16, 16)


@dataclass(frozen=True)
class Tracking:
    """Options of `Tracker`.

    The detector runs on every `redetect`-th frame, and whenever there is no visible track or one has just been lost. A
    face whose confidence is below `min_confidence` (0 to 1) counts as lost. `patience` is the longest occlusion in
    seconds after which a face at the same place keeps its id. At most `max_faces` are tracked, larger ones first; None
    means all. Raises `ConfigError` for numbers out of range.
    """

    redetect: int = 10
    min_confidence: float = 0.5
    patience: float = 0.5
    max_faces: int | None = None

    def __post_init__(self) -> None:
        if self.redetect < 1:
            raise ConfigError(f"redetect {self.redetect}: needs a number of frames, at least 1")
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"min_confidence {self.min_confidence}: needs a probability, from 0 to 1")
        if not self.patience >= 0:
            raise ConfigError(f"patience {self.patience}: needs seconds, at least 0")
        if self.max_faces is not None and self.max_faces < 1:
            raise ConfigError(f"max_faces {self.max_faces}: needs at least 1, or None for all")


TRACKING = Tracking()


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """One face in one frame, with an `id` that is unique within the video.

    `face.points` are smoothed; `raw_points` (N, 2) are the model's. `age` is the time in seconds since the first frame
    with this id.
    """

    id: int
    face: Face
    raw_points: Array
    age: float


@dataclass(eq=False)
class _Track:
    """State of one track: its last `face`, at `last_seen` seconds, and whether it is `hidden` since then.

    `roll` in degrees is what the next frame's crop takes out, see `held_roll`.
    """

    id: int
    started: float
    smoother: OneEuro | None
    spec: ModelSpec
    face: Face
    last_seen: float
    roll: float = 0.0
    hidden: bool = False
    misses: int = 0

    @property
    def box(self) -> Array:
        """Box (4,) of the last raw points, where the next frame's crop is cut."""
        return face_box(self.spec, self.face.points, self.face.box, self.roll)

    def update(self, face: Face, seconds: float) -> None:
        """Set the face of the frame at `seconds`; the track is visible again."""
        self.face, self.last_seen, self.hidden = face, seconds, False
        self.roll = held_roll(self.roll, face_roll(self.spec, face.points))


class Tracker:
    """Tracks the faces of one video with the landmark model and the face detector of `landmarker`.

    In each frame the landmark model runs on the box and roll of the last points, one crop per face; the detector runs
    only when `tracking` asks for it. `smoothing` None leaves the points unsmoothed.
    """

    def __init__(
        self, landmarker: Landmarker, tracking: Tracking = TRACKING, smoothing: Smoothing | None = SMOOTHING
    ) -> None:
        self._landmarker, self._tracking, self._smoothing = landmarker, tracking, smoothing
        self._tracks: list[_Track] = []
        self._ids = 0
        self._frames_since_detection = 0
        self._seconds = -math.inf
        self._thumbnail: Array | None = None

    def update(self, image: Picture, seconds: float) -> list[TrackedFace]:
        """Faces of the next frame, RGB uint8 (H, W, 3), at time `seconds`, oldest track first.

        Raises `VideoError` if `seconds` is not after the last frame's, `ImageError` for another type or shape.
        """
        require_image(image)
        if not self._seconds < seconds < math.inf:
            raise VideoError(f"a frame at {seconds} s after one at {self._seconds} s: each must be later than the last")
        self._seconds = seconds
        if self._is_cut(image):
            self._tracks = []
        before = len(self._visible())
        self._update_tracks(image)
        self._frames_since_detection += 1
        if len(self._visible()) < max(before, 1) or self._frames_since_detection >= self._tracking.redetect:
            self._detect(image)
        self._tracks = [track for track in self._tracks if seconds - track.last_seen <= self._tracking.patience]
        return [self._result(track) for track in self._visible()]

    def hidden_faces(self) -> list[Face]:
        """Last faces, at their last places, of the tracks lost within the last `patience` seconds."""
        return [track.face for track in self._tracks if track.hidden]

    def _is_cut(self, image: Picture) -> bool:
        """Whether there is a scene cut between the previous frame and `image`."""
        before, self._thumbnail = self._thumbnail, thumbnail_of(image)
        return before is not None and correlation(before, self._thumbnail) < CUT

    def _visible(self) -> list[_Track]:
        return [track for track in self._tracks if not track.hidden]

    def _update_tracks(self, image: Picture) -> None:
        """Run the landmark model on the last box of every track, turned by its roll.

        If two tracks end up on one face, the one that moved less keeps it: the other drifted over from an occluded
        face, and is hidden at its last box. A hidden track never replaces a visible one. If both moved equally, the
        older one stays.
        """
        boxes, rolls = [track.box for track in self._tracks], [track.roll for track in self._tracks]
        faces = self._landmarker.landmarks(image, boxes, rolls)
        updates = [(track, face) for track, face in zip(self._tracks, faces, strict=True) if self._is_face(face, image)]
        # Visible tracks first, then by how little they moved; sort is stable, so the older of two equal ones is first.
        updates.sort(key=lambda update: (update[0].hidden, 1 - overlap(update[0].box, self._box(update[1]))))
        for track in self._tracks:
            track.hidden = True
        for track, face in updates:
            if best_match(self._box(face), self._visible())[1] <= DUPLICATE_IOU:
                track.update(face, self._seconds)

    def _box(self, face: Face) -> Array:
        """Box (4,) of a face, computed from its points; of a rolled one along its own axes, as its track's."""
        return face_box(self._landmarker.spec, face.points, face.box, self._roll(face))

    def _roll(self, face: Face) -> float:
        """Roll that a track which starts with `face` takes out."""
        return held_roll(0.0, face_roll(self._landmarker.spec, face.points))

    def _is_face(self, face: Face, image: Picture) -> bool:
        """Whether `face` is finite, large enough, centred inside the picture and confident enough."""
        if not np.isfinite(face.points).all():
            return False
        height, width = image.shape[:2]
        x0, y0, x1, y1 = self._box(face)
        inside = 0 <= x0 + x1 <= 2 * (width - 1) and 0 <= y0 + y1 <= 2 * (height - 1)
        large = min(x1 - x0, y1 - y0) >= MIN_FACE_SIZE
        return bool(inside and large and (face.confidence is None or face.confidence >= self._tracking.min_confidence))

    def _detect(self, image: Picture) -> None:
        """Run the detector: start tracks for new faces, resume hidden ones, drop those it keeps missing."""
        self._frames_since_detection = 0
        detections = self._landmarker.detect(image)
        self._drop_missed(detections)
        for face in detections:
            tracked = any(overlap(face.box, track.box) >= MATCH_IOU for track in self._visible())
            if not tracked and self._has_room() and self._is_face(face, image):
                self._start_track(face, image)

    def _has_room(self) -> bool:
        most = self._tracking.max_faces
        return most is None or len(self._visible()) < most

    def _drop_missed(self, detections: Sequence[Face]) -> None:
        """Drop tracks without confidence after `MAX_MISSES` runs without a match: no other signal ends them."""
        for track in self._tracks:
            missed = not any(overlap(face.box, track.box) >= MATCH_IOU for face in detections)
            track.misses = track.misses + 1 if missed and track.face.confidence is None else 0
        self._tracks = [track for track in self._tracks if track.misses < MAX_MISSES]

    def _start_track(self, detection: Face, image: Picture) -> None:
        """Start a track for `detection`, or resume the hidden track it matches, unless its face is tracked already."""
        # Run the model again on the box of its own points, as in every later frame: a detector's box is looser.
        (face,) = self._landmarker.landmarks(image, [self._box(detection)], [self._roll(detection)])
        if not self._is_face(face, image) or best_match(self._box(face), self._visible())[1] > DUPLICATE_IOU:
            return
        hidden, iou = best_match(self._box(face), [track for track in self._tracks if track.hidden])
        if hidden is not None and iou >= MATCH_IOU:
            hidden.update(face, self._seconds)
            return
        smoother = None if self._smoothing is None else OneEuro(self._smoothing)
        spec, seconds = self._landmarker.spec, self._seconds
        self._tracks.append(_Track(self._ids, seconds, smoother, spec, face, seconds, self._roll(face)))
        self._ids += 1

    def _result(self, track: _Track) -> TrackedFace:
        face = track.face
        if track.smoother is not None:
            size = longer_side(track.box)
            face = replace(face, points=track.smoother(face.points, self._seconds, face.expected_error, size))
        return TrackedFace(track.id, face, track.face.points, self._seconds - track.started)


def held_roll(held: float, roll: float) -> float:
    """Roll in degrees to take out of the next crop of a face, given the one `held` so far and that of its points.

    It stays as long as the face lies within `STEEP_ROLL` of it, so that the noise of the points turns no crop, and it
    is 0 for an upright face. Differences are taken around the circle: nothing jumps at ±180.

    >>> held_roll(0.0, 20.0), held_roll(0.0, 30.0), held_roll(170.0, -170.0), held_roll(30.0, 4.0)
    (0.0, 30.0, 170.0, 0.0)
    """
    if not abs(wrap_degrees(roll - held)) > STEEP_ROLL:
        return held
    return roll if abs(roll) > STEEP_ROLL else 0.0


def overlap(first: Array, second: Array) -> float:
    """Intersection over union of two boxes (4,)."""
    return float(overlaps(first[None], second[None])[0, 0])


def best_match(box: Array, tracks: Sequence[_Track]) -> tuple[_Track | None, float]:
    """Track whose box has the highest IoU with `box` (4,), and that IoU; None and 0 without tracks."""
    pairs = [(track, overlap(box, track.box)) for track in tracks]
    return max(pairs, key=lambda pair: pair[1], default=(None, 0.0))


def thumbnail_of(image: Picture) -> Array:
    """Greyscale copy (16, 16) of `image` (H, W, 3), for scene-cut detection."""
    small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)
    return np.asarray(np.asarray(small, dtype=np.float64).mean(axis=2))


def correlation(first: Array, second: Array) -> float:
    """Pearson correlation of two greyscale pictures; 1 if both are constant, 0 if one is."""
    first, second = first - first.mean(), second - second.mean()
    energies = float((first**2).sum()), float((second**2).sum())
    if 0.0 in energies:
        return float(energies == (0.0, 0.0))
    return float((first * second).sum() / math.sqrt(energies[0] * energies[1]))
