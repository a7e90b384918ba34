"""Tests of the COCO keypoints reader, on JSON written field by field."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmark.data.convert import write_coco
from lightmark.data.formats.coco import read_coco
from lightmark.data.read import read_samples
from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import DataError, NoLabelsError
from lightmark.geometry import tight_box
from lightmark.schema import COFW29, IBUG68, Schema, schema_to_dict


def document(**changes: Any) -> dict[str, Any]:
    """Two pictures, three faces of three points, one point covered, as COCO lays them out."""
    return {
        "info": {"description": "three faces"},
        "images": [
            {"id": 7, "file_name": "a/one.jpg", "width": 100, "height": 80},
            {"id": 8, "file_name": "two.jpg", "width": 100, "height": 80},
        ],
        "annotations": [
            annotation(1, 7, [1, 2, 2, 3.5, 4, 1, 5, 6, 2]),
            annotation(2, 8, [10, 20, 2, 30, 40, 2, 50, 60, 2]),
            annotation(3, 7, [11, 12, 2, 13, 14, 2, 15, 16, 2]),
        ],
        "categories": [
            {"id": 4, "name": "face", "keypoints": ["left", "right", "chin"], "skeleton": [[1, 3], [2, 3]]}
        ],
    } | changes


def annotation(number: int, image: int, keypoints: list[float], **changes: Any) -> dict[str, Any]:
    """One annotation with all of COCO's fields."""
    return {
        "id": number,
        "image_id": image,
        "category_id": 4,
        "keypoints": keypoints,
        "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
        "bbox": [1, 2, 30, 40],
        "area": 1200,
        "iscrowd": 0,
    } | changes


def write(folder: Path, content: Any) -> Path:
    """The content as a JSON file."""
    path = folder / "faces.json"
    path.write_text(json.dumps(content))
    return path


def test_annotation_is_read_field_by_field(tmp_path):
    """Keypoints count from 0, flag 1 is covered, the box is the tight one and COCO's is kept."""
    face = read_coco(write(tmp_path, document()))[0]
    assert face.points.tolist() == [[1, 2], [3.5, 4], [5, 6]]
    assert face.occluded.tolist() == [False, True, False]
    assert face.box.tolist() == [1, 2, 5, 6]
    assert face.attributes["rect"] == (1, 2, 31, 42)
    assert face.path == tmp_path / "a" / "one.jpg"
    assert face.photo == "a/one"


@pytest.mark.parametrize(
    "info",
    [
        dict.fromkeys(("contributor", "date_created", "description", "url", "version", "year"), ""),
        {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
    ],
    ids=["CVAT", "Label Studio"],
)
def test_files_of_tools_with_a_canvas_count_from_the_corner(tmp_path, info):
    """CVAT's and Label Studio's coordinates are half a pixel more, points and boxes alike."""
    face = read_coco(write(tmp_path, document(info=info)))[0]
    assert face.points.tolist() == [[0.5, 1.5], [3, 3.5], [4.5, 5.5]]
    assert face.attributes["rect"] == (0.5, 1.5, 30.5, 41.5)
    assert face.occluded.tolist() == [False, True, False]
    own = document(info={"contributor": "", "version": "1.0"})
    assert read_coco(write(tmp_path, own))[0].points.tolist() == [[1, 2], [3.5, 4], [5, 6]]


def test_pictures_without_faces_need_no_category(tmp_path):
    """As our own labelling files of such pictures are."""
    assert read_coco(write(tmp_path, document(annotations=[], categories=[]))) == []


def test_faces_of_one_picture_are_numbered(tmp_path):
    """Faces of a picture with several have an index, a face alone has none."""
    assert [face.attributes.get("index") for face in read_coco(write(tmp_path, document()))] == [0, None, 1]


def test_schema_comes_from_the_category(tmp_path):
    """Names and skeleton, which counts from 1, make a plain schema."""
    schema = read_coco(write(tmp_path, document()))[0].schema
    assert schema.point_names == ("left", "right", "chin")
    assert schema.edges == ((0, 2), (1, 2))
    assert schema.mirror == (0, 1, 2)


def test_usual_count_means_the_usual_schema(tmp_path):
    """29 keypoints are COFW's."""
    content = document(
        annotations=[annotation(1, 7, [1.0, 2.0, 2] * 29)],
        categories=[{"id": 4, "name": "face", "keypoints": [str(i) for i in range(29)], "skeleton": []}],
    )
    assert read_coco(write(tmp_path, content))[0].schema is COFW29


def test_whole_schema_is_kept_beside_cocos_fields(tmp_path):
    """A category with a "lightmark" entry gives the schema with its mirror permutation."""
    schema = Schema("mine", (1, 0, 2), (0, 1))
    content = document()
    content["categories"][0]["lightmark"] = schema_to_dict(schema)
    assert read_coco(write(tmp_path, content))[0].schema == schema


def test_schema_must_fit(tmp_path):
    """A schema of another size is refused with the category's name."""
    with pytest.raises(DataError, match=r"faces\.json: category 'face': 3 points, ibug68 needs 68"):
        read_coco(write(tmp_path, document()), schema=IBUG68)


def test_pictures_may_lie_elsewhere(tmp_path):
    """COCO keeps annotations and pictures in folders of their own."""
    face = read_coco(write(tmp_path, document()), pictures=tmp_path / "train2017")[0]
    assert face.path == tmp_path / "train2017" / "a" / "one.jpg"


def test_annotation_without_labels_is_passed_over(tmp_path):
    """An annotation with flag 0 throughout is a crowd or an unlabelled person."""
    content = document()
    content["annotations"][0] = annotation(1, 7, [0, 0, 0] * 3, iscrowd=1)
    assert len(read_coco(write(tmp_path, content))) == 2


def test_the_images_size_is_kept(tmp_path):
    """Width and height of the file are there to be compared with the picture's, where the file has them."""
    content = document()
    del content["images"][1]["width"]
    faces = read_coco(write(tmp_path, content))
    assert [face.attributes.get("labelled_size") for face in faces] == [(100, 80), None, (100, 80)]


def test_a_face_with_missing_points_keeps_its_box(tmp_path):
    """Written and read again, though its labelled points span less; of another tool's file the points count."""
    face = synthetic_samples(1, seed=1, size=64)[0]
    points = face.points.copy()
    points[:17] = np.nan
    write_coco([replace(face, points=points)], tmp_path / "faces.json")
    (again,) = read_samples(tmp_path / "faces.json")
    np.testing.assert_allclose(again.box, face.box, atol=1e-6)
    document = json.loads((tmp_path / "faces.json").read_text())
    del document["annotations"][0]["lightmark"]
    (tmp_path / "faces.json").write_text(json.dumps(document))
    (other,) = read_samples(tmp_path / "faces.json")
    np.testing.assert_allclose(other.box, tight_box(points), atol=1e-6)


def test_flag_0_is_a_missing_point(tmp_path):
    """It is NaN whatever its coordinates, and the box is that of the others; (0, 0) with flag 2 is a point."""
    content = document()
    content["annotations"][1]["keypoints"] = [10, 20, 0, 0, 0, 2, 50, 60, 1]
    face = read_coco(write(tmp_path, content))[1]
    np.testing.assert_array_equal(face.points, [[np.nan, np.nan], [0, 0], [50, 60]])
    assert face.box.tolist() == [0, 0, 50, 60]
    assert face.occluded.tolist() == [False, False, True]


@pytest.mark.parametrize("category", [{"keypoints": [], "skeleton": []}, {}])
def test_keypoints_without_names_are_in_order(tmp_path, category):
    """MMPose's sets of faces name none of their points; their number is that of the annotations."""
    names = {"id": 4, "name": "face"} | category
    face = read_coco(write(tmp_path, document(categories=[names, {"id": 5, "name": "hand"}])))[0]
    assert (face.schema.name, face.schema.size, face.points.tolist()) == ("face", 3, [[1, 2], [3.5, 4], [5, 6]])
    many = document(annotations=[annotation(1, 7, [1.0, 2.0, 2] * 29)], categories=[names])
    assert read_coco(write(tmp_path, many))[0].schema is COFW29
    many["annotations"].append(annotation(2, 7, [1.0, 2.0, 2] * 3))
    with pytest.raises(DataError, match="annotation 2: 3 points, cofw29 needs 29"):
        read_coco(write(tmp_path, many))


def test_flags_of_0_and_1_do_not_tell_occlusion(tmp_path):
    """A file without a flag 2 only says which points are labelled, as MMPose's and SLEAP's."""
    content = document(annotations=[annotation(1, 7, [1, 2, 1, 3, 4, 0, 5, 6, 1])])
    (face,) = read_coco(write(tmp_path, content))
    assert face.occluded is None
    np.testing.assert_array_equal(face.points, [[1, 2], [np.nan, np.nan], [5, 6]])


def test_file_for_detection_is_named(tmp_path):
    """Annotations and categories without keypoints are those of another task, as CVAT writes of single points."""
    boxes = document()["annotations"][0] | {"keypoints": []}
    content = document(annotations=[boxes], categories=[{"id": 4, "name": "face", "keypoints": []}])
    with pytest.raises(NoLabelsError, match="no category and no annotation has keypoints; is this"):
        read_coco(write(tmp_path, content))


def test_annotation_without_keypoints_is_named(tmp_path):
    """Keypoints come in threes."""
    content = document()
    content["annotations"][2]["keypoints"] = [1, 2]
    with pytest.raises(DataError, match=r"annotation 3: got keypoints 2, expected a list of x, y, v for each point"):
        read_coco(write(tmp_path, content))


def test_unknown_image_is_named(tmp_path):
    """An annotation of an image that is not listed is named."""
    content = document()
    content["annotations"][2]["image_id"] = 99
    with pytest.raises(DataError, match=r"annotation 3: KeyError: '99'; expected image_id and category_id"):
        read_coco(write(tmp_path, content))


def test_skeleton_may_count_from_0(tmp_path):
    """Against COCO's rule, as in CarFusion; an index 0 shows it."""
    content = document()
    content["categories"][0]["skeleton"] = [[0, 2], [1, 2]]
    assert read_coco(write(tmp_path, content))[0].schema.edges == ((0, 2), (1, 2))


def test_skeleton_out_of_range_is_named(tmp_path):
    """A skeleton of other points is named with the rule."""
    content = document()
    content["categories"][0]["skeleton"] = [[1, 4]]
    with pytest.raises(DataError, match=r"category 'face': .*names point 3.*; skeleton counts keypoints from 1"):
        read_coco(write(tmp_path, content))


@pytest.mark.parametrize("content", [[1, 2], {"images": []}])
def test_other_json_is_named(tmp_path, content):
    """JSON of another kind is an error that names the expected kind."""
    with pytest.raises(DataError, match=r"faces\.json: no list .* expected COCO's images, annotations, categories"):
        read_coco(write(tmp_path, content))


def test_cut_json_is_named(tmp_path):
    """A cut file is named."""
    (tmp_path / "faces.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"faces\.json: cannot be read as JSON"):
        read_coco(tmp_path / "faces.json")


def test_files_of_labelling_tools_are_read(tmp_path):
    """Byte order mark, ids as texts, a category of boxes, an empty track, no bbox, backslashes: all as exported."""
    content = document()
    content["categories"].insert(0, {"id": 0, "name": "faces", "supercategory": "none"})  # Roboflow
    for image in content["images"]:
        image["id"] = str(image["id"])
    first, track, box = content["annotations"]
    del first["bbox"]
    track |= {"keypoints": [], "num_keypoints": 0, "bbox": [0, 0, 0, 0], "attributes": {"track_id": 0}}  # CVAT
    box |= {"category_id": 0}
    del box["keypoints"]
    content["images"][0]["file_name"] = "a\\one.jpg"
    path = tmp_path / "faces.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    (face,) = read_coco(path)
    assert face.points.tolist() == [[1, 2], [3.5, 4], [5, 6]]
    assert face.path == tmp_path / "a" / "one.jpg"
    assert dict(face.attributes) == {"labelled_size": (100, 80)}


@pytest.mark.parametrize(
    "place", ["images/a/one.jpg", "images/default/one.jpg", "images/one.jpg", "annotations/one.jpg"]
)
def test_pictures_are_found_where_tools_put_them(tmp_path, place):
    """CVAT's annotations/person_keypoints_default.json has its pictures in images/default/ beside annotations/."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    path = write(tmp_path / "annotations", document())
    path = path.rename(path.with_name("person_keypoints_default.json"))
    assert read_coco(path)[0].path == tmp_path / place


def test_keypoints_follow_the_names_of_a_schema(tmp_path):
    """A category with the names of the schema in another order is brought into its order."""
    schema = Schema("mine", (0, 1, 2), (0, 1), point_names=("chin", "left", "right"))
    face = read_coco(write(tmp_path, document()), schema=schema)[0]
    assert face.points.tolist() == [[5, 6], [1, 2], [3.5, 4]]
    assert face.occluded.tolist() == [False, False, True]
