"""Faces keep their ids and points through a film: cuts, crossings, covers, empty stretches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightmark.data.pts import read_pts_tree
from lightmark.data.sample import Sample, load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import ConfigError, ImageError, VideoError
from lightmark.geometry import Array, crop_matrix, tight_box, transform
from lightmark.image import Picture, warp
from lightmark.runtime.face import Face
from lightmark.runtime.landmarker import Landmarker
from lightmark.runtime.tracker import TrackedFace, Tracker, Tracking
from lightmark.runtime.video import VideoReader
from lightmark.runtime.video_writer import writing_video
from lightmark.schema import Schema

FPS = 30.0
CORNERS = Schema("corners", mirror=(1, 0, 3, 2), normaliser=(0, 1))


@dataclass
class Blobs:
    """Stands in for a Landmarker: a face is a bright square, its points the corners, its score 1 or 0.

    `detect` finds squares of one colour wherever they are and counts how often it was asked; `landmarks` the one that
    fills most of the box, half as large again.
    """

    scored: bool = True
    asked: int = 0

    def detect(self, image: Picture) -> list[Face]:
        """Faces of every colour, the largest first."""
        self.asked += 1
        levels = [level for level in np.unique(image) if level > 100]
        boxes = [self._box(image[:, :, 0] == level, np.zeros(2)) for level in levels]
        boxes.sort(key=lambda box: -(box[2] - box[0]))
        return [self._face(box, 1.0) for box in boxes]

    def landmarks(self, image: Picture, boxes: Sequence[Array]) -> list[Face]:
        """One face a box, score 0 where the box shows no square."""
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

    def _face(self, box: Array, score: float) -> Face:
        x0, y0, x1, y1 = box
        points = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]])
        return Face(points, box, CORNERS, score=score if self.scored else None)


def scene(*squares: tuple[int, int, int], size: int = 30) -> Picture:
    """Picture with squares (x, y, level), later ones before earlier ones, on a ground half light, half dark."""
    picture = np.full((120, 160, 3), 8, np.uint8)
    picture[:, :80] = 96
    for x, y, level in squares:
        picture[max(y, 0) : y + size, max(x, 0) : x + size] = level
    return picture


def film(tracker: Tracker, frames: Sequence[Picture], start: float = 0.0) -> list[list[TrackedFace]]:
    """What the tracker says of frames at 30 a second."""
    return [tracker.update(frame, start + index / FPS) for index, frame in enumerate(frames)]


def ids(faces: Sequence[TrackedFace]) -> list[int]:
    return [face.id for face in faces]


def tracker_of(model: Blobs, **options: object) -> Tracker:
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


def test_a_face_away_for_longer_comes_back_as_another() -> None:
    """After an empty stretch beyond `patience`, ids go on counting and are never given again."""
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
    """Twice the brightness of all that is seen keeps the ids."""
    dark = scene((60, 40, 240)) // 2
    found = film(tracker_of(Blobs()), [dark] * 3 + [dark * 2] * 3)
    assert {tuple(ids(faces)) for faces in found} == {(0,)}


def test_of_two_tracks_on_one_face_the_one_that_slid_over_ends() -> None:
    """A face vanishes beside another: its track sees the other's in its box, and is not shown twice."""
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


def test_a_model_without_score_goes_by_what_the_detector_sees() -> None:
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
        broken = Face(points, np.array([60.0, 40.0, 89.0, 69.0]), CORNERS, score=1.0)
        monkeypatch.setattr(model, "landmarks", lambda image, boxes, broken=broken: [broken for _ in boxes])
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
    "options", [{"redetect": 0}, {"min_score": 1.5}, {"patience": -1.0}, {"patience": float("nan")}, {"max_faces": 0}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    """The error names the option and its value."""
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"{name} {value}: needs"):
        Tracking(**options)  # type: ignore[arg-type]  # wrong on purpose


@dataclass(frozen=True, eq=False)
class Person:
    """A face cut out of its picture, `patch` 72 px wide, and its points (68, 2) there."""

    patch: Picture
    points: Array

    def put(self, frame: Picture, x: float, y: float) -> Array:
        """Paste it with its corner at whole pixels (x, y); its points in the frame."""
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
