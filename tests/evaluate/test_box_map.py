"""Ridge regression of a face's box from the shape of its points."""

from __future__ import annotations

import numpy as np
import pytest

from lightmark.evaluate import box_map
from lightmark.evaluate.box_map import fit_box_map
from lightmark.geometry import Array, similarity_matrix, transform
from lightmark.spec import box_around

PLACES = np.array([[-0.2, -0.15], [0.2, -0.15], [0.0, 0.05], [-0.15, 0.25], [0.15, 0.25]])
SIDEWAYS = np.array([0.3, 0.0])  # what a turn of 1 moves the box's centre by, in sides
WRONG = np.array([0.0, 0.0, 10.0, 10.0])


def turned_faces(count: int, seed: int, roll: float = 0.0) -> list[tuple[Array, Array]]:
    """Points (5, 2) and box of heads turned by up to 0.5: the nose goes one way, eyes and mouth draw together."""
    rng = np.random.default_rng(seed)
    faces = []
    for turn in rng.uniform(-0.5, 0.5, count):
        shape = PLACES * [1 - turn**2 / 4, 1] + np.outer([0, 0, 1, 0, 0], [0.4 * turn, 0])
        matrix = similarity_matrix(np.zeros(2), rng.uniform(50, 200, 2), rng.uniform(40, 120), roll)
        centre, side = transform(matrix, SIDEWAYS * turn), np.hypot(*matrix[0, :2])
        points = transform(matrix, shape) + rng.normal(0, 0.01 * side, (5, 2))
        faces.append((points, np.concatenate([centre - side / 2, centre + side / 2])))
    return faces


def centre_error(faces: list[tuple[Array, Array]], weights: Array | None) -> float:
    """Mean distance of the boxes' centres from the true ones, in sides."""
    errors = []
    for points, box in faces:
        made = box_around(PLACES, points, box_map=weights)
        errors.append(np.linalg.norm((made[:2] + made[2:] - box[:2] - box[2:]) / 2) / (box[2] - box[0]))
    return float(np.mean(errors))


@pytest.mark.parametrize("roll", [0.0, 40.0, 180.0])
def test_boxes_of_turned_heads_are_nearer(roll: float) -> None:
    """A map learnt from upright faces makes a third of the template's error on others, however they are rolled."""
    weights = np.array(fit_box_map(PLACES, turned_faces(200, seed=1)))
    others = turned_faces(100, seed=2, roll=roll)
    assert weights.shape == (3, 5, 2)
    assert centre_error(others, weights) < centre_error(others, None) / 3


def test_missing_points_are_borne() -> None:
    """Faces that lack a mouth corner are learnt from, and have better boxes than the template's."""
    faces = turned_faces(200, seed=1)
    for points, _ in faces[::2]:
        points[3] = np.nan
    weights = np.array(fit_box_map(PLACES, faces))
    assert np.isfinite(weights).all()
    assert centre_error(faces[::2], weights) < 0.8 * centre_error(faces[::2], None)


def test_an_uninformative_shape_gives_no_map() -> None:
    """Boxes at random around the template's give no map, and neither does a single face."""
    rng = np.random.default_rng(0)
    shifts = np.tile(rng.normal(0, 9, (99, 2)), 2)
    faces = turned_faces(99, seed=1)
    aimless = [(points, box_around(PLACES, points) + shift) for (points, _), shift in zip(faces, shifts, strict=True)]
    assert fit_box_map(PLACES, aimless) is None
    assert fit_box_map(PLACES, turned_faces(1, seed=3)) is None
    assert fit_box_map(PLACES, []) is None


def test_boxes_of_other_faces_are_not_learnt_from() -> None:
    """A wrong box, far from the points, changes nothing; nor do points in one place."""
    faces = turned_faces(60, seed=1)
    spoilt = [*faces, (faces[0][0] + 500, WRONG), (np.full((5, 2), 7.0), WRONG)]
    assert fit_box_map(PLACES, spoilt) == fit_box_map(PLACES, faces)


def test_leave_one_out_error_is_that_of_fits_without_the_face() -> None:
    """The closed form agrees with fitting anew for each face."""
    rng = np.random.default_rng(4)
    moves, shifts = rng.normal(0, 0.1, (12, 6)), rng.normal(0, 0.1, (12, 3))
    errors = []
    for face in range(12):
        rest = np.arange(12) != face
        gram = moves[rest].T @ moves[rest] + 0.03 * np.eye(6)
        errors.append(np.linalg.norm(shifts[face] - moves[face] @ np.linalg.solve(gram, moves[rest].T @ shifts[rest])))
    assert box_map._leave_one_out_error(moves, shifts, 0.03) == pytest.approx(np.mean(errors))
