"""Tracker: the faces of a video, frame by frame, each with an id that it keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lightmark.errors import ConfigError, VideoError
from lightmark.face import Face
from lightmark.geometry import Array, longer_side, overlaps
from lightmark.image import Picture, require_image
from lightmark.landmarker import Landmarker
from lightmark.spec import ModelSpec, face_box
from lightmark.video.smoothing import SMOOTHING, OneEuro, Smoothing

SAME_FACE = 0.3  # IoU from which a find of the detector may be the face of a track: cascades' boxes are loose
CONVERGED = 0.5  # IoU from which two tracks are on one face; two people's tight boxes hardly ever overlap so much
SMALLEST = 8.0  # pixels of the shorter side of a face; points that shrink to less have lost it
MISSES = 3  # searches in a row that may miss a face of a model without confidence: the cascade misses one in seven
# Correlation of successive thumbnails below which the scene has changed. 99 of 100 pairs of unlike photographs are
# below 0.51 (scenes) or 0.65 (portraits); a pan of 2 % of the width a frame stays above 0.84, one of 5 % mostly above.
CUT = 0.5
THUMBNAIL = (16, 16)


@dataclass(frozen=True)
class Tracking:
    """How faces are followed.

    The detector looks at every `redetect`-th frame for faces that have come in, and whenever no face is known or one
    has just been lost. A face whose confidence is below `min_confidence` (0 to 1) is not there. `patience` is how many
    seconds it may be away, behind a hand say, and keep its id if it is back where it was. At most `max_faces` are
    followed, larger ones taken up first; None for all. Raises `ConfigError` for numbers out of range.
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
    """One face in one frame, whose `id` no other face of the video ever has.

    `face.points` are smoothed; `raw_points` (N, 2) are as the model gave them. `age` is in seconds since the id began.
    """

    id: int
    face: Face
    raw_points: Array
    age: float


@dataclass(eq=False)
class _Track:
    """A face that is followed: what it looked like when it was last there, at `seen` seconds; `hidden` since then?"""

    id: int
    born: float
    smoother: OneEuro | None
    spec: ModelSpec
    face: Face
    seen: float
    hidden: bool = False
    misses: int = 0

    @property
    def box(self) -> Array:
        """Where to look next: the face's box (4,) by the last raw points."""
        return face_box(self.spec, self.face.points, self.face.box)

    def see(self, face: Face, seconds: float) -> None:
        """It is there, as `face`."""
        self.face, self.seen, self.hidden = face, seconds, False


class Tracker:
    """Follows the faces of one video with the model and the detector of `landmarker`.

    A face is sought in the box that its last points give, which costs one crop a face; what else, `tracking` says.
    `smoothing` None leaves the points as the model gives them.
    """

    def __init__(
        self, landmarker: Landmarker, tracking: Tracking = TRACKING, smoothing: Smoothing | None = SMOOTHING
    ) -> None:
        self._landmarker, self._tracking, self._smoothing = landmarker, tracking, smoothing
        self._tracks: list[_Track] = []
        self._ids = 0
        self._unsearched = 0
        self._seconds = -math.inf
        self._thumbnail: Array | None = None

    def update(self, image: Picture, seconds: float) -> list[TrackedFace]:
        """The faces of the next frame, RGB uint8 (H, W, 3), shown at `seconds`; those known longest first.

        Raises `VideoError` where `seconds` is not after the last frame's, `ImageError` for an image of another form.
        """
        require_image(image)
        if not self._seconds < seconds < math.inf:
            raise VideoError(f"a frame at {seconds} s after one at {self._seconds} s: each must be later than the last")
        self._seconds = seconds
        if self._is_cut(image):
            self._tracks = []
        before = len(self._in_sight())
        self._follow(image)
        self._unsearched += 1
        if len(self._in_sight()) < max(before, 1) or self._unsearched >= self._tracking.redetect:
            self._search(image)
        self._tracks = [track for track in self._tracks if seconds - track.seen <= self._tracking.patience]
        return [self._result(track) for track in self._in_sight()]

    def _is_cut(self, image: Picture) -> bool:
        """Whether `image` shows another scene than the frame before."""
        before, self._thumbnail = self._thumbnail, thumbnail_of(image)
        return before is not None and correlation(before, self._thumbnail) < CUT

    def _in_sight(self) -> list[_Track]:
        return [track for track in self._tracks if not track.hidden]

    def _follow(self, image: Picture) -> None:
        """Look for every face where it last was.

        Of two tracks that come upon one face, the one that moved less was there before: the other has slid over from
        a face that something covers, and waits where it last saw that. One that was away never ousts one in sight.
        Where both moved alike, the older one stays.
        """
        faces = self._landmarker.landmarks(image, [track.box for track in self._tracks])
        finds = [(track, face) for track, face in zip(self._tracks, faces, strict=True) if self._holds(face, image)]
        finds.sort(key=lambda find: (find[0].hidden, 1 - overlap(find[0].box, self._box(find[1]))))
        for track in self._tracks:
            track.hidden = True
        for track, face in finds:
            if best_match(self._box(face), self._in_sight())[1] <= CONVERGED:
                track.see(face, self._seconds)

    def _box(self, face: Face) -> Array:
        """Box (4,) of a face by its own points."""
        return face_box(self._landmarker.spec, face.points, face.box)

    def _holds(self, face: Face, image: Picture) -> bool:
        """Whether `face` is one, as far as model and geometry can tell."""
        if not np.isfinite(face.points).all():
            return False
        height, width = image.shape[:2]
        x0, y0, x1, y1 = self._box(face)
        inside = 0 <= x0 + x1 <= 2 * (width - 1) and 0 <= y0 + y1 <= 2 * (height - 1)
        large = min(x1 - x0, y1 - y0) >= SMALLEST
        return bool(inside and large and (face.confidence is None or face.confidence >= self._tracking.min_confidence))

    def _search(self, image: Picture) -> None:
        """Look at the whole picture for faces that nobody follows, and for those that have been away."""
        self._unsearched = 0
        found = self._landmarker.detect(image)
        self._forget_missed(found)
        for face in found:
            followed = any(overlap(face.box, track.box) >= SAME_FACE for track in self._in_sight())
            if not followed and self._has_room() and self._holds(face, image):
                self._take_up(face, image)

    def _has_room(self) -> bool:
        most = self._tracking.max_faces
        return most is None or len(self._in_sight()) < most

    def _forget_missed(self, found: Sequence[Face]) -> None:
        """End tracks without confidence that the detector has missed too often: nothing else tells of faces."""
        for track in self._tracks:
            missed = not any(overlap(face.box, track.box) >= SAME_FACE for face in found)
            track.misses = track.misses + 1 if missed and track.face.confidence is None else 0
        self._tracks = [track for track in self._tracks if track.misses < MISSES]

    def _take_up(self, found: Face, image: Picture) -> None:
        """Follow `found`, under its old id if it has only been away, unless it is followed already."""
        # Once more in the box of its own points, as in every frame to come: a detector's box is looser.
        (face,) = self._landmarker.landmarks(image, [self._box(found)])
        if not self._holds(face, image) or best_match(self._box(face), self._in_sight())[1] > CONVERGED:
            return
        known, share = best_match(self._box(face), [track for track in self._tracks if track.hidden])
        if known is not None and share >= SAME_FACE:
            known.see(face, self._seconds)
            return
        smoother = None if self._smoothing is None else OneEuro(self._smoothing)
        self._tracks.append(_Track(self._ids, self._seconds, smoother, self._landmarker.spec, face, self._seconds))
        self._ids += 1

    def _result(self, track: _Track) -> TrackedFace:
        face = track.face
        if track.smoother is not None:
            size = longer_side(track.box)
            face = replace(face, points=track.smoother(face.points, self._seconds, face.expected_error, size))
        return TrackedFace(track.id, face, track.face.points, self._seconds - track.born)


def overlap(first: Array, second: Array) -> float:
    """Intersection over union of two boxes (4,)."""
    return float(overlaps(first[None], second[None])[0, 0])


def best_match(box: Array, tracks: Sequence[_Track]) -> tuple[_Track | None, float]:
    """The one of `tracks` whose box overlaps a face's `box` (4,) most, and their IoU."""
    pairs = [(track, overlap(box, track.box)) for track in tracks]
    return max(pairs, key=lambda pair: pair[1], default=(None, 0.0))


def thumbnail_of(image: Picture) -> Array:
    """Grey copy of `image` (H, W, 3) of 16×16 pixels."""
    small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)
    return np.asarray(np.asarray(small, dtype=np.float64).mean(axis=2))


def correlation(first: Array, second: Array) -> float:
    """Pearson's correlation of two grey pictures, whatever their brightness; 1 for two flat ones, 0 beside one."""
    first, second = first - first.mean(), second - second.mean()
    energies = float((first**2).sum()), float((second**2).sum())
    if 0.0 in energies:
        return float(energies == (0.0, 0.0))
    return float((first * second).sum() / math.sqrt(energies[0] * energies[1]))
