"""Tests of the landmark schemas, against METHOD's tables written out again and against real faces."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lightmark.data.formats.pts import read_pts_tree
from lightmark.errors import SchemaError
from lightmark.geometry import align, transform
from lightmark.schema import (
    COFW29,
    FACE_BOX,
    IBUG68,
    SCHEMAS,
    WFLW98,
    Schema,
    closed_path,
    get_schema,
    mirror_permutation,
    open_path,
    plain_schema,
    read_schema,
    require_points,
    schema_from_dict,
    schema_to_dict,
)

BUILT_IN = pytest.mark.parametrize("schema", [IBUG68, WFLW98, COFW29], ids=lambda schema: schema.name)


def partners(reversed_spans, pairs, fixed):
    """Mirror as a tuple; fails unless every point is named exactly once."""
    table = {i: first + last - i for first, last in reversed_spans for i in range(first, last + 1)}
    for a, b in pairs:
        assert not {a, b} & table.keys()
        table |= {a: b, b: a}
    assert not set(fixed) & table.keys()
    table |= {i: i for i in fixed}
    return tuple(table[i] for i in range(len(table)))


MIRRORS = {
    "ibug68": partners(
        [(0, 16), (17, 26), (31, 35), (48, 54), (55, 59), (60, 64), (65, 67)],
        [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)],
        [27, 28, 29, 30],
    ),
    "wflw98": partners(
        [(0, 32), (55, 59), (76, 82), (83, 87), (88, 92), (93, 95)],
        [
            *[(33, 46), (34, 45), (35, 44), (36, 43), (37, 42)],
            *[(38, 50), (39, 49), (40, 48), (41, 47)],
            *[(60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73)],
            (96, 97),
        ],
        [51, 52, 53, 54],
    ),
    "cofw29": partners(
        [],
        [
            *[(1 - 1, 2 - 1), (3 - 1, 4 - 1), (5 - 1, 7 - 1), (6 - 1, 8 - 1), (9 - 1, 10 - 1), (11 - 1, 12 - 1)],
            *[(13 - 1, 15 - 1), (14 - 1, 16 - 1), (17 - 1, 18 - 1), (19 - 1, 20 - 1), (23 - 1, 24 - 1)],
        ],
        [20, 21, 24, 25, 26, 27, 28],
    ),
}


def small_schema(**changes):
    """Five points: two eyes, a nose, two mouth corners."""
    fields = {"name": "five", "mirror": (1, 0, 2, 4, 3), "normaliser": (0, 1)}
    return Schema(**(fields | changes))


@BUILT_IN
def test_counts_are_the_published_ones(schema):
    """300W has 68 points, WFLW 98, COFW 29."""
    assert schema.size == {"ibug68": 68, "wflw98": 98, "cofw29": 29}[schema.name]


@BUILT_IN
def test_normaliser_is_the_outer_eye_corners(schema):
    """Errors are divided by the distance of the points that the protocol names."""
    assert schema.normaliser == {"ibug68": (36, 45), "wflw98": (60, 72), "cofw29": (8, 9)}[schema.name]
    assert schema.normaliser_name == "inter-ocular"


@BUILT_IN
def test_mirror_is_the_published_one(schema):
    """The permutation equals the method's table, written out independently."""
    assert schema.mirror == MIRRORS[schema.name]


@BUILT_IN
def test_two_mirrors_change_nothing(schema):
    """Each permutation is an involution."""
    mirror = np.array(schema.mirror)
    assert mirror[mirror].tolist() == list(range(schema.size))


@BUILT_IN
def test_mirror_swaps_the_normaliser(schema):
    """A mirrored face has the same inter-ocular distance."""
    left, right = schema.normaliser
    assert schema.mirror[left] == right


@BUILT_IN
def test_each_point_is_in_one_group(schema):
    """The groups part the points: none is left out, none counts twice."""
    assert sorted(i for members in schema.groups.values() for i in members) == list(range(schema.size))


@BUILT_IN
def test_mirror_keeps_groups(schema):
    """A mirrored brow is a brow."""
    for members in schema.groups.values():
        assert {schema.mirror[i] for i in members} == set(members)


@BUILT_IN
def test_mirror_keeps_edges(schema):
    """What is drawn on the left half of a face is drawn on the right half."""
    edges = {frozenset(edge) for edge in schema.edges}
    assert {frozenset(schema.mirror[i] for i in edge) for edge in edges} == edges


@pytest.mark.parametrize(("folder", "name"), [("300w/ibug", "ibug68"), ("helen29", "cofw29")])
def test_real_mean_face_is_its_own_mirror(real_data, folder, name):
    """The mean of real faces, mirrored and permuted, lies on itself, while without the permutation it is far off."""
    faces = np.stack([sample.points for sample in read_pts_tree(real_data / folder)])
    schema = get_schema(name)
    left, right = faces[:, schema.normaliser[0], None], faces[:, schema.normaliser[1], None]
    mean = ((faces - (left + right) / 2) / np.linalg.norm(left - right, axis=-1, keepdims=True)).mean(axis=0)
    mirrored = mean * [-1, 1]
    permuted = mirrored[list(schema.mirror)]

    def distance(points):
        return np.abs(transform(align(points, mean), points) - mean).max()

    assert distance(permuted) < 0.08
    assert distance(mirrored) > 0.5


def test_inner_points_leave_the_jaw_out():
    """300W's inner points are the last 51."""
    assert IBUG68.inner == tuple(range(17, 68))


def test_inner_points_of_a_schema_without_jaw_are_all():
    """A schema that names no jaw has inner points only."""
    assert small_schema().inner == (0, 1, 2, 3, 4)


def test_mirror_permutation_reverses_and_swaps():
    """Runs are reversed, pairs swapped, the rest stays."""
    assert mirror_permutation(7, [(1, 2, 4)], [(0, 6)]) == (6, 4, 2, 3, 1, 5, 0)


def test_paths_are_edges():
    """An open path ends at its last point, a closed one goes back to its first."""
    assert open_path(3, 5, 4) == ((3, 5), (5, 4))
    assert closed_path(3, 5, 4) == ((3, 5), (5, 4), (4, 3))


def test_mirror_that_is_no_involution_is_refused():
    """The message walks the chain that does not come back."""
    with pytest.raises(SchemaError, match="'five': mirror is no involution: 0 goes to 1, but 1 goes to 2; two mirrors"):
        small_schema(mirror=(1, 2, 0, 3, 4))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mirror": (1, 0, 2, 4, 5)}, "mirror names point 5; 5 points are numbered 0 to 4"),
        ({"mirror": (1, 0, 2, 4, -2)}, "mirror names point -2"),
        ({"normaliser": (0, 5)}, "normaliser names point 5"),
        ({"edges": ((0, 1), (1, 9))}, "edges names point 9"),
        ({"groups": {"eyes": (0, 7)}}, "group 'eyes' names point 7"),
    ],
)
def test_index_out_of_range_is_refused(changes, text):
    """The message has the field, the point and the range."""
    with pytest.raises(SchemaError, match=text):
        small_schema(**changes)


def test_a_single_point_is_divided_by_the_face_box():
    """No two points are named, in JSON neither, and the name says what stands in for them."""
    schema = plain_schema(1)
    assert (schema.normaliser, schema.normaliser_name) == ((), FACE_BOX)
    assert schema_from_dict(schema_to_dict(schema)) == schema
    named = schema_from_dict({"name": "nose", "mirror": [0], "normaliser": []})
    assert named.normaliser_name == FACE_BOX


@pytest.mark.parametrize(("normaliser", "name"), [((), "inter-ocular"), ((0, 1), "face-box")])
def test_a_normaliser_under_a_false_name_is_refused(normaliser, name):
    """Reports print the name."""
    with pytest.raises(SchemaError, match="'face-box' is the name of the empty one, and of no other"):
        Schema("two", (0, 1), normaliser, normaliser_name=name)


@pytest.mark.parametrize("normaliser", [(2, 2), (0, 1, 2), (0,)])
def test_bad_normaliser_is_refused(normaliser):
    """An error is divided by the distance of two different points."""
    with pytest.raises(SchemaError, match="'five': normaliser needs two different points, got"):
        small_schema(normaliser=normaliser)


def test_schema_without_points_is_refused():
    """A schema has at least one point."""
    with pytest.raises(SchemaError, match="no points; `mirror` needs one index a point"):
        small_schema(mirror=())


def test_wrong_number_of_names_is_refused():
    """Every point has a name or none has."""
    with pytest.raises(SchemaError, match="2 point names for 5 points"):
        small_schema(point_names=("left", "right"))


def test_known_schemas_are_found_by_name():
    """The three built-in schemas are known by their names."""
    assert [get_schema(name) for name in ("ibug68", "wflw98", "cofw29")] == list(SCHEMAS.values())


def test_unknown_name_lists_the_known_ones():
    """The message names what there is and how to bring one's own."""
    text = r"no schema called 'ibug69'; known: ibug68, wflw98, cofw29, or load your own with read_schema"
    with pytest.raises(SchemaError, match=text):
        get_schema("ibug69")


def test_plain_schema_mirrors_each_point_onto_itself():
    """Points without known symmetry keep their index, and the error is divided by first to last."""
    schema = plain_schema(4)
    assert (schema.name, schema.mirror, schema.normaliser) == ("points4", (0, 1, 2, 3), (0, 3))
    assert schema.normaliser_name == "first-to-last"


@pytest.mark.parametrize("schema", [*SCHEMAS.values(), small_schema(point_names=tuple("abcde"))], ids=lambda s: s.name)
def test_json_gives_the_schema_back(schema):
    """Through JSON text and back, nothing is lost."""
    assert schema_from_dict(json.loads(json.dumps(schema_to_dict(schema)))) == schema


def test_schema_file_is_read(tmp_path):
    """A JSON file with non-ASCII text gives its schema."""
    schema = replace(small_schema(), name="fünf", point_names=("目", "b", "c", "d", "e"))
    path = tmp_path / "five.json"
    path.write_text(json.dumps(schema_to_dict(schema), ensure_ascii=False), encoding="utf-8")
    assert read_schema(path) == schema


@pytest.mark.parametrize("key", ["name", "mirror", "normaliser"])
def test_missing_key_is_named(tmp_path, key):
    """The message names the file, the key and what a schema needs."""
    data = schema_to_dict(small_schema())
    del data[key]
    (tmp_path / "five.json").write_text(json.dumps(data))
    with pytest.raises(SchemaError, match=rf"five\.json: schema JSON: KeyError: '{key}'; needs name, mirror"):
        read_schema(tmp_path / "five.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mirror", 5),
        ("mirror", [1, 0, 2, 4, "x"]),
        ("mirror", [1, 0, 2, 4, 3.7]),
        ("mirror", "10243"),
        ("normaliser", [0]),
        ("normaliser", [0, 1, 2]),
        ("groups", [1]),
        ("groups", {"eyes": 3}),
        ("edges", [[0, 1, 2]]),
        ("point_names", 3),
    ],
)
def test_value_of_the_wrong_kind_is_refused(key, value):
    """Nothing is rounded, cut or guessed."""
    with pytest.raises(SchemaError, match=r"schema JSON: .*; needs name, mirror|normaliser needs two different points"):
        schema_from_dict(schema_to_dict(small_schema()) | {key: value})


def test_contradiction_in_a_file_names_the_file(tmp_path):
    """A schema that contradicts itself is refused with its file's name."""
    (tmp_path / "five.json").write_text(json.dumps(schema_to_dict(small_schema()) | {"mirror": [1, 2, 0, 3, 4]}))
    with pytest.raises(SchemaError, match=r"five\.json: schema 'five': mirror is no involution"):
        read_schema(tmp_path / "five.json")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00"])
def test_unreadable_file_is_named(tmp_path, content):
    """Cut, empty and binary files are no schema."""
    (tmp_path / "five.json").write_bytes(content)
    with pytest.raises(SchemaError, match=r"five\.json: cannot be read as schema JSON"):
        read_schema(tmp_path / "five.json")


def test_missing_file_is_named(tmp_path):
    """A file that is not there is named."""
    with pytest.raises(SchemaError, match=r"five\.json: cannot be read as schema JSON: .*No such file"):
        read_schema(tmp_path / "five.json")


def test_file_that_holds_no_object_is_named(tmp_path):
    """A schema is a JSON object, not a list."""
    (tmp_path / "five.json").write_text("[1, 0]")
    with pytest.raises(SchemaError, match=r"five\.json: a schema is a JSON object, got list"):
        read_schema(tmp_path / "five.json")


def test_points_that_fit_pass():
    """Any number of leading axes is fine."""
    require_points(np.zeros((3, 4, 68, 2)), IBUG68, "here")


@pytest.mark.parametrize("shape", [(67, 2), (68, 3), (136,), (2,)])
def test_points_that_do_not_fit_are_named(shape):
    """The message has the place, the actual and the expected value."""
    with pytest.raises(SchemaError, match=r"here: points of shape .*, ibug68 needs \(\.\.\., 68, 2\)"):
        require_points(np.zeros(shape), IBUG68, "here")
