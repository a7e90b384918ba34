"""Tests of the guess of a schema, on shapes of known symmetry and on the labels of published sets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.data.schema_guess import guess_schema, guess_sheet
from lightmark.errors import DataError
from lightmark.geometry import tight_box
from lightmark.schema import COFW29, FACE_BOX, IBUG68, WFLW98, Schema, plain_schema

# Two eyes with outer and inner corners, brows, nose, two mouth corners; partners in MIRROR.
SHAPE = np.array([[-40, 0], [-15, 0], [15, 0], [40, 0], [-30, -25], [30, -25], [0, 30], [-20, 55], [20, 55]], float)
MIRROR = (3, 2, 1, 0, 5, 4, 6, 8, 7)


def faces(count: int, schema: Schema | None = None, shape: np.ndarray = SHAPE, seed: int = 0) -> list[Sample]:
    """`count` noisy, rolled, scaled and squeezed copies of `shape` in a picture of noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    samples = []
    for number in range(count):
        angle = np.deg2rad(rng.normal(0, 12))
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * rng.uniform(0.6, 1.2)
        squeezed = shape * [rng.uniform(0.8, 1), 1] + rng.normal(0, 1.2, shape.shape)
        points = squeezed @ turn + 100
        path, chosen = Path(f"{number}.png"), schema or plain_schema(len(shape))
        samples.append(Sample(path, points, tight_box(points), chosen, "a", image=image))
    return samples


def named(*names: str) -> Schema:
    """A plain schema with names."""
    return replace(plain_schema(len(names)), point_names=names)


def test_pairs_are_found_by_symmetry():
    """Partners are each other's mirror images, the nose is its own; a stable inner pair divides errors."""
    guess = guess_schema(faces(30), "mine")
    assert (guess.schema.mirror, guess.unpaired) == (MIRROR, ())
    assert guess.schema.knows_mirror
    assert guess.schema.normaliser in ((0, 3), (7, 8), (4, 5))
    assert guess.schema.normaliser_name == "{} to {}".format(*guess.schema.normaliser)


def test_missing_points_are_allowed():
    """Every face may lack others."""
    samples = faces(40)
    rng = np.random.default_rng(1)
    for sample in samples:
        sample.points[rng.choice(len(SHAPE), 3, replace=False)] = np.nan
    assert guess_schema(samples, "mine").schema.mirror == MIRROR


def test_point_without_partner_means_no_mirroring():
    """A scar on one cheek has no mirror image, and labels mirrored without one would be wrong."""
    guess = guess_schema(faces(30, shape=np.vstack([SHAPE, [[-50, 40]]])), "mine")
    assert (guess.unpaired, guess.schema.knows_mirror) == ((9,), False)


@pytest.mark.parametrize(
    "names",
    [
        ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"),
        ("eyeL", "eyeR", "nose", "mouthL", "mouthR"),
        ("Left Eye", "Right Eye", "Nose", "mouth left", "mouth right"),
        ("l_eye", "r_eye", "nose", "l_mouth", "r_mouth"),
        ("LeftEye", "RightEye", "nose", "LeftMouth", "RightMouth"),
    ],
)
def test_pairs_are_found_by_names(names):
    """Names decide, whatever the places of the points: here left and right are on one line."""
    shape = np.array([[0, 0], [3, 40], [50, 9], [-30, 70], [20, 90]], float)
    assert guess_schema(faces(10, named(*names), shape), "mine").schema.mirror == (1, 0, 2, 4, 3)


def test_names_without_all_partners_do_not_decide():
    """A right eye without a left one: symmetry decides, and a name with an r in it is no side."""
    names = ("brow", "corner", "r_eye", "iris", "a", "b", "c", "d", "e")
    assert guess_schema(faces(30, named(*names)), "mine").schema.mirror == MIRROR


def test_contour_is_drawn_in_order():
    """Successive points that are as near as neighbours are joined, the ends of two contours are not."""
    upper, lower = np.linspace(-50, 50, 11), np.linspace(-30, 30, 7)
    shape = np.vstack([np.stack([upper, 0 * upper], 1), np.stack([lower, 0 * lower + 60], 1)])
    edges = guess_schema(faces(10, shape=shape), "mine").schema.edges
    assert edges == (*((i, i + 1) for i in range(10)), *((i, i + 1) for i in range(11, 17)))


@pytest.mark.parametrize("count", [1, 2])
def test_any_number_of_points(count):
    """One point has no pair, and the face's box divides its errors; two have each other."""
    schema = guess_schema(faces(6, shape=SHAPE[[0, 3]][:count]), "mine").schema
    assert (schema.size, schema.knows_mirror) == (count, True)
    assert (schema.normaliser_name == FACE_BOX) == (count == 1)


def test_point_that_is_labelled_nowhere_is_named():
    """It has no mean place."""
    samples = faces(5, named(*"abcdefghi"))
    for sample in samples:
        sample.points[2] = np.nan
    with pytest.raises(DataError, match="mine: point c is labelled in no face"):
        guess_schema(samples, "mine")


def test_the_guess_is_a_picture():
    """A face and its mirror image, side by side."""
    samples = faces(20)
    sheet = guess_sheet(samples, guess_schema(samples, "mine"))
    assert sheet.shape[1] > 2 * 640
    one = faces(3, shape=SHAPE[:1])
    assert guess_sheet(one, guess_schema(one, "one")).shape[1] > 2 * 640


@pytest.mark.parametrize(
    ("folder", "true"), [("300w/afw", IBUG68), ("helen29", COFW29), ("wflw", WFLW98)], ids=["68", "29", "98"]
)
def test_pairs_of_published_sets_are_found(real_data, folder, true):
    """The labels' symmetry gives exactly the published pairs."""
    samples = [replace(face, schema=plain_schema(true.size)) for face in read_samples(real_data / folder)]
    assert guess_schema(samples, "mine").schema.mirror == true.mirror
