"""Mosaics show faces at their boxes, and repeat with the same seed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.sample import Sample
from lightmark.data.synthetic.head import mean_points
from lightmark.detectors.keypoint_box import keypoints_of, roll_of_keypoints
from lightmark.draw import write_png
from lightmark.errors import ImageError
from lightmark.geometry import overlaps, tight_box
from lightmark.image import Picture
from lightmark.schema import IBUG68
from lightmark.train.detector.mosaic import MosaicRules, Sources, draw_mosaic, visible_share

FLAT = mean_points()[:, :2]
POINTS = (FLAT - FLAT.min(axis=0)) / np.ptp(FLAT, axis=0) * 50.0 + [60, 70]  # in the box (60, 70, 110, 120)
BOX = tight_box(POINTS)


def red_face() -> Sample:
    """A grey picture whose face is a red rectangle, exactly its box."""
    picture = np.full((200, 180, 3), 90, np.uint8)
    x0, y0, x1, y1 = BOX.astype(int)
    picture[y0 : y1 + 1, x0 : x1 + 1] = (230, 20, 20)
    return Sample(Path("red.png"), POINTS, BOX, IBUG68, "red", image=picture)


def sources(backgrounds: list[Path | Picture] | None = None) -> Sources:
    """One red face and plain grey pictures without any."""
    return Sources([red_face()], backgrounds or [np.full((300, 400, 3), level, np.uint8) for level in (60, 160)])


def redness(image: Picture) -> np.ndarray:
    """How much redder than green each pixel is."""
    return image[..., 0].astype(int) - image[..., 1]


def test_the_same_numbers_draw_the_same_mosaic() -> None:
    """A function of the generator alone, so that any run can be repeated."""
    first, again, other = (draw_mosaic(sources(), MosaicRules(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.image, other.image)


def test_the_boxes_lie_where_the_faces_are() -> None:
    """Red is seen in the middle of nearly every box, and hardly anywhere without a box."""
    rules = replace(MosaicRules(), smallest=40, rotation=0, circle=0, exposure=0, empty=0)
    inside, outside = [], []
    for seed in range(25):
        mosaic = draw_mosaic(sources(), rules, np.random.default_rng(seed))
        assert len(mosaic.boxes) >= 1
        red, covered = redness(mosaic.image), np.zeros((rules.size, rules.size), bool)
        for x0, y0, x1, y1 in mosaic.boxes:
            width, height = x1 - x0, y1 - y0
            rows = slice(max(0, int(y0 - 0.6 * height)), max(0, int(y1 + 0.6 * height)))
            covered[rows, max(0, int(x0 - 0.6 * width)) : max(0, int(x1 + 0.6 * width))] = True
            third = np.array([width, height]) / 3
            (left, top), (right, bottom) = (np.array([x0, y0]) + third).clip(0), np.array([x1, y1]) - third
            middle = red[int(top) : int(bottom), int(left) : int(right)]
            if middle.size:
                inside.append(middle.mean())
        outside.append(red[~covered].mean() if (~covered).any() else 0)
    assert np.mean(np.array(inside) > 25) > 0.75  # the rest was turned grey or is under another patch
    assert np.median(np.abs(outside)) < 12


def test_a_rotated_face_keeps_the_size_of_its_box() -> None:
    """A box is the upright face's, at any roll, about the place that its centre came to."""
    rules = replace(MosaicRules(), circle=1, empty=0)
    for seed in range(20):
        mosaic = draw_mosaic(sources(), rules, np.random.default_rng(seed))
        extents = mosaic.boxes[:, 2:] - mosaic.boxes[:, :2]
        np.testing.assert_allclose(extents[:, 0], extents[:, 1], rtol=1e-2)  # the face is as wide as high
        centres = (mosaic.boxes[:, 2:] + mosaic.boxes[:, :2]) / 2
        distances = np.linalg.norm(mosaic.keypoints - centres[:, None], axis=2) / extents[:, :1]
        expected = np.linalg.norm(keypoints_of(POINTS) - [85, 95], axis=1) / 50
        np.testing.assert_allclose(distances, np.tile(expected, (len(distances), 1)), rtol=1e-2)


def test_rolls_span_the_circle() -> None:
    """Half of the faces are within 40° of upright by their rule, the other half anywhere; circle=0 keeps all there."""
    def rolls(circle: float) -> np.ndarray:
        rules = replace(MosaicRules(), circle=circle)
        mosaics = [draw_mosaic(sources(), rules, np.random.default_rng(seed)) for seed in range(60)]
        return np.array([roll_of_keypoints(face) for mosaic in mosaics for face in mosaic.keypoints])

    assert np.abs(rolls(0)).max() < 60
    spread = rolls(0.5)
    assert 0.45 < (np.abs(spread) < 40).mean() < 0.75
    assert 0.1 < (np.abs(spread) > 120).mean() < 0.3


def test_a_mirrored_face_swaps_its_keypoints() -> None:
    """The person's right eye stays the first: left of the left one in every upright face, mirrored or not."""
    rules = replace(MosaicRules(), rotation=0, circle=0, crowd=4, empty=0)
    faces = np.concatenate([draw_mosaic(sources(), rules, np.random.default_rng(seed)).keypoints for seed in range(30)])
    upright = faces[[abs(roll_of_keypoints(face)) < 60 for face in faces]]
    assert len(upright) == len(faces)
    right_eye, left_eye, _, right_mouth, left_mouth = upright.transpose(1, 0, 2)
    assert (right_eye[:, 0] < left_eye[:, 0]).all()
    assert (right_mouth[:, 0] < left_mouth[:, 0]).all()


def two_faces() -> Sources:
    """A red face and, to its right in the same picture, another, which a second data set labels once more."""
    red = red_face()
    right = POINTS + np.array([60.0, 0])
    picture = np.full((200, 300, 3), 90, np.uint8)
    for x0, y0, x1, y1 in (tight_box(points).astype(int) for points in (POINTS, right)):
        picture[y0 : y1 + 1, x0 : x1 + 1] = (230, 20, 20)
    faces = [replace(red, points=points, box=tight_box(points), image=None) for points in (POINTS, right, right + 2)]
    made = Sources(faces, [np.full((300, 400, 3), 60, np.uint8)])
    made.face = lambda index: picture
    return made


def test_neighbours_are_known_in_another_process() -> None:
    """Workers that are spawned get the sources pickled."""
    face = red_face()
    faces = [replace(face, points=points, image=None) for points in (POINTS, POINTS + 60.0)]
    there = pickle.loads(pickle.dumps(Sources(faces, [])))
    assert [len(there.beside(index)) for index in (0, 1)] == [1, 1]
    np.testing.assert_array_equal(there.beside(0)[0].points, POINTS + 60.0)


def test_neighbours_are_known_by_another_path_to_the_picture(tmp_path: Path) -> None:
    """One label file may name a picture by a way through its own folder, another by a link."""
    picture = red_face().image
    assert picture is not None
    write_png(picture, tmp_path / "group.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "link.png").symlink_to("group.png")
    for path in (tmp_path / "labels" / ".." / "group.png", tmp_path / "link.png"):
        first = replace(red_face(), path=tmp_path / "group.png", image=None)
        second = replace(first, path=path, points=POINTS + 60.0)
        assert len(Sources([first, second], []).beside(0)) == 1


def test_neighbours_in_a_pasted_picture_are_faces_too() -> None:
    """Where the mask shows them; where it hides half of one, that is ignored, and no face is labelled twice."""
    rules = replace(MosaicRules(), smallest=40, largest=0.2, circle=0, crowd=1, empty=0, exposure=0, covered=0)
    shown = {1: 0, 2: 0}  # of two neighbours inside the mosaic
    for seed in range(80):
        mosaic = draw_mosaic(two_faces(), rules, np.random.default_rng(seed))
        assert len(mosaic.boxes) in (1, 2)
        if len(mosaic.boxes) == 2 and visible_share(mosaic.boxes, rules.size).min() > 0.9:
            assert overlaps(mosaic.boxes[:1], mosaic.boxes[1:])[0, 0] < 0.1
            shown[int(mosaic.counts.sum())] += 1
    assert min(shown.values()) > 3


def test_exposures_reach_black_and_white() -> None:
    """Far beyond what the other changes do."""
    plain = [np.full((300, 400, 3), 128, np.uint8)]
    rules = replace(MosaicRules(), exposure=1, empty=1)
    means = [draw_mosaic(sources(plain), rules, np.random.default_rng(seed)).image.mean() for seed in range(60)]
    assert min(means) < 30
    assert max(means) > 230


def test_empty_mosaics_have_no_boxes() -> None:
    """The shape stays (0, 4), so that nothing special has to be done with them."""
    mosaic = draw_mosaic(sources(), replace(MosaicRules(), empty=1.0), np.random.default_rng(0))
    assert mosaic.boxes.shape == (0, 4)
    assert mosaic.keypoints.shape == (0, 5, 2)
    assert mosaic.counts.shape == (0,)
    assert mosaic.image.shape == (288, 288, 3)
    assert mosaic.image.dtype == np.uint8


def test_sizes_span_the_rules() -> None:
    """Longer sides from the smallest to the largest, on both sides of the logarithmic middle."""
    rules = replace(MosaicRules(), rotation=0, crowd=3)
    boxes = np.concatenate([draw_mosaic(sources(), rules, np.random.default_rng(s)).boxes for s in range(120)])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert sides.min() > 10
    assert sides.max() < 1.35 * rules.size  # of a portrait, that of its zoom; rotated, a box stays as large as upright
    assert 0.2 < (sides < np.sqrt(rules.smallest * rules.size)).mean() < 0.8


def test_a_face_half_outside_does_not_count() -> None:
    """The visible share decides; a box outside has none."""
    boxes = np.array([[10.0, 10, 50, 50], [-20.5, 10, 19.5, 50], [300, 10, 340, 50], [79.5, 79.5, 119.5, 119.5]])
    np.testing.assert_allclose(visible_share(boxes, 100), [1, 0.5, 0, 0.25], atol=1e-9)


def test_pictures_are_read_from_files(tmp_path: Path) -> None:
    """A background may be a path; one that cannot be read is an error with its name."""
    write_png(np.full((50, 60, 3), 200, np.uint8), tmp_path / "plain.png")
    draw_mosaic(sources([tmp_path / "plain.png"]), MosaicRules(), np.random.default_rng(0))
    with pytest.raises(ImageError, match=r"missing\.png"):
        sources([tmp_path / "missing.png"]).background(np.random.default_rng(0))
