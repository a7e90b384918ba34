"""Tests of the VIA reader, on projects and annotations written field by field as VIA 2 exports them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from lightmark.data.formats.via import read_via
from lightmark.data.read import read_samples
from lightmark.errors import DataError, NoLabelsError


def region(x: int, y: int, **attributes: str) -> dict[str, Any]:
    """One point."""
    return {"shape_attributes": {"name": "point", "cx": x, "cy": y}, "region_attributes": attributes}


BOX = {"shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 30, "height": 40}, "region_attributes": {}}


def annotations(**pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """Annotations of pictures a.jpg …, with the size of the file behind the name in their keys."""
    return {
        f"{name}.jpg1234": {"filename": f"{name}.jpg", "size": 1234, "regions": regions, "file_attributes": {}}
        for name, regions in pictures.items()
    }


def write(folder: Path, content: Any) -> Path:
    """The content as a JSON file."""
    path = folder / "via.json"
    path.write_text(json.dumps(content))
    return path


def test_annotations_are_read_field_by_field(tmp_path):
    """Points are named by the attribute name, boxes are passed over, the corner of the first pixel is at -0.5."""
    regions = [region(10, 20, name="nose"), BOX, region(5, 6, name="chin")]
    (face,) = read_samples(write(tmp_path, annotations(a=regions)))
    assert face.schema.point_names == ("chin", "nose")
    assert face.points.tolist() == [[4.5, 5.5], [9.5, 19.5]]
    assert face.path == tmp_path / "a.jpg"


def test_project_is_read(tmp_path):
    """A saved project has the annotations below _via_img_metadata, beside its settings."""
    content = {"_via_settings": {"ui": {}}, "_via_img_metadata": annotations(a=[region(1, 2, name="nose")]),
               "_via_attributes": {"region": {}, "file": {}}, "_via_data_format_version": "2.0.10"}
    assert len(read_samples(write(tmp_path, content))) == 1


def test_regions_of_via_1_are_numbered(tmp_path):
    """VIA 1 has an object of regions."""
    content = annotations(a=[])
    content["a.jpg1234"]["regions"] = {"0": region(1, 2, name="nose"), "1": region(3, 4, name="chin")}
    assert read_samples(write(tmp_path, content))[0].points.tolist() == [[2.5, 3.5], [0.5, 1.5]]


@pytest.mark.parametrize("first", ["filename", "#filename"])
def test_csv_is_read(tmp_path, first):
    """The CSV has shape and attributes as JSON in two columns; VIA 1 marks its header as a comment."""
    path = tmp_path / "via_export_csv.csv"
    columns = [first, "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
               "region_attributes"]  # fmt: skip
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerow(["a.jpg", 1234, "{}", 1, 0, '{"name":"point","cx":10,"cy":20}', '{"landmark":"nose"}'])
        writer.writerow(["b.jpg", 1234, "{}", 0, 0, "{}", "{}"])
    (face,) = read_samples(path)
    assert (face.points.tolist(), face.schema.point_names, face.path.name) == ([[9.5, 19.5]], ("nose",), "a.jpg")


def test_attribute_face_separates_faces(tmp_path):
    """Two faces of a picture have the same names."""
    content = annotations(a=[region(1, 2, name="nose", face="1"), region(30, 40, name="nose", face="2")])
    assert [face.attributes["index"] for face in read_samples(write(tmp_path, content))] == [0, 1]


def test_points_without_names_are_in_order(tmp_path):
    """Their number must be the same in all faces, since missing ones cannot be identified."""
    content = annotations(a=[region(1, 2), region(3, 4)], b=[region(5, 6), region(7, 8)], c=[region(9, 9)])
    left_out: list[str] = []
    faces = read_samples(write(tmp_path, content), left_out=left_out)
    assert faces[1].points.tolist() == [[4.5, 5.5], [6.5, 7.5]]
    assert "c.jpg: 1 points, most have 2, and no region attribute says which these are" in left_out[0]


def test_a_point_that_is_there_twice_is_named(tmp_path):
    """Without an attribute for the face, the names of two faces collide: the picture is left out."""
    content = annotations(a=[region(1, 2, name="nose"), region(3, 4, name="nose")], b=[region(1, 2, name="nose")])
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=r"a\.jpg1234: region 1: point 'nose' is there twice"):
        read_samples(path)
    assert [face.path.name for face in read_samples(path, left_out=[])] == ["b.jpg"]


def test_broken_region_is_named(tmp_path):
    """A region without its position."""
    content = annotations(a=[region(1, 2, name="nose"), {"shape_attributes": {"name": "point", "cx": 1}}])
    with pytest.raises(DataError, match=r"a\.jpg1234: region 1: KeyError: 'cy'; expected shape_attributes"):
        read_samples(write(tmp_path, content))


def test_file_without_points_is_named(tmp_path):
    """Boxes alone are labels of another task."""
    with pytest.raises(NoLabelsError, match="no region of shape point"):
        read_via(write(tmp_path, annotations(a=[BOX])))
