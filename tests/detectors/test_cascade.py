"""The cascade's finds come back as tight 68-point boxes in the picture's own pixels, the largest first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightmark.data.formats.pts import read_pts_tree
from lightmark.data.sample import load_image
from lightmark.detectors import cascade
from lightmark.detectors.cascade import CASCADE, NEIGHBOURS, OFFSETS, CascadeDetector, rectangle_edges
from lightmark.errors import ConfigError, ImageError, MissingExtraError
from lightmark.geometry import Array
from lightmark.image import Picture

FIT = Path(__file__).parents[2] / "benchmarks" / "results" / "cascade-box.json"
# Brows' top to chin and jaw to jaw, read off the enlarged picture: what a tight 68-point box should be.
ASTRONAUT_BOX = np.array([179.0, 88.0, 271.0, 179.0])


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    """Photograph of one person, (512, 512, 3)."""
    data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image: the demo extra")
    return np.asarray(data.astronaut(), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector() -> CascadeDetector:
    """As users get it."""
    return CascadeDetector()


def test_one_box_around_the_face_of_a_photograph(astronaut: Picture, detector: CascadeDetector) -> None:
    """One face, each side of its box within 15 % of the face's width, and nothing else."""
    boxes = detector(astronaut)
    assert boxes.shape == (1, 4)
    assert boxes.dtype == np.float64
    np.testing.assert_allclose(boxes[0], ASTRONAUT_BOX, atol=0.15 * 92)


def test_a_picture_without_faces_gives_no_boxes(detector: CascadeDetector, tiny_picture: Picture) -> None:
    """Noise and plain colour give an array (0, 4)."""
    for picture in (tiny_picture, np.full((300, 400, 3), 128, np.uint8)):
        boxes = detector(picture)
        assert boxes.shape == (0, 4)
        assert boxes.dtype == np.float64


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 2000, 3), (2000, 5, 3)])
def test_a_picture_too_small_for_a_face_is_no_crash(detector: CascadeDetector, shape: tuple[int, ...]) -> None:
    """One pixel, and strips that shrink to less than the cascade's window."""
    assert detector(np.full(shape, 200, np.uint8)).shape == (0, 4)


def test_an_enlarged_picture_gives_the_enlarged_box(astronaut: Picture, detector: CascadeDetector) -> None:
    """Pixels repeated 4 times are reduced to what they were, so the box is 4 times the box, centres at integers."""
    large = astronaut.repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_allclose(detector(large), (detector(astronaut) + 0.5) * 4 - 0.5, atol=1e-6)


def test_a_reduction_that_does_not_divide_the_picture_keeps_the_place(astronaut: Picture) -> None:
    """Smoothly enlarged by 2.5 and reduced by 3, the box moves by less than 6 % of the face's width."""
    small = CascadeDetector(input_size=512)
    large = np.asarray(cv2.resize(astronaut, (1280, 1280), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    (box,), (same,) = small(astronaut), small(large)
    np.testing.assert_allclose((same + 0.5) / 2.5 - 0.5, box, atol=0.06 * 92)


def test_the_largest_face_comes_first(astronaut: Picture, detector: CascadeDetector) -> None:
    """A half-size copy to the left of the face is found second."""
    half = np.asarray(cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scene = np.full((512, 640, 3), 128, np.uint8)
    scene[:256, :140], scene[:300, 300:] = half[:, 80:220][:256], astronaut[:300, 60:400]
    widths = [box[2] - box[0] for box in detector(scene)]
    assert len(widths) == 2
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.15)


def test_faces_below_the_smallest_size_are_left_out(astronaut: Picture) -> None:
    """The astronaut's face is less than a third of the picture."""
    assert CascadeDetector(min_size=1 / 3)(astronaut).shape == (0, 4)


def test_a_view_with_turned_channels_is_read(astronaut: Picture, detector: CascadeDetector) -> None:
    """An array with negative strides, as a BGR picture turned to RGB is, gives what its copy gives."""
    turned = astronaut[:, :, ::-1]
    np.testing.assert_array_equal(detector(turned), detector(turned.copy()))


def test_rectangle_edges_are_outer_edges() -> None:
    """4 pixels from pixel 10 on span 9.5 to 13.5; in a picture twice as large, 19.5 to 27.5."""
    halved = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])
    rectangles = np.array([[10, 20, 4, 4]])
    np.testing.assert_allclose(rectangle_edges(rectangles, np.eye(2, 3)), [[9.5, 19.5, 13.5, 23.5]])
    np.testing.assert_allclose(rectangle_edges(rectangles, halved), [[19.5, 39.5, 27.5, 47.5]])


@pytest.mark.parametrize(
    "image", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3), np.float32), np.zeros((0, 40, 3), np.uint8)]
)
def test_a_picture_of_another_form_is_refused(detector: CascadeDetector, image: np.ndarray) -> None:
    """Grey, float and empty arrays are not guessed at."""
    with pytest.raises(ImageError, match="needs RGB uint8"):
        detector(image)


@pytest.mark.parametrize(
    "options", [{"min_size": 0.0}, {"min_size": 1.5}, {"min_size": float("nan")}, {"neighbours": 0}, {"input_size": 0}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    """The error names the option and its value."""
    (name, value) = next(iter(options.items()))
    with pytest.raises(ConfigError, match=f"{name} {value}"):
        CascadeDetector(**options)  # type: ignore[arg-type]  # wrong on purpose


def test_an_opencv_without_cascades_is_an_error_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 5 has none."""
    monkeypatch.setattr(cascade, "CASCADE", "none.xml")
    with pytest.raises(MissingExtraError, match=r'none\.xml: OpenCV .* pip install "opencv-python-headless'):
        CascadeDetector()


def test_the_constants_are_those_of_the_fit() -> None:
    """File, threshold and offsets are what benchmarks/fit_cascade_box.py chose."""
    chosen = json.loads(FIT.read_text(encoding="utf-8"))["chosen"]
    assert (chosen["cascade"], chosen["neighbours"], tuple(chosen["offsets"])) == (CASCADE, NEIGHBOURS, OFFSETS)


def test_boxes_of_real_faces_are_tight_boxes(real_data: Path, detector: CascadeDetector) -> None:
    """Over real training faces, most are found, and the sides are right in the median, to 5 % of the box's sides."""
    samples = [s for name in ("lfpw", "helen") for s in read_pts_tree(real_data / "300w" / name / "trainset")[::30]]
    errors = [error for sample in samples for error in errors_of(detector(load_image(sample)), sample.box)]
    assert len(errors) > 0.8 * len(samples)
    assert np.abs(np.median(errors, axis=0)).max() < 0.05


def errors_of(boxes: Array, truth: Array) -> Array:
    """How far the sides of those `boxes` whose centre is about that of `truth` are off, (K, 4), in its sides."""
    sides = truth[2:] - truth[:2]
    errors = (boxes - truth) / np.tile(sides, 2)
    return errors[np.abs((errors[:, :2] + errors[:, 2:]) / 2).max(axis=1) < 1 / 3]


def test_the_detector_imports_no_torch() -> None:
    """Finding faces needs the base install only."""
    code = "import sys, lightmark.detectors.cascade; print([m for m in sys.modules if 'torch' in m or 'nets' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
