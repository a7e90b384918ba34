"""Schemes: exact conversions are exact, mirrored faces convert alike, unknown ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import SchemaError
from lightmark.face import Face
from lightmark.geometry import tight_box
from lightmark.schema import COFW29, IBUG68, WFLW98, Schema, plain_schema
from lightmark.schemes import FIVE, IBUG51, conversion, convert_points, five_points, ibug68_from_wflw98

POINTS68 = synthetic_samples(1, seed=5)[0].points
POINTS98 = np.random.default_rng(0).uniform(0, 100, (98, 2))


def test_51_points_are_the_68_without_the_jaw() -> None:
    """In their order, with edges and groups that name the same places."""
    np.testing.assert_array_equal(convert_points(POINTS68, IBUG68, "ibug51"), POINTS68[17:])
    assert IBUG51.mirror == tuple(index - 17 for index in IBUG68.mirror[17:])
    assert IBUG51.edges == tuple((a - 17, b - 17) for a, b in IBUG68.edges if a >= 17)
    assert IBUG51.groups["mouth"] == tuple(range(31, 51))


def test_98_points_go_through_the_68() -> None:
    """As `ibug68_from_wflw98` has it."""
    points68 = ibug68_from_wflw98(POINTS98)
    np.testing.assert_allclose(convert_points(POINTS98, WFLW98, "ibug68"), points68, atol=1e-9)
    np.testing.assert_allclose(convert_points(POINTS98, WFLW98, "cofw29"), convert_points(points68, IBUG68, "cofw29"))


def test_five_points_are_the_persons_right_side_first() -> None:
    """Eye centres, nose tip, mouth corners; in a picture the person's right is left."""
    right_eye, left_eye, nose, right_mouth, left_mouth = five_points(POINTS68, IBUG68)
    np.testing.assert_allclose(right_eye, POINTS68[36:42].mean(axis=0))
    np.testing.assert_allclose(left_eye, POINTS68[42:48].mean(axis=0))
    np.testing.assert_array_equal([nose, right_mouth, left_mouth], POINTS68[[30, 48, 54]])
    assert FIVE.point_names[0] == "right eye"
    assert right_eye[0] < left_eye[0]


@pytest.mark.parametrize(
    ("source", "name"),
    [(IBUG68, "five"), (IBUG68, "ibug51"), (IBUG68, "cofw29"), (WFLW98, "cofw29"), (COFW29, "five")],
)
def test_a_mirrored_face_converts_to_the_mirrored_points(source: Schema, name: str) -> None:
    """Conversion and mirror can change places, and the weights of a point sum to 1."""
    schema, weights = conversion(source, name)
    assert weights.shape == (schema.size, source.size)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights[list(schema.mirror)], weights[:, list(source.mirror)])


def test_a_face_converts_with_its_errors_and_box() -> None:
    """Expected errors are the weighted means, and a face without them stays so."""
    errors = np.arange(68.0)
    face = Face(POINTS68, tight_box(POINTS68), IBUG68, errors, 0.9)
    five = face.to("five")
    assert (five.schema, five.confidence) == (FIVE, 0.9)
    np.testing.assert_array_equal(five.box, face.box)
    np.testing.assert_array_equal(five.points, face.five_points)
    np.testing.assert_allclose(five.expected_error, [38.5, 44.5, 30, 48, 54])
    assert Face(POINTS68, face.box, IBUG68).to("ibug51").expected_error is None
    assert face.to("ibug68").schema is IBUG68


def test_unknown_conversions_name_the_known_ones() -> None:
    """From a known scheme, from another of the same size, and from one of the user's own."""
    with pytest.raises(SchemaError, match="ibug68 has no conversion to 'wflw98'; known: ibug51, five, cofw29"):
        convert_points(POINTS68, IBUG68, "wflw98")
    with pytest.raises(SchemaError, match="points7 has no conversion to 'five': only ibug68, wflw98, cofw29"):
        five_points(np.zeros((7, 2)), plain_schema(7))


def test_points_inside_the_picture() -> None:
    """Up to the outer edges of its border pixels."""
    points = np.array([[-0.5, 0], [-0.6, 0], [9.4, 4.4], [9.5, 0], [0, 4.5], [3, 2]])
    inside = Face(points, np.zeros(4), plain_schema(6)).inside(10, 5)
    assert inside.tolist() == [True, False, True, False, False, True]


@pytest.fixture(scope="module")
def points98():
    """Two faces of 98 points without any regularity."""
    return np.random.default_rng(3).normal(size=(2, 98, 2))


@pytest.mark.parametrize(
    ("first68", "sources"),
    [
        (0, range(0, 33, 2)),
        (17, range(33, 38)),
        (22, range(42, 47)),
        (27, range(51, 60)),
        (48, range(76, 96)),
    ],
    ids=["jaw", "right brow", "left brow", "nose", "mouth"],
)
def test_68_points_taken_from_98(points98, first68, sources):
    """Jaw, brows, nose and mouth are points of the 98."""
    found = ibug68_from_wflw98(points98)[:, first68 : first68 + len(sources)]
    np.testing.assert_allclose(found, points98[:, list(sources)], atol=1e-12)


@pytest.mark.parametrize(("first68", "shift"), [(36, 0), (42, 8)], ids=["right eye", "left eye"])
def test_eyelids_of_68_lie_between_points_of_98(points98, first68, shift):
    """Corners are kept; the lids' points lie at ⅓ and ⅔ along the eyelid."""
    p = points98[:, shift:]
    by_hand = [
        p[:, 60],
        (2 * p[:, 61] + p[:, 62]) / 3,
        (p[:, 62] + 2 * p[:, 63]) / 3,
        p[:, 64],
        (2 * p[:, 65] + p[:, 66]) / 3,
        (p[:, 66] + 2 * p[:, 67]) / 3,
    ]
    found = ibug68_from_wflw98(points98)[:, first68 : first68 + 6]
    np.testing.assert_allclose(found, np.stack(by_hand, axis=1), atol=1e-12)


def test_mirror_commutes_with_98_to_68(points98):
    """Mirroring the 98 and taking the 68 is the same as taking the 68 and mirroring them."""
    flip = np.array([-1, 1])
    first_mirrored = ibug68_from_wflw98((points98 * flip)[:, list(WFLW98.mirror)])
    then_mirrored = (ibug68_from_wflw98(points98) * flip)[:, list(IBUG68.mirror)]
    np.testing.assert_allclose(first_mirrored, then_mirrored, atol=1e-12)


def test_98_to_68_keeps_the_normaliser(points98):
    """The outer eye corners are the same points in both schemas."""
    found = ibug68_from_wflw98(points98)
    np.testing.assert_allclose(found[:, list(IBUG68.normaliser)], points98[:, list(WFLW98.normaliser)], atol=1e-12)


def test_98_to_68_refuses_other_points():
    """68 points cannot be turned into 68 points again."""
    with pytest.raises(SchemaError, match=r"ibug68_from_wflw98: points of shape \(68, 2\), wflw98 needs"):
        ibug68_from_wflw98(np.zeros((68, 2)))


def test_missing_points_of_98_are_missing_among_the_68() -> None:
    """A point made of two lacks either; all others stay what they were."""
    points = np.random.default_rng(0).uniform(0, 100, (98, 2))
    lacking = points.copy()
    lacking[[4, 62]] = np.nan  # jaw 2 is point 4; 37 and 38 are made of 61, 62 and 62, 63
    found = ibug68_from_wflw98(lacking)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [2, 37, 38]
    kept = np.setdiff1d(np.arange(68), [2, 37, 38])
    np.testing.assert_array_equal(found[kept], ibug68_from_wflw98(points)[kept])
