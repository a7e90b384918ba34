"""Schemes: exact conversions are exact, mirrored faces convert alike, unknown ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import SchemaError
from lightmark.face import Face
from lightmark.geometry import tight_box
from lightmark.schema import COFW29, IBUG68, WFLW98, Schema, ibug68_from_wflw98, plain_schema
from lightmark.schemes import FIVE, IBUG51, conversion, convert_points, five_points

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
