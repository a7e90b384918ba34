"""Tests of the ModelSpec: what it promises a model, and that it survives JSON."""

import json

import numpy as np
import pytest

from lightmark.errors import GeometryError, SpecError
from lightmark.geometry import rotation_matrix, similarity_matrix, to_normalized, transform, wrap_degrees
from lightmark.mean_head import RIGID, head_points
from lightmark.schema import COFW29, IBUG68, WFLW98, plain_schema
from lightmark.schemes import ibug68_from_wflw98
from lightmark.spec import (
    ModelSpec,
    box_around,
    face_box,
    face_frame,
    face_roll,
    normalise_crops,
    require_face_box,
    spans_face,
    spec_crop_matrix,
    spec_from_json,
    spec_to_json,
)

FULL = ModelSpec(
    schema=WFLW98,
    size=112,
    crop_scale=1.3,
    template=tuple((index / 98, 0.5 - index / 98) for index in range(98)),
    box_map=tuple(tuple((index / 98, part) for index in range(98)) for part in (-0.5, 0.25, 2.0)),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    architecture={"backbone": "mobilenetv2", "width": 0.5, "head": "spatial"},
    confidence=True,
    provenance={"recipe": "größe", "seed": 3, "nested": {"best": 0.031}},
)


@pytest.mark.parametrize("spec", [FULL, ModelSpec(COFW29, 64)], ids=["full", "defaults"])
def test_json_gives_the_spec_back(spec):
    """Through JSON text and back, nothing is lost."""
    assert spec_from_json(spec_to_json(spec), "here") == spec


def test_json_is_the_same_text_every_time():
    """Keys are sorted, so equal specs are equal bytes."""
    turned = dict(reversed(FULL.architecture.items()))
    assert spec_to_json(ModelSpec(**{**vars(FULL), "architecture": turned})) == spec_to_json(FULL)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"size": 15}, "size 15; a crop needs at least 16 pixels a side"),
        ({"size": -64}, "size -64; a crop needs"),
        ({"crop_scale": 0.0}, r"crop_scale 0\.0; needs a positive factor, 1\.25 say"),
        ({"crop_scale": float("nan")}, "crop_scale nan; needs a positive factor"),
        ({"size": 4097}, "size 4097; a crop has at most 4096 pixels a side"),
        ({"schema": plain_schema(4097)}, "4097 points; a model has at most 4096"),
        ({"crop_scale": 1e3}, r"crop_scale 1000\.0; needs a positive factor, 1\.25 say, up to 100"),
        ({"template": ((0.0, float("nan")),) * 68}, "template has shares of the box's side beyond 100"),
        ({"template": ((-1e9, 0.0),) * 68}, "template has shares of the box's side beyond 100"),
        ({"template": ((0.0, 0.0),)}, "template of 1 points for 68"),
        ({"box_map": (((0.0, 0.0),) * 68,) * 3}, "box_map needs three numbers for each coordinate of 0 points"),
        ({"template": ((0.0, 0.0),) * 68, "box_map": (((0.0, 0.0),) * 67,) * 3}, "box_map needs .* of 68 points"),
        ({"template": ((0.0, 0.0),) * 68, "box_map": (((0.0, 0.0),) * 68,) * 2}, "box_map needs .* of 68 points"),
        ({"template": ((0.0, 0.0),) * 68, "box_map": (((0.0, 1e3),) * 68,) * 3}, "box_map has weights beyond 100"),
        ({"template": ((0.0, 0.0),) * 68, "box_map": (((0.0, float("nan")),) * 68,) * 3}, "box_map has weights beyond"),
        ({"mean": (0.0, float("inf"), 0.0)}, "mean .* each must be a finite number"),
        ({"std": (1.0, float("inf"), 1.0)}, "std .* each must be positive and finite"),
        ({"std": (1.0, 0.0, 1.0)}, r"std \(1\.0, 0\.0, 1\.0\); each must be positive"),
    ],
)
def test_impossible_spec_is_refused(changes, text):
    """The message has the field, its value and the valid range."""
    with pytest.raises(SpecError, match=f"ModelSpec: {text}"):
        ModelSpec(**{"schema": IBUG68, "size": 64, **changes})


@pytest.mark.parametrize("key", sorted(json.loads(spec_to_json(FULL)).keys() - {"confidence", "template", "box_map"}))
def test_missing_key_is_named(key):
    """A spec without one of its keys is refused, naming file and key."""
    data = json.loads(spec_to_json(FULL))
    del data[key]
    with pytest.raises(SpecError, match=rf"a\.onnx: holds no usable ModelSpec: KeyError: '{key}'"):
        spec_from_json(json.dumps(data), "a.onnx")


def test_files_older_than_confidence_have_none():
    """A spec without the field `confidence` has none."""
    data = json.loads(spec_to_json(FULL))
    del data["confidence"]
    assert not spec_from_json(json.dumps(data), "a.onnx").confidence


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("size", "large", "ValueError"),
        ("size", None, "TypeError"),
        ("size", 3, "size 3; a crop needs at least 16"),
        ("size", float("inf"), "OverflowError"),
        ("template", [0, 0, 0], "TypeError"),
        ("template", [[0, 0, 0]], "ValueError"),
        ("box_map", [[0, 0], [0, 0]], "ValueError|TypeError"),
        ("box_map", 5, "TypeError"),
        ("box_map", [[[0, 0]] * 98] * 4, "ValueError"),
        ("mean", [0.5], "ValueError"),
        ("mean", 0.5, "TypeError"),
        ("std", [1, 1, 0], "each must be positive"),
        ("crop_scale", -1, "needs a positive factor"),
        ("schema", [1], "SchemaError"),
        ("schema", {"name": "x", "mirror": [1, 2, 0], "normaliser": [0, 1]}, "mirror is no involution"),
        ("architecture", "mobilenet", "ValueError"),
        ("architecture", 5, "TypeError"),
        ("provenance", [1], "TypeError"),
    ],
)
def test_bad_value_is_refused(key, value, text):
    """Every unusable value names the file it was found in, once."""
    data = json.loads(spec_to_json(FULL)) | {key: value}
    with pytest.raises(SpecError, match=rf"^a\.onnx: holds no usable ModelSpec: .*{text}") as caught:
        spec_from_json(json.dumps(data), "a.onnx")
    assert str(caught.value).count("a.onnx") == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "5", '"spec"', "[" * 100_000, f'{{"lightmark": 1, "size": {"9" * 5000}}}']
)
def test_text_that_is_no_spec_is_refused(text):
    """Cut JSON and other JSON are refused."""
    with pytest.raises(SpecError, match=r"a\.onnx: holds no usable ModelSpec"):
        spec_from_json(text, "a.onnx")


@pytest.mark.parametrize("version", [2, "1", None])
def test_other_version_is_refused(version):
    """A spec of another version is an error that names the version."""
    data = json.loads(spec_to_json(FULL)) | {"lightmark": version}
    text = rf"a\.onnx: ModelSpec version {version!r}, this Lightmark reads 1; use a matching release"
    with pytest.raises(SpecError, match=text):
        spec_from_json(json.dumps(data), "a.onnx")


def test_normalise_divides_by_255():
    """Without mean and std, black is 0 and white is 1, in planes."""
    crops = np.zeros((1, 16, 16, 3), np.uint8)
    crops[0, 2, 5] = [0, 51, 255]
    planes = normalise_crops(crops, ModelSpec(IBUG68, 16))
    assert planes.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(planes[0, :, 2, 5], [0, 0.2, 1], atol=1e-7)
    assert planes.sum() == pytest.approx(1.2, abs=1e-6)


def test_normalise_subtracts_mean_and_divides_by_std():
    """The values are (pixel / 255 − mean) / std of each channel."""
    spec = ModelSpec(IBUG68, 16, mean=(0.5, 0.2, 0.0), std=(0.5, 0.1, 2.0))
    crops = np.full((2, 16, 16, 3), [255, 51, 0], np.uint8)
    crops[1] = [0, 102, 255]
    planes = normalise_crops(crops, spec)
    np.testing.assert_allclose(planes[0, :, 3, 3], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(planes[1, :, 3, 3], [-1, 2, 0.5], atol=1e-6)


def test_normalised_planes_are_float32_in_order():
    """Runtimes take float32 planes that lie one after the other in memory."""
    planes = normalise_crops(np.zeros((2, 16, 16, 3), np.uint8), ModelSpec(IBUG68, 16))
    assert planes.dtype == np.float32
    assert planes.flags.c_contiguous


def test_no_crops_are_no_planes():
    """A picture without faces gives an empty batch."""
    assert normalise_crops(np.zeros((0, 16, 16, 3), np.uint8), ModelSpec(IBUG68, 16)).shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 17, 17, 3), np.uint8),
        ((1, 3, 16, 16), np.uint8),
        ((16, 16, 3), np.uint8),
        ((1, 16, 16, 3), np.float32),
    ],
)
def test_other_crops_are_refused(shape, dtype):
    """The message shows type and shape beside those needed."""
    with pytest.raises(SpecError, match=r"crops: got .*, needs uint8 \(B, 16, 16, 3\)"):
        normalise_crops(np.zeros(shape, dtype), ModelSpec(IBUG68, 16))


@pytest.fixture
def face98():
    """98 image points of one face."""
    return np.random.default_rng(5).uniform([30, 50], [190, 240], (98, 2))


def test_crop_is_the_square_around_the_box(face98):
    """The face's box, enlarged by the crop's scale, fills the crop."""
    unit = to_normalized(transform(spec_crop_matrix(FULL, face_box(FULL, face98)), face98), FULL.size)
    extent = unit.max(axis=0) - unit.min(axis=0)
    assert extent.max() == pytest.approx(1 / 1.3, rel=1e-9)
    np.testing.assert_allclose((unit.max(axis=0) + unit.min(axis=0)) / 2, [0.5, 0.5], atol=1e-9)


FIVE = ModelSpec(plain_schema(5), 64, template=((-0.2, -0.1), (0.2, -0.1), (0.0, 0.1), (-0.15, 0.3), (0.15, 0.3)))


@pytest.mark.parametrize("angle", [0.0, 40.0, 170.0])
def test_box_follows_from_points_however_they_are_turned(angle):
    """A face of 80 px about (100, 120) is found again from its five points, and from three of them."""
    matrix = similarity_matrix(np.zeros(2), np.array([100.0, 120.0]), 80.0, angle)
    points = transform(matrix, np.array(FIVE.template))
    np.testing.assert_allclose(face_box(FIVE, points), [60, 80, 140, 160], atol=1e-9)
    points[[1, 4]] = np.nan
    np.testing.assert_allclose(face_box(FIVE, points), [60, 80, 140, 160], atol=1e-9)


def test_box_moves_with_the_shape():
    """A nose beside its place moves the box, however the face is turned; a face of the template's shape does not."""
    nose = np.zeros((3, 5, 2))
    nose[0, 2, 0], nose[1, 2, 0], nose[2, 2, 1] = 1.0, 0.5, 2.0
    template = np.array(FIVE.template)
    spec = ModelSpec(plain_schema(5), 64, template=FIVE.template, box_map=tuple(map(tuple, nose.tolist())))
    beside, moves = face_frame(template, template + np.outer(np.arange(5) == 2, [0.1, 0.05]))
    x, y, growth = moves[2, 0], 0.5 * moves[2, 0], 2 * moves[2, 1]
    assert min(abs(x), abs(growth)) > 0.03
    for angle in (0.0, 110.0):
        matrix = similarity_matrix(np.zeros(2), np.array([100.0, 120.0]), 80.0, angle)
        np.testing.assert_allclose(face_box(spec, transform(matrix, template)), [60, 80, 140, 160], atol=1e-9)
        points = transform(matrix, transform(beside, template + moves))
        box = face_box(spec, points)
        centre = transform(matrix, transform(beside, np.array([x, y])))
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, centre, atol=1e-9)
        assert box[2] - box[0] == pytest.approx(80 * np.hypot(*beside[0, :2]) * np.exp(growth))


def test_box_moves_by_half_a_side_at_most():
    """Points that are no face's move their box no further than where the map was learnt."""
    template, strong = np.array(FIVE.template), np.zeros((3, 5, 2))
    strong[:, 0] = 100.0
    points = np.array([[0.0, 0.0], [90.0, 5.0], [10.0, 80.0], [33.0, 4.0], [70.0, 99.0]])
    plain, moved = box_around(template, points), box_around(template, points, box_map=strong)
    assert abs(np.log((moved[2] - moved[0]) / (plain[2] - plain[0]))) == pytest.approx(0.5)
    assert np.linalg.norm((moved[:2] + moved[2:] - plain[:2] - plain[2:]) / 2) == pytest.approx(
        (plain[2] - plain[0]) * np.sqrt(0.5)
    )


def test_files_older_than_box_maps_have_none():
    """A spec without the field `box_map` has none."""
    data = json.loads(spec_to_json(FULL))
    del data["box_map"]
    assert spec_from_json(json.dumps(data), "a.onnx").box_map is None


def test_one_point_has_the_size_of_the_box_before():
    """A single labelled point moves the box that was there; without one it does not say how large the face is."""
    points = np.full((5, 2), np.nan)
    points[3] = [58.0, 84.0]
    np.testing.assert_allclose(face_box(FIVE, points, np.array([0.0, 0.0, 80.0, 60.0])), [30, 20, 110, 100])
    with pytest.raises(GeometryError, match="1 labelled points in one place: they do not determine the face's size"):
        face_box(FIVE, points)


def test_full_schemas_keep_their_tight_box(face98):
    """The 68 and the 98 points span the face, with names or without; others do not."""
    assert face_box(FULL, face98).tolist() == [*face98.min(axis=0), *face98.max(axis=0)]
    assert [spans_face(s) for s in (IBUG68, WFLW98, plain_schema(68), COFW29)] == [True, True, True, False]


def test_empty_box_has_no_crop():
    """A detector's empty box is refused before it is moved."""
    with pytest.raises(GeometryError, match="got width 0 and height 5"):
        spec_crop_matrix(FULL, [3, 3, 3, 8])


def test_models_without_a_detectors_box_are_named():
    """Only a model of other points without a template is refused."""
    for spec in (FIVE, FULL, ModelSpec(IBUG68, 64)):
        require_face_box(spec, "a.onnx")
    with pytest.raises(SpecError, match=r"a\.onnx: its crops are cut around its own points \(cofw29\)"):
        require_face_box(ModelSpec(COFW29, 64), "a.onnx")


@pytest.mark.parametrize("angle", [0.0, 40.0, -90.0, 170.0, 180.0])
def test_roll_follows_the_points(face98, angle):
    """Of 98 points, of 68 and of a template, as far as the face is turned, counter-clockwise; 0 without a template."""
    few = ModelSpec(COFW29, 64, template=tuple(map(tuple, np.random.default_rng(0).uniform(-0.5, 0.5, (29, 2)))))
    matrix = similarity_matrix(np.array([40.0, 50.0]), np.array([80.0, 20.0]), 1.5, angle)
    shapes = [
        (ModelSpec(WFLW98, 64), face98),
        (ModelSpec(IBUG68, 64), ibug68_from_wflw98(face98)),
        (few, np.asarray(few.template)),
    ]
    for spec, points in shapes:
        turned = face_roll(spec, transform(matrix, points)) - face_roll(spec, points)
        assert wrap_degrees(turned - angle) == pytest.approx(0, abs=1e-9)
    assert face_roll(ModelSpec(COFW29, 64), transform(matrix, np.asarray(few.template))) == 0
    assert face_roll(few, np.asarray(few.template)) == pytest.approx(0, abs=1e-9)
    assert face_roll(few, np.ones((29, 2))) == 0


def test_roll_is_that_of_the_pose():
    """The mean head tilted, yawed and nodded has the roll of its pose within some degrees."""
    spec, head = ModelSpec(IBUG68, 64), head_points()
    for yaw, roll in ((0, 30), (40, -60), (-40, 150)):
        points = np.zeros((68, 2))
        points[list(RIGID)] = (head @ rotation_matrix(yaw, 0, roll).T)[:, :2]
        # A mouth below the nose: the head has none.
        points[48:60] = (np.array([0.0, 0.75, 0.25]) @ rotation_matrix(yaw, 0, roll).T)[:2]
        assert face_roll(spec, points) == pytest.approx(roll, abs=8)


def test_the_crop_of_a_rolled_face_shows_it_upright(face98):
    """Points of a turned face, cut by its box and roll, are where those of the upright face are."""
    spec = ModelSpec(WFLW98, 64)
    turned = transform(similarity_matrix(np.zeros(2), np.array([300.0, 200.0]), 1.0, 110.0), face98)
    upright = transform(spec_crop_matrix(spec, face_box(spec, face98)), face98)
    crop_points = transform(spec_crop_matrix(spec, face_box(spec, turned, roll=110.0), 110.0), turned)
    np.testing.assert_allclose(crop_points, upright, atol=1e-9)
