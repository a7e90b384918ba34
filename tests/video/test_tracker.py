"""Faces keep their ids and points through a film: cuts, crossings, covers, empty stretches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightmark.data.formats.pts import read_pts_tree
from lightmark.data.sample import Sample, load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.detectors.open import FixedBoxes
from lightmark.errors import ConfigError, ImageError, VideoError
from lightmark.face import Face
from lightmark.geometry import (
    Array,
    box_centre,
    compose,
    crop_matrix,
    invert,
    longer_side,
    similarity_matrix,
    tight_box,
    transform,
)
from lightmark.image import Picture, warp
from lightmark.landmarker import Landmarker
from lightmark.schema import Schema
from lightmark.spec import ModelSpec
from lightmark.video import tracker as tracker_module
from lightmark.video.frames import VideoReader
from lightmark.video.smoothing import OneEuro
from lightmark.video.tracker import TrackedFace, Tracker, Tracking, correlation, held_roll, thumbnail_of
from lightmark.video.writer import writing_video

FPS = 30.0
CORNERS = Schema("corners", mirror=(1, 0, 3, 2), normaliser=(0, 1))
PLACES = ((-1 / 6, -1 / 6), (1 / 6, -1 / 6), (-1 / 6, 1 / 6), (1 / 6, 1 / 6))


@dataclass
class Blobs:
    """Stands in for a Landmarker: a face is a bright square, its points the corners, its confidence 1 or 0.

    `detect` finds squares of one colour wherever they are and counts how often it was asked; `landmarks` the one that
    fills most of the box, half as large again.
    """

    scored: bool = True
    asked: int = 0
    spec: ModelSpec = field(default_factory=lambda: ModelSpec(CORNERS, 32))

    def detect(self, image: Picture) -> list[Face]:
        """Faces of every colour, the largest first."""
        self.asked += 1
        levels = [level for level in np.unique(image) if level > 100]
        boxes = [self._box(image[:, :, 0] == level, np.zeros(2)) for level in levels]
        boxes.sort(key=lambda box: -(box[2] - box[0]))
        return [self._face(box, 1.0) for box in boxes]

    def landmarks(self, image: Picture, boxes: Sequence[Array], angles: Sequence[float]) -> list[Face]:
        """One face a box, confidence 0 where the box shows no square."""
        return [self._look(image, np.asarray(box)) for box in boxes]

    def _look(self, image: Picture, box: Array) -> Face:
        margin = 0.25 * (box[2:] - box[:2])
        x0, y0 = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
        x1, y1 = np.maximum(np.ceil(box[2:] + margin), 1).astype(int)
        part = image[y0:y1, x0:x1, 0]
        levels, areas = np.unique(part[part > 100], return_counts=True)
        if len(levels) == 0:
            return self._face(box, 0.0)
        return self._face(self._box(part == levels[areas.argmax()], np.array([x0, y0])), 1.0)

    def _box(self, mask: np.ndarray, corner: Array) -> Array:
        rows, columns = np.nonzero(mask)
        return np.array([columns.min(), rows.min(), columns.max(), rows.max()]) + np.tile(corner, 2).astype(float)

    def _face(self, box: Array, confidence: float) -> Face:
        x0, y0, x1, y1 = box
        points = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]])
        return Face(points, box, CORNERS, confidence=confidence if self.scored else None)


@dataclass
class Inner(Blobs):
    """A model of points of its own: the corners of a square a third as large, in the middle of the face.

    `boxes` and `angles` are those that it was asked for.
    """

    spec: ModelSpec = field(default_factory=lambda: ModelSpec(CORNERS, 32, template=PLACES))
    boxes: list[Array] = field(default_factory=list)
    angles: list[float] = field(default_factory=list)

    def landmarks(self, image: Picture, boxes: Sequence[Array], angles: Sequence[float]) -> list[Face]:
        """One face a box, as Blobs gives it."""
        self.boxes.extend(np.asarray(box) for box in boxes)
        self.angles.extend(angles)
        return super().landmarks(image, boxes, angles)

    def _face(self, box: Array, confidence: float) -> Face:
        face = super()._face(box, confidence)
        centre = face.points.mean(axis=0)
        return replace(face, points=centre + (face.points - centre) / 3)


def scene(*squares: tuple[int, int, int], size: int = 30) -> Picture:
    """Picture with squares (x, y, level), later ones before earlier ones, on a ground half light, half dark."""
    picture = np.full((120, 160, 3), 8, np.uint8)
    picture[:, :80] = 96
    for x, y, level in squares:
        picture[max(y, 0) : y + size, max(x, 0) : x + size] = level
    return picture


def film(tracker: Tracker, frames: Sequence[Picture], start: float = 0.0) -> list[list[TrackedFace]]:
    """The tracker's output for frames at 30 per second."""
    return [tracker.update(frame, start + index / FPS) for index, frame in enumerate(frames)]


def ids(faces: Sequence[TrackedFace]) -> list[int]:
    return [face.id for face in faces]


def tracker_of(model: Blobs | Script, **options: object) -> Tracker:
    """Tracker on the stand-in, not smoothed, so that points are exact."""
    return Tracker(model, Tracking(**options), smoothing=None)  # type: ignore[arg-type]  # stands in


def test_a_face_keeps_its_id_and_is_sought_where_it_was() -> None:
    """One id over a walk through the picture; the detector looks once and then at every tenth frame."""
    model = Blobs()
    found = film(tracker_of(model), [scene((4 * i, 40, 200)) for i in range(31)])
    assert {tuple(ids(faces)) for faces in found} == {(0,)}
    np.testing.assert_array_equal(found[-1][0].face.points[0], [120, 40])
    assert model.asked == 1 + 3
    assert found[-1][0].age == pytest.approx(1.0)


@pytest.mark.parametrize("redetect", [1, 5, 30])
def test_a_face_that_comes_in_is_found_within_redetect_frames(redetect: int) -> None:
    """Beside one that is known, it waits for the detector's next look and gets the next id."""
    frames = [scene((20, 40, 200))] * 3 + [scene((20, 40, 200), (100, 40, 150))] * 30
    found = film(tracker_of(Blobs(), redetect=redetect), frames)
    first = next(index for index, faces in enumerate(found) if len(faces) == 2)
    assert 3 <= first <= 3 + redetect
    assert ids(found[-1]) == [0, 1]


def test_a_lost_face_makes_the_detector_look_at_once() -> None:
    """A face that jumps is found again in the same frame, as a new one."""
    found = film(tracker_of(Blobs(), redetect=100), [scene((10, 10, 200))] * 3 + [scene((110, 70, 200))] * 2)
    assert [ids(faces) for faces in found] == [[0], [0], [0], [1], [1]]


def test_a_face_covered_for_a_moment_keeps_its_id() -> None:
    """Ten frames away, a third of a second, are no parting; meanwhile it is not shown."""
    frames = [scene((60, 40, 200))] * 4 + [scene()] * 10 + [scene((62, 42, 200))] * 3
    found = film(tracker_of(Blobs()), frames)
    assert [ids(faces) for faces in found] == [[0]] * 4 + [[]] * 10 + [[0]] * 3
    assert found[-1][0].age == pytest.approx(16 / FPS)


def test_a_lost_face_is_known_at_its_last_place_for_a_while() -> None:
    """Within the patience; a face in sight is not hidden."""
    tracker = tracker_of(Blobs(), patience=0.2)
    film(tracker, [scene((40, 40, 200))])
    assert tracker.hidden_faces() == []
    film(tracker, [scene()], start=0.1)
    (lost,) = tracker.hidden_faces()
    np.testing.assert_array_equal(lost.points[0], [40, 40])
    film(tracker, [scene()], start=0.3)
    assert tracker.hidden_faces() == []


def test_a_face_away_for_longer_comes_back_as_another() -> None:
    """After an empty stretch beyond `patience`, ids continue and are never reused."""
    frames = [scene((60, 40, 200))] * 4 + [scene()] * 20 + [scene((60, 40, 200))] * 3
    found = film(tracker_of(Blobs()), frames)
    assert [ids(faces) for faces in found] == [[0]] * 4 + [[]] * 20 + [[1]] * 3


def test_a_cut_gives_new_ids_even_where_a_face_stays_in_place() -> None:
    """Another scene with a face in the very same box is another face."""
    other = np.ascontiguousarray(scene()[:, ::-1])
    other[40:70, 60:90] = 220
    found = film(tracker_of(Blobs()), [scene((60, 40, 200))] * 4 + [other] * 3)
    assert [ids(faces) for faces in found] == [[0]] * 4 + [[1]] * 3


def test_light_going_up_is_no_cut() -> None:
    """Doubling the brightness of the picture keeps the ids."""
    dark = scene((60, 40, 240)) // 2
    found = film(tracker_of(Blobs()), [dark] * 3 + [dark * 2] * 3)
    assert {tuple(ids(faces)) for faces in found} == {(0,)}


def test_of_two_tracks_on_one_face_the_one_that_slid_over_ends() -> None:
    """When a face vanishes beside another, its track does not follow the other face."""
    both, one = scene((50, 40, 150), (78, 40, 200)), scene((78, 40, 200))
    found = film(tracker_of(Blobs(), redetect=3), [both] * 6 + [one] * 30)
    by_place = {face.id: face.raw_points[0, 0] for face in found[5]}
    kept = next(number for number, x in by_place.items() if x == 78)
    assert len(by_place) == 2
    assert {tuple(ids(faces)) for faces in found[6:]} == {(kept,)}


def test_no_face_is_tracked_twice() -> None:
    """However often the detector looks, a known face stays one."""
    found = film(tracker_of(Blobs(), redetect=1), [scene((3 * i, 40, 200), (100, 5, 150)) for i in range(20)])
    assert {tuple(ids(faces)) for faces in found} == {(0, 1)}


def test_faces_passing_each_other_keep_their_ids() -> None:
    """Two walk through the picture in opposite directions, one a little above the other."""
    frames = [scene((5 + 3 * i, 30, 200), (125 - 3 * i, 66, 150)) for i in range(41)]
    found = film(tracker_of(Blobs()), frames)
    assert all(len(faces) == 2 for faces in found)
    upper, lower = sorted(found[0], key=lambda face: face.raw_points[0, 1])
    assert {face.id: tuple(face.raw_points[0]) for face in found[40]} == {upper.id: (125, 30), lower.id: (5, 66)}


def test_at_most_max_faces_larger_ones_first() -> None:
    """The third face waits until there is room."""
    small = scene((10, 80, 150), size=15)
    small[10:40, 10:40], small[10:40, 100:130] = 250, 200
    without = small.copy()
    without[10:40, 100:130] = 20
    found = film(tracker_of(Blobs(), max_faces=2, redetect=2), [small] * 5 + [without] * 5)
    assert all(len(faces) == 2 for faces in found[:5])
    assert {face.raw_points[0, 1] for face in found[4]} == {10.0}
    assert {face.raw_points[0, 1] for face in found[-1]} == {10.0, 80.0}


def test_a_model_without_confidence_goes_by_what_the_detector_sees() -> None:
    """A track that three searches in a row have missed ends; one that they see goes on."""
    model = Blobs(scored=False)
    frames = [scene((60, 40, 200))] * 12 + [scene()] * 30
    found = film(tracker_of(model, redetect=2, patience=9.0), frames)
    assert all(ids(faces) == [0] for faces in found[:12])
    assert all(ids(faces) == [0] for faces in found[12:16])
    assert all(ids(faces) == [] for faces in found[18:])


def test_points_that_are_none_end_a_track(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not finite, shrunk to a dot or out of the picture: lost, not followed into nowhere."""
    outside = np.array([[0, 0], [30, 0], [0, 30], [30, 30]]) - 90.0
    for points in (np.full((4, 2), np.nan), np.full((4, 2), 50.0), outside):
        model = Blobs()
        tracker = tracker_of(model, redetect=100)
        film(tracker, [scene((60, 40, 200))] * 2)
        broken = Face(points, np.array([60.0, 40.0, 89.0, 69.0]), CORNERS, confidence=1.0)
        monkeypatch.setattr(model, "landmarks", lambda image, boxes, angles, broken=broken: [broken for _ in boxes])
        monkeypatch.setattr(model, "detect", lambda image: [])
        assert tracker.update(scene((60, 40, 200)), 1.0) == []


def test_points_are_smoothed_and_raw_ones_kept() -> None:
    """After a step the raw points are there, the smoothed ones on their way."""
    tracker = Tracker(Blobs())  # type: ignore[arg-type]  # stands in
    (face,) = film(tracker, [scene((60, 40, 200))] * 5 + [scene((64, 40, 200))])[-1]
    assert face.raw_points[0, 0] == 64
    assert 60.5 < face.face.points[0, 0] < 63.5


def test_each_frame_is_later_than_the_last() -> None:
    """A film that goes back in time is refused, with both times."""
    tracker = tracker_of(Blobs())
    tracker.update(scene(), 2.0)
    with pytest.raises(VideoError, match=r"at 1\.5 s after one at 2\.0 s"):
        tracker.update(scene(), 1.5)


def test_a_grey_frame_is_refused() -> None:
    """Two-dimensional arrays are not guessed at."""
    with pytest.raises(ImageError, match="needs RGB uint8"):
        tracker_of(Blobs()).update(scene()[:, :, 0], 0.0)


@pytest.mark.parametrize(
    "options",
    [{"redetect": 0}, {"min_confidence": 1.5}, {"patience": -1.0}, {"patience": float("nan")}, {"max_faces": 0}],
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    """The error names the option and its value."""
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"{name} {value}: needs"):
        Tracking(**options)  # type: ignore[arg-type]  # wrong on purpose


@dataclass
class Script:
    """Fake Landmarker with scripted results: `found` are the boxes that `detect` finds.

    `looks` says where a look into a box ends, at what box; None for no face. A box that it does not name is looked into
    in vain unless it is one of `found`. Scores are `confidence`, or 0 where there is no face; None for a model without.
    """

    found: list[Sequence[float]]
    looks: dict[tuple[float, ...], Sequence[float] | None] = field(default_factory=dict)
    confidence: float | None = 1.0
    asked: int = 0
    spec: ModelSpec = field(default_factory=lambda: ModelSpec(CORNERS, 32))

    def detect(self, image: Picture) -> list[Face]:
        """A face a box of `found`, whose points are where a look into it ends."""
        self.asked += 1
        return [self._face(box, box, self.confidence) for box in self.found]

    def landmarks(self, image: Picture, boxes: Sequence[Array], angles: Sequence[float]) -> list[Face]:
        """One face a box."""
        return [self._look(tuple(float(value) for value in box)) for box in boxes]

    def _look(self, box: tuple[float, ...]) -> Face:
        end = self.looks.get(box, box if box in [tuple(one) for one in self.found] else None)
        if end is None:
            return self._face(box, box, None if self.confidence is None else 0.0)
        return self._face(box, end, self.confidence)

    def _face(self, box: Sequence[float], ends: Sequence[float], confidence: float | None) -> Face:
        x0, y0, x1, y1 = ends
        points = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]], dtype=float)
        return Face(points, np.array(box, dtype=float), CORNERS, confidence=confidence)


def square(x: float, size: float = 26.0, y: float = 40.0) -> tuple[float, ...]:
    """Box of `size` px at (x, y); two of 26 px that are 14 px apart have an IoU of 0.3, 14.1 px one of 0.297."""
    return (float(x), float(y), float(x + size), float(y + size))


SAME_SCENE = scene()


def step(tracker: Tracker, seconds: float) -> list[int]:
    """Ids in the next frame, of the same scene."""
    return ids(tracker.update(SAME_SCENE, seconds))


@pytest.mark.parametrize(("shift", "number"), [(14, 0), (14.1, 1), (-14, 0), (-14.1, 1)])
def test_a_face_that_comes_back_is_the_same_from_an_overlap_of_three_tenths(shift: float, number: int) -> None:
    """Farther from where it was last it is another."""
    model = Script([square(60)])
    tracker = tracker_of(model)
    assert step(tracker, 0.0) == [0]
    model.found = []
    assert step(tracker, 0.1) == []
    model.found = [square(60 + shift)]
    assert step(tracker, 0.2) == [number]


@pytest.mark.parametrize(("shift", "faces"), [(14, 1), (14.1, 2)])
def test_a_find_beside_a_track_is_its_face_from_an_overlap_of_three_tenths(shift: float, faces: int) -> None:
    """A detector's box is loose: one that overlaps a known face is no second one."""
    model = Script([square(60)])
    tracker = tracker_of(model, redetect=1)
    step(tracker, 0.0)
    model.found = [square(60), square(60 + shift)]
    assert len(step(tracker, 0.1)) == faces


@pytest.mark.parametrize(("shift", "number"), [(14, 0), (14.1, 1)])
def test_a_track_without_confidence_matches_from_an_overlap_of_three_tenths(shift: float, number: int) -> None:
    """Three searches in a row that find nothing so near it end it."""
    model = Script([square(60)], {square(60): square(60)}, confidence=None)
    tracker = tracker_of(model, redetect=1, max_faces=1)
    step(tracker, 0.0)
    model.found = [square(60 + shift)]
    found = [step(tracker, 0.1 * index) for index in range(1, 5)]
    assert found[:2] == [[0], [0]]
    assert found[3] == [number]


def test_three_misses_in_a_row_end_a_track_without_confidence() -> None:
    """Two do not, nor do two and two with a find between; one with confidence goes on whatever the detector misses."""
    for confidence, last in ((None, []), (0.9, [0])):
        model = Script([square(60)], {square(60): square(60)}, confidence=confidence)
        tracker = tracker_of(model, redetect=1)
        step(tracker, 0.0)
        seen = [True, False, False, True, False, False, False]
        found = []
        for index, there in enumerate(seen):
            model.found = [square(60)] if there else []
            found.append(step(tracker, 0.01 * (index + 1)))
        assert found == [[0]] * 6 + [last]


def pattern(share: float) -> Picture:
    """A picture whose 16×16 blocks correlate by `share` with those of `pattern(1.0)`."""
    rng = np.random.default_rng(0)
    first, second = rng.choice([-1.0, 1.0], (2, 16, 16))
    first -= first.mean()
    second -= second.mean() + (second * first).sum() / (first**2).sum() * first
    second *= np.sqrt((first**2).sum() / (second**2).sum())
    mixed = 128 + 40 * (share * first + np.sqrt(1 - share**2) * second)
    return np.repeat(np.repeat(np.round(mixed).astype(np.uint8), 8, axis=0), 10, axis=1)[..., None].repeat(3, axis=2)


@pytest.mark.parametrize(("share", "number"), [(0.52, 0), (0.48, 1), (1.0, 0), (0.0, 1)])
def test_a_scene_is_cut_where_it_correlates_by_less_than_half(share: float, number: int) -> None:
    """The face is where it was, its id is another only behind a cut."""
    tracker = tracker_of(Script([square(60)]))
    assert ids(tracker.update(pattern(1.0), 0.0)) == [0]
    assert ids(tracker.update(pattern(share), 0.1)) == [number]


def test_each_frame_is_compared_with_the_one_before() -> None:
    """A slow change is no cut, however far it leads in the end."""
    tracker = tracker_of(Script([square(60)]))
    shares = [1.0, 0.8, 0.5, 0.2, 0.0]
    assert [ids(tracker.update(pattern(share), 0.1 * index)) for index, share in enumerate(shares)] == [[0]] * 5


def test_a_face_that_was_away_never_ousts_one_in_sight() -> None:
    """A track walks to where another was lost, and both find its face there: the one in sight keeps it.

    The other has not moved at all, which alone would decide between two in sight.
    """
    here, there = square(30), square(100)
    model = Script([here, there])
    tracker = tracker_of(model, redetect=100)
    assert step(tracker, 0.0) == [0, 1]
    model.found, model.looks = [], {here: here, there: None}
    assert step(tracker, 0.1) == [0]
    model.looks = {here: there, there: there}
    assert step(tracker, 0.2) == [0]


def test_of_two_in_sight_the_one_that_moved_less_stays() -> None:
    """The other waits where it last saw its own face, and has it again when that comes back."""
    left, right = square(30), square(100)
    model = Script([left, right])
    tracker = tracker_of(model, redetect=100)
    step(tracker, 0.0)
    model.looks, model.found = {left: right, right: right}, [right]
    assert step(tracker, 0.1) == [1]
    model.looks, model.found = {left: left, right: right}, [left, right]
    assert step(tracker, 0.2) == [0, 1]


def test_where_both_moved_alike_the_older_one_stays() -> None:
    """Two tracks cross half way."""
    left, middle, right = square(40), square(50), square(60)
    model = Script([left])
    tracker = tracker_of(model, redetect=1)
    step(tracker, 0.0)
    model.found, model.looks = [left, square(90)], {square(90): right, left: left}
    assert step(tracker, 0.1) == [0, 1]
    model.found, model.looks = [], {left: middle, right: middle}
    assert step(tracker, 0.2) == [0]


@pytest.mark.parametrize(("apart", "known"), [(10, [0, 1]), (9, [0])])
def test_two_tracks_are_on_one_face_beyond_an_overlap_of_a_half(apart: int, known: list[int]) -> None:
    """Boxes of 30 px that are 10 px apart overlap by exactly a half: still two faces."""
    first, second = square(40, 30), square(100, 30)
    model = Script([first, second])
    tracker = tracker_of(model, redetect=100)
    step(tracker, 0.0)
    model.found, model.looks = [], {first: square(60, 30), second: square(60 + apart, 30)}
    assert len(step(tracker, 0.1)) == len(known)


@pytest.mark.parametrize(("apart", "faces"), [(10, 2), (9, 1)])
def test_a_find_whose_points_lead_to_a_known_face_is_not_taken_up(apart: int, faces: int) -> None:
    """The detector's box is elsewhere, the points in it are another's by more than a half."""
    known, loose = square(40, 30), square(90, 30)
    model = Script([known])
    tracker = tracker_of(model, redetect=1)
    step(tracker, 0.0)
    model.found, model.looks = [known, loose], {loose: square(40 + apart, 30)}
    assert len(step(tracker, 0.1)) == faces


@pytest.mark.parametrize(("box", "holds"), [
    ((60, 40, 68, 70), True), ((60, 40, 67.9, 70), False), ((60, 40, 90, 48), True), ((60, 40, 90, 47.9), False),
    ((-15, 40, 15, 70), True), ((-15.2, 40, 15, 70), False), ((60, -15, 90, 15), True), ((60, -15.2, 90, 15), False),
    ((144, 40, 174, 70), True), ((144.2, 40, 174, 70), False), ((60, 104, 90, 134), True),
    ((60, 104.2, 90, 134), False),
])  # fmt: skip
def test_a_face_is_at_least_8_pixels_large_with_its_centre_in_the_picture(
    box: tuple[float, ...], holds: bool
) -> None:
    """Pictures are 160×120: the centres of their first and last pixels are 0 and 159, 0 and 119."""
    tracker = tracker_of(Script([box]))
    assert step(tracker, 0.0) == ([0] if holds else [])


@pytest.mark.parametrize(("confidence", "known"), [(0.5, [0]), (0.499, []), (None, [0])])
def test_a_face_below_the_least_confidence_is_none(confidence: float | None, known: list[int]) -> None:
    """A model without scores is believed."""
    assert step(tracker_of(Script([square(60)], confidence=confidence)), 0.0) == known


@pytest.mark.parametrize(("hidden_until", "number"), [(0.5, 0), (0.5625, 1)])
def test_patience_counts_from_when_the_face_was_last_there(hidden_until: float, number: int) -> None:
    """After exactly half a second it is still waited for, after more no longer."""
    model = Script([square(60)])
    tracker = tracker_of(model, patience=0.5)
    step(tracker, 0.0)
    model.found = []
    for seconds in (0.25, hidden_until):
        assert step(tracker, seconds) == []
    model.found = [square(60)]
    assert step(tracker, 0.625) == [number]


def test_the_detector_looks_when_none_is_known_one_is_lost_or_it_is_time() -> None:
    """At every frame without a face, at once when one of several goes, and at every `redetect`-th."""
    model = Script([])
    tracker = tracker_of(model, redetect=4)
    for index in range(3):
        step(tracker, 0.01 * index)
    assert model.asked == 3
    model.found = [square(30), square(100)]
    step(tracker, 0.1)
    assert model.asked == 4
    asked = []
    for index in range(8):
        step(tracker, 0.11 + 0.01 * index)
        asked.append(model.asked)
    assert asked == [4, 4, 4, 5, 5, 5, 5, 6]
    step(tracker, 0.3)
    model.looks = {square(100): None}
    step(tracker, 0.31)
    assert model.asked == 7


def test_at_most_max_faces_are_taken_up_and_the_next_when_one_goes() -> None:
    """Exactly one face with max_faces 1."""
    model = Script([square(30), square(100)])
    tracker = tracker_of(model, max_faces=1, redetect=1)
    assert [step(tracker, 0.1), step(tracker, 0.2)] == [[0], [0]]
    model.found = [square(100)]
    assert step(tracker, 0.3) == [1]


@pytest.mark.parametrize("seconds", [1.0, 0.9, float("nan"), float("inf")])
def test_a_frame_that_is_refused_changes_nothing(seconds: float) -> None:
    """The same moment again is refused, too; the next frame counts its age from the first."""
    tracker = tracker_of(Script([square(60)]))
    step(tracker, 1.0)
    with pytest.raises(VideoError, match="each must be later than the last"):
        tracker.update(SAME_SCENE, seconds)
    (face,) = tracker.update(SAME_SCENE, 1.5)
    assert (face.id, face.age) == (0, 0.5)


@pytest.mark.parametrize(
    "options", [{"redetect": 1}, {"min_confidence": 0.0}, {"min_confidence": 1.0}, {"patience": 0.0}, {"max_faces": 1}]
)
def test_options_at_the_end_of_their_range_are_taken(options: dict[str, float]) -> None:
    """And have the value passed in."""
    tracking = Tracking(**options)  # type: ignore[arg-type]  # one of several types
    ((name, value),) = options.items()
    assert getattr(tracking, name) == value


def test_the_defaults_are_as_documented() -> None:
    """Every tenth frame, a probability of a half, half a second, all faces."""
    assert asdict(Tracking()) == {"redetect": 10, "min_confidence": 0.5, "patience": 0.5, "max_faces": None}


def test_correlation_is_pearsons() -> None:
    """As NumPy computes it; flat pictures are alike, and unlike any other."""
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0, 255, (2, 16, 16))
    second = second + first
    known = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert correlation(first, second) == pytest.approx(known)
    assert correlation(first, 3 * first + 7) == pytest.approx(1.0)
    assert correlation(first, -first) == pytest.approx(-1.0)
    flat = np.full((16, 16), 9.0)
    assert [correlation(flat, flat + 1), correlation(flat, first), correlation(first, flat)] == [1.0, 0.0, 0.0]


def test_a_thumbnail_is_the_mean_of_each_block_in_grey() -> None:
    """16 columns and rows, whatever the picture's size."""
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    blocks = image.reshape(16, 2, 16, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(thumbnail_of(image), blocks.mean(axis=2), atol=0.6)


@dataclass(frozen=True, eq=False)
class Person:
    """A face cut out of its picture, `patch` 72 px wide, and its points (68, 2) there."""

    patch: Picture
    points: Array

    def put(self, frame: Picture, x: float, y: float) -> Array:
        """Paste it with its corner at integer pixels (x, y); returns its points in the frame."""
        x, y = round(x), round(y)
        size = len(self.patch)
        left, right = max(-x, 0), min(frame.shape[1] - x, size)
        if left < right:
            frame[y : y + size, x + left : x + right] = self.patch[:, left:right]
        return self.points + np.array([x, y])


def cut_out(sample: Sample, size: int = 96) -> Person:
    """The face of `sample` with a margin of a sixth of its size on every side."""
    matrix = crop_matrix(tight_box(sample.points), size, 4 / 3)
    return Person(warp(load_image(sample), matrix, size, cv2.BORDER_REPLICATE), transform(matrix, sample.points))


def backdrop(seed: int) -> Picture:
    """Smooth colours that no cascade takes for a face."""
    coarse = np.random.default_rng(seed).integers(60, 200, (3, 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (320, 220), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


Story = list[tuple[Picture, dict[str, Array]]]  # frames, and where whose points are


def long_story(people: Sequence[Person]) -> Story:
    """Two people pass each other, an empty stretch, one comes back, a cut to a third in the same place."""
    anna, bert, carl = people
    story: Story = []
    for step in range(34):
        frame = backdrop(1)
        there = {"anna": anna.put(frame, 20 + 5 * step, 10), "bert": bert.put(frame, 200 - 5 * step, 112)}
        story.append((frame, there))
    story += [(backdrop(1), {})] * 17  # longer than the tracker's patience
    for step in range(10):
        frame = backdrop(1)
        story.append((frame, {"anna again": anna.put(frame, 100 + step, 60)}))
    for step in range(10):
        frame = backdrop(7)
        story.append((frame, {"carl": carl.put(frame, 111, 60 + step)}))
    return story


def check_story(story: Story, path: Path, accuracy: float) -> None:
    """Film the story, read it back, follow it: one id a person, an id for one person only, points within `accuracy`."""
    with writing_video(path) as writer:
        for index, (frame, _) in enumerate(story):
            writer.write(frame, index / FPS)
    tracker = Tracker(Landmarker("fast", "cascade", threads=1), Tracking(redetect=4))
    known: dict[str, set[int]] = {}
    missing = 0
    with VideoReader(path) as reader:
        for frame, (_, there) in zip(reader, story, strict=True):
            faces = tracker.update(frame.image, frame.seconds)
            assert len(faces) <= len(there), f"frame {frame.index}"
            missing += len(there) - len(faces)
            for face in faces:
                errors = {name: nearness(face, points) for name, points in there.items()}
                name = min(errors, key=lambda key: errors[key])
                assert errors[name] < accuracy, f"frame {frame.index}, {name}"
                known.setdefault(name, set()).add(face.id)
    assert {name: len(numbers) for name, numbers in known.items()} == dict.fromkeys(known, 1)
    assert sorted(number for numbers in known.values() for number in numbers) == list(range(len(known)))
    assert set(known) == {name for _, there in story for name in there}
    assert missing <= 12  # bert may wait for the next search, and a cascade may miss a face in a frame or two


def nearness(face: TrackedFace, points: Array) -> float:
    """Mean distance of smoothed points from `points` (68, 2), in eye distances."""
    eyes = np.linalg.norm(points[36] - points[45])
    return float(np.linalg.norm(face.face.points - points, axis=1).mean() / eyes)


def test_a_long_film_of_painted_faces(tmp_path: Path) -> None:
    """The shipped model and the cascade on procedural faces, through a video file."""
    samples = synthetic_samples(8, 0)
    check_story(long_story([cut_out(samples[index]) for index in (4, 7, 1)]), tmp_path / "film.mkv", 0.15)


def test_a_long_film_of_real_faces(real_data: Path, tmp_path: Path) -> None:
    """The same with photographs of people that may be trained on."""
    samples = read_pts_tree(real_data / "300w" / "helen" / "trainset")
    check_story(long_story([cut_out(samples[index]) for index in (10, 20, 40)]), tmp_path / "film.mp4", 0.12)


def test_points_of_ones_own_are_sought_in_the_faces_box() -> None:
    """A model whose points cover a third of the face gets the full face's box in every frame."""
    model = Inner()
    tracker = Tracker(model)  # type: ignore[arg-type]  # all that it needs of a Landmarker
    for number in range(6):
        (tracked,) = tracker.update(scene((40 + 3 * number, 50, 200)), number / FPS)
        assert tracked.id == 0
    sides = [box[2:] - box[:2] for box in model.boxes]
    np.testing.assert_allclose(sides, 29, atol=0.5)
    assert len(sides) == 6
    assert model.angles == [0.0] * 6


def test_three_faces_have_an_id_each_and_keep_it() -> None:
    """Each is matched with the track that it overlaps most, whichever comes first."""
    model = Script([square(10), square(60), square(110)])
    tracker = tracker_of(model, redetect=1)
    assert [step(tracker, 0.01 * index) for index in range(3)] == [[0, 1, 2]] * 3
    model.looks = {square(60): None}
    model.found = [square(10), square(110)]
    assert step(tracker, 0.1) == [0, 2]
    model.looks, model.found = {}, [square(110), square(62), square(10)]
    assert step(tracker, 0.2) == [0, 1, 2]


def test_a_scene_that_correlates_by_exactly_the_bound_is_no_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes less."""
    tracker = tracker_of(Script([square(60)]))
    monkeypatch.setattr(tracker_module, "correlation", lambda first, second: tracker_module.CUT)
    assert [step(tracker, 0.0), step(tracker, 0.1)] == [[0], [0]]


@dataclass
class Doubtful(Script):
    """A Script whose points are all off by `doubt` pixels."""

    doubt: float = 1.0

    def _face(self, box: Sequence[float], ends: Sequence[float], confidence: float | None) -> Face:
        return replace(super()._face(box, ends, confidence), expected_error=np.full(4, self.doubt))


def test_points_are_smoothed_by_their_expected_error() -> None:
    """As the filter itself smooths them: points that may be far off follow a step more slowly."""
    moved = []
    for doubt in (0.3, 3.0):
        model = Doubtful([square(60)], {square(60): square(64)}, doubt=doubt)
        tracker, smoother = Tracker(model), OneEuro()  # type: ignore[arg-type]  # stands in
        model.looks = {}
        for index in range(3):
            (tracked,) = tracker.update(SAME_SCENE, 0.1 * index)
            expected = smoother(tracked.raw_points, 0.1 * index, np.full(4, doubt))
            np.testing.assert_allclose(tracked.face.points, expected)
            model.looks = {square(60): square(64)}
            model.looks[square(64)] = square(64)
        moved.append(tracked.face.points[0, 0] - 60)
    assert 0 < moved[1] < moved[0] < 4


@dataclass
class Middle(Script):
    """A model of points that all lie in the middle of a face, so that they do not say how large it is."""

    spec: ModelSpec = field(default_factory=lambda: ModelSpec(CORNERS, 32, template=((0.0, 0.0),) * 4))

    def _face(self, box: Sequence[float], ends: Sequence[float], confidence: float | None) -> Face:
        face = super()._face(box, ends, confidence)
        return replace(face, points=np.tile(face.points.mean(axis=0), (4, 1)))


def test_a_face_whose_points_have_no_size_keeps_that_of_its_box() -> None:
    """It is sought and smoothed by the box that it was found in."""
    model = Middle([square(60)], {square(60): square(64), square(64): square(64)})
    tracker = Tracker(model)  # type: ignore[arg-type]  # stands in
    for index in range(3):
        (tracked,) = tracker.update(SAME_SCENE, 0.1 * index)
        assert tracked.id == 0
        assert tracked.face.box[2] - tracked.face.box[0] == 26
    np.testing.assert_array_equal(tracked.raw_points[0], [77, 53])


def rolled_face(roll: float, zoom: float = 1.0) -> tuple[Picture, Array]:
    """A painted face turned by `roll` degrees about the middle of a picture of 200 px, and the matrix that did it."""
    sample = synthetic_samples(4, 0)[3]
    matrix = similarity_matrix(box_centre(tight_box(sample.points)), np.full(2, 99.5), zoom, roll)
    picture = cv2.warpAffine(load_image(sample), matrix, (200, 200), borderValue=(128, 128, 128))
    return np.asarray(picture, dtype=np.uint8), matrix


@pytest.mark.parametrize("step_degrees", [12.0, -12.0])
def test_a_face_that_rolls_through_the_circle_keeps_its_id_and_points(
    step_degrees: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 360° a second, one crop a frame between the detector's runs, without a jump of the smoothed points."""
    truth = tight_box(synthetic_samples(4, 0)[3].points)
    start, matrix = rolled_face(0.0)
    corners = transform(matrix, truth.reshape(2, 2))
    model = Landmarker("fast", FixedBoxes([corners.ravel()]), threads=1)
    crops: list[int] = []
    outputs = model._model.outputs
    monkeypatch.setattr(model._model, "outputs", lambda batch: crops.append(len(batch)) or outputs(batch))
    tracker = Tracker(model, Tracking(redetect=100))
    (upright,) = model.landmarks(start, [corners.ravel()])
    crops.clear()
    for frame in range(32):
        picture, turned = rolled_face(frame * step_degrees)
        (tracked,) = tracker.update(picture, frame / FPS)
        expected = transform(compose(turned, invert(matrix)), upright.points)
        assert tracked.id == 0
        assert np.linalg.norm(tracked.raw_points - expected, axis=1).mean() < 0.03 * longer_side(truth)
        assert np.linalg.norm(tracked.face.points - expected, axis=1).mean() < 0.08 * longer_side(truth)
    # Two crops for the first frame, where the detector finds the face, and one for each of the others.
    assert sum(crops) == 2 + 31


def test_a_rolled_face_that_leaves_comes_back_as_itself() -> None:
    """Within the patience, at the roll that it had, and found by the detector at another."""
    box = tight_box(transform(rolled_face(0.0)[1], synthetic_samples(4, 0)[3].points))
    tracker = Tracker(Landmarker("fast", FixedBoxes([box]), threads=1), Tracking(redetect=100))
    empty = np.full((200, 200, 3), 128, np.uint8)
    found = []
    for frame, roll in enumerate([150, 150, None, None, 160, None, None, -90]):
        picture = empty if roll is None else rolled_face(roll)[0]
        tracker._thumbnail = None  # whatever the frames look like, they are one scene
        found.append(ids(tracker.update(picture, frame / FPS)))
    assert found == [[0], [0], [], [], [0], [], [], [0]]


@pytest.mark.parametrize(("held", "roll", "expected"), [
    (0.0, 25.0, 0.0),
    (0.0, -25.5, -25.5),
    (26.0, 2.0, 26.0),
    (26.0, 0.5, 0.0),
    (178.0, -175.0, 178.0),
    (178.0, -150.0, -150.0),
    (-90.0, np.nan, -90.0),
])
def test_a_crop_turns_only_when_the_face_does(held: float, roll: float, expected: float) -> None:
    """The noise of points is no roll, an upright face has none, and the circle has no seam."""
    assert held_roll(held, roll) == expected
