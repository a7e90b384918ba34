"""A photograph becomes faces and a picture that shows them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lightmark.detectors.cascade import CascadeDetector
from lightmark.draw import GREEN
from lightmark.errors import MissingExtraError
from lightmark.face import Face
from lightmark.geometry import Array, tight_box
from lightmark.image import Picture
from lightmark.photo import BOX_COLOUR, SIZE, astronaut, box_corners, draw_faces, landmark_photo
from lightmark.schema import Schema
from lightmark.source import to_picture

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
SHAPE = np.array([[0.25, 0.3], [0.75, 0.3], [0.5, 0.55], [0.35, 0.8], [0.65, 0.8]])


class StandIn:
    """Answers every box of the cascade with the same five points in it."""

    def detect(self, image: Picture) -> list[Face]:
        """One face a box that OpenCV's cascade finds."""
        return self.landmarks(image, CascadeDetector()(image))

    def landmarks(self, image: Picture, boxes: Array) -> list[Face]:
        """One face a box."""
        return [Face(box[:2] + SHAPE * (box[2:] - box[:2]), box, FIVE) for box in boxes]


def near(picture: Picture, colour: tuple[int, int, int]) -> np.ndarray:
    """Places (K, 2), x then y, where `picture` has about that colour."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - colour).max(axis=2) < 12)
    return np.stack([columns, rows], axis=1)


def test_the_face_of_a_photograph_is_found_and_drawn(tmp_path: Path) -> None:
    """No box is given; points and box are drawn in the enlarged picture."""
    pytest.importorskip("skimage", reason="the photograph comes with scikit-image: the demo extra")
    (face,) = landmark_photo(StandIn(), astronaut(), tmp_path / "photo.png")  # type: ignore[arg-type]  # a stand-in
    assert face.points.shape == (5, 2)
    drawn = to_picture(tmp_path / "photo.png")
    assert drawn.shape == (SIZE, SIZE, 3)
    assert len(near(drawn, GREEN)) > 5
    assert len(near(drawn, BOX_COLOUR)) > SIZE / 2


def test_a_photograph_without_faces_is_written_as_it_is(tmp_path: Path) -> None:
    """No face is an answer, not an error."""
    grey = np.full((80, 100, 3), 128, np.uint8)
    assert landmark_photo(StandIn(), grey, tmp_path / "grey.png") == []  # type: ignore[arg-type]  # a stand-in
    np.testing.assert_array_equal(to_picture(tmp_path / "grey.png"), grey)


def test_all_faces_lie_inside_the_drawing() -> None:
    """The square takes in the points and boxes of every face, and draws them in its own pixels."""
    boxes = np.array([[40.0, 30.0, 60.0, 50.0], [150.0, 90.0, 190.0, 120.0]])
    drawn = draw_faces(np.zeros((140, 200, 3), np.uint8), StandIn().landmarks(np.zeros((1, 1, 3), np.uint8), boxes))
    x0, y0, x1, y1 = tight_box(near(drawn, BOX_COLOUR))
    # 150 px from box to box, in a square of 1.8 times that.
    assert x1 - x0 == pytest.approx(SIZE / 1.8, abs=8)
    assert (x0 + x1) / 2 == pytest.approx((SIZE - 1) / 2, abs=4)
    assert (y0 + y1) / 2 == pytest.approx((SIZE - 1) / 2, abs=4)


def test_box_corners_span_the_box() -> None:
    """Four corners, whose tight box is the box."""
    box = np.array([3.0, 5.0, 11.0, 20.0])
    assert len(np.unique(box_corners(box), axis=0)) == 4
    np.testing.assert_array_equal(tight_box(box_corners(box)), box)


def test_without_scikit_image_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base install has no photographs."""
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[demo\]"'):
        astronaut()
