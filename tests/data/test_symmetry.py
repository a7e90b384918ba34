"""Tests of finding swapped labels."""

import numpy as np
import pytest

from lightmark.data.check.symmetry import swapped_groups
from lightmark.data.read import read_samples
from lightmark.schema import COFW29, IBUG68, Schema, plain_schema

CROSS = Schema("cross", (1, 0, 2, 3), (0, 1))
SHAPE = np.array([[-3.0, -1.0], [3.0, -1.0], [0.0, 0.5], [0.0, 4.0]])


def cross_faces(count: int, rng: np.random.Generator) -> np.ndarray:
    """Noisy copies of a shape of four points, turned, scaled and moved at will."""
    angles, scales = rng.uniform(-1.5, 1.5, count), rng.uniform(5, 50, count)
    rotations = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
    noisy = SHAPE + rng.normal(0, 0.1, (count, 4, 2))
    return scales[:, None, None] * np.einsum("fij,fnj->fni", rotations, noisy) + rng.uniform(0, 500, (count, 1, 2))


@pytest.mark.parametrize("swapped", [[], [0], [3, 4, 17]])
def test_swapped_faces_are_found_at_any_angle(swapped):
    """Exactly the faces whose labels went over to the mirror image are found, the first in the row or not."""
    faces = cross_faces(30, np.random.default_rng(0))
    faces[swapped] = faces[swapped][:, list(CROSS.mirror)]
    groups = swapped_groups(faces, CROSS)
    assert [i for i, names in enumerate(groups) if names] == swapped
    assert all(groups[i] == ("face",) for i in swapped)


def test_forgotten_group_is_found():
    """Of a shape of three pairs one pair alone is swapped: the group is named, and only it."""
    schema = Schema("pairs", (1, 0, 3, 2, 5, 4), (0, 1), {"eyes": (0, 1), "ears": (2, 3), "mouth": (4, 5)})
    shape = np.array([[-3.0, -1], [3, -1], [-5, 0], [5, 0], [-2, 4], [2, 4]])
    faces = shape + np.random.default_rng(0).normal(0, 0.3, (40, 6, 2))
    faces[7, [4, 5]] = faces[7, [5, 4]]
    groups = swapped_groups(faces, schema)
    assert groups[7] == ("mouth",)
    assert [i for i, names in enumerate(groups) if names] == [7]


def test_faces_with_missing_points_are_compared_by_the_rest():
    """One complete pair suffices; half a pair is ignored, and complete faces are not affected."""
    schema = Schema("pairs", (1, 0, 3, 2, 5, 4), (0, 1), {"eyes": (0, 1), "ears": (2, 3), "mouth": (4, 5)})
    shape = np.array([[-3.0, -1], [3, -1], [-5, 0], [5, 0], [-2, 4], [2, 4]])
    faces = shape + np.random.default_rng(0).normal(0, 0.3, (40, 6, 2))
    swapped = {5: ("mouth",), 9: ("face",), 12: ("mouth",)}
    faces[5, [4, 5]] = faces[5, [5, 4]]
    faces[9] = faces[9, list(schema.mirror)]
    faces[12, [4, 5]] = faces[12, [5, 4]]
    faces[5, 2], faces[9, 5], faces[20, 0] = np.nan, np.nan, np.nan
    groups = swapped_groups(faces, schema)
    assert {i: names for i, names in enumerate(groups) if names} == swapped
    faces[5, 4], faces[9, :4] = np.nan, np.nan
    assert [i for i, names in enumerate(swapped_groups(faces, schema)) if names] == [12]


def test_without_complete_faces_nothing_is_reported():
    """There is no mean to compare with."""
    faces = cross_faces(4, np.random.default_rng(0))
    faces[:, 2] = np.nan
    assert swapped_groups(faces, CROSS) == [()] * 4


def test_schema_without_pairs_has_nothing_to_swap():
    """A plain schema is its own mirror image."""
    assert swapped_groups(np.ones((2, 5, 2)), plain_schema(5)) == [(), ()]


def test_no_faces_are_fine():
    """An empty set gives an empty list."""
    assert swapped_groups(np.ones((0, 68, 2)), IBUG68) == []


@pytest.fixture(scope="module")
def helen(real_data) -> np.ndarray:
    """Points (348, 29, 2) of real faces."""
    return np.stack([face.points for face in read_samples(real_data / "helen29")])


def test_real_faces_have_their_sides_right(helen):
    """None of 348 real faces is found."""
    assert not any(swapped_groups(helen, COFW29))


def test_wholly_swapped_set_is_found(helen):
    """Even if every face is swapped, the built-in schema's eye corners reveal it."""
    assert set(swapped_groups(helen[:, list(COFW29.mirror)], COFW29)) == {("face",)}


@pytest.mark.parametrize("group", ["brows", "eyes", "nose", "mouth"])
def test_swapped_group_is_named(helen, group):
    """A flip that forgot one run of the permutation is found by the group it forgot."""
    members = list(COFW29.groups[group])
    faces = helen.copy()
    faces[:20, members] = helen[:20][:, [COFW29.mirror[i] for i in members]]
    groups = swapped_groups(faces, COFW29)
    assert groups[:20] == [(group,)] * 20
    assert not any(groups[20:])


def test_real_68_point_faces_have_their_sides_right(real_data):
    """Profiles included, none of 3712 real faces of 300W and 300W-LP is found."""
    faces = [*read_samples(real_data / "300w"), *read_samples(real_data / "300w_lp")]
    assert not any(swapped_groups(np.stack([face.points for face in faces]), IBUG68))
