"""Tests of converting data sets."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark.data.convert import convert, write_coco, write_pts
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, load_image
from lightmark.errors import ConfigError, DataError, ImageError
from lightmark.geometry import tight_box
from lightmark.image import Picture
from lightmark.schema import Schema

SCHEMA = Schema("mine", (1, 0, 2), (0, 1), edges=((0, 2),), point_names=("left", "right", "chin"))


@pytest.fixture
def faces(tmp_path: Path, tiny_picture: Picture) -> list[Sample]:
    """Two faces of one picture and one of another, in two folders."""
    samples = []
    for place, index in [("ibug/image_003_1", None), ("afw/1_1", 0), ("afw/1_1", 1)]:
        path = tmp_path / "source" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tiny_picture).save(path)
        points = np.array([[1.25, 2.5], [30.125, 3.0], [17.0, 40.0]]) + len(samples)
        attributes = {"yaw": 3.5} | ({} if index is None else {"index": index})
        photo = f"photo/{place}"
        samples.append(Sample(path, points, tight_box(points), SCHEMA, photo, frozenset({"train", place}), attributes))
    return samples


def test_coco_file_is_standard(tmp_path, faces):
    """Fields are COCO's own: ids from 1, x y v, bbox as x y width height, skeleton from 1, size of the picture."""
    write_coco(faces, tmp_path / "faces.json")
    content = json.loads((tmp_path / "faces.json").read_text())
    assert content["images"] == [
        {"id": 1, "file_name": "source/ibug/image_003_1.png", "height": 48, "width": 64},
        {"id": 2, "file_name": "source/afw/1_1.png", "height": 48, "width": 64},
    ]
    first = content["annotations"][0]
    assert first["keypoints"] == [1.25, 2.5, 2, 30.125, 3.0, 2, 17.0, 40.0, 2]
    assert first["bbox"] == [1.25, 2.5, 28.875, 37.5]
    assert first["num_keypoints"] == 3
    assert [entry["image_id"] for entry in content["annotations"]] == [1, 2, 2]
    assert content["categories"][0]["keypoints"] == ["left", "right", "chin"]
    assert content["categories"][0]["skeleton"] == [[1, 3]]


def test_coco_gives_everything_back(tmp_path, faces):
    """Points, schema, photograph, subsets, attributes and flags survive the way out and in."""
    faces[0] = replace(faces[0], occluded=np.array([True, False, True]))
    write_coco(faces, tmp_path / "faces.json")
    for face, back in zip(faces, read_samples(tmp_path / "faces.json"), strict=True):
        np.testing.assert_array_equal(back.points, face.points)
        np.testing.assert_array_equal(back.occluded, [False] * 3 if face.occluded is None else face.occluded)
        assert (back.schema, back.photo, back.subsets) == (face.schema, face.photo, face.subsets)
        assert back.attributes["yaw"] == 3.5
        assert back.attributes.get("index") == face.attributes.get("index")
        np.testing.assert_array_equal(load_image(back), load_image(face))


def test_pts_gives_points_and_pictures_back(tmp_path, faces):
    """Points are exact to a millionth of a pixel, pictures and folders unchanged, and faces of a picture separate."""
    write_pts(faces, tmp_path / "out")
    back = {face.path.relative_to(tmp_path / "out").as_posix(): face for face in read_samples(tmp_path / "out")}
    assert sorted(back) == ["afw/1_1_00000.png", "afw/1_1_00001.png", "ibug/image_003_1.png"]
    face = back["ibug/image_003_1.png"]
    np.testing.assert_allclose(face.points, faces[0].points, atol=1e-6)
    np.testing.assert_array_equal(load_image(face), load_image(faces[0]))
    assert "challenging" in face.subsets


@pytest.mark.parametrize("write", [write_coco, write_pts])
def test_pictures_in_memory_are_written(tmp_path, faces, write):
    """A picture that its set keeps inside one file becomes a file of its own."""
    inside = [replace(face, path=tmp_path / "COFW.mat", image=load_image(face), attributes={"index": i})
              for i, face in enumerate(faces)]
    write(inside, tmp_path / "out.json")
    for face, back in zip(inside, read_samples(tmp_path / "out.json"), strict=True):
        np.testing.assert_array_equal(load_image(back), face.image)


@pytest.mark.parametrize("write", [write_coco, write_pts])
def test_nothing_is_overwritten_unasked(tmp_path, faces, write):
    """A second writing is refused and leaves the first as it was; with force it goes through."""
    write(faces, tmp_path / "out.json")
    before = {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()}
    moved = [replace(face, points=face.points + 1) for face in faces]
    with pytest.raises(ConfigError, match="is there already; give another name, or --force"):
        write(moved, tmp_path / "out.json")
    assert {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()} == before
    write(moved, tmp_path / "out.json", force=True)
    first = min(read_samples(tmp_path / "out.json"), key=lambda face: face.points[0, 0])
    np.testing.assert_allclose(first.points, moved[0].points, atol=1e-6)


@pytest.mark.parametrize("write", [write_coco, write_pts])
def test_points_that_are_not_finite_are_named(tmp_path, faces, write):
    """Neither format is written with infinite numbers in it, and nothing is left behind."""
    faces[1] = replace(faces[1], points=np.full((3, 2), np.inf))
    with pytest.raises(DataError, match=r"afw/1_1\.png#0: points are not all finite"):
        write(faces, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("write", [write_coco, write_pts])
def test_a_face_without_points_is_named(tmp_path, faces, write):
    """A face of which nothing is labelled is not written as if it were one."""
    faces[1] = replace(faces[1], points=np.full((3, 2), np.nan))
    with pytest.raises(DataError, match=r"afw/1_1\.png#0: no point is labelled"):
        write(faces, tmp_path / "out")


@pytest.mark.parametrize("form", ["coco", "pts"])
def test_missing_points_stay_missing(tmp_path, faces, form):
    """Missing points survive a round trip, and a labelled point at the missing value's place stays labelled."""
    face = faces[0]
    points = face.points.copy()
    points[1] = np.nan
    points[2] = 0 if form == "coco" else -1  # flagged 2 there; 0 0 in a .pts file
    written = replace(face, points=points, box=tight_box(points))
    if form == "coco":
        write_coco([written], tmp_path / "out.json")
        (entry,) = json.loads((tmp_path / "out.json").read_text())["annotations"]
        assert (entry["keypoints"][3:6], entry["num_keypoints"]) == ([0.0, 0.0, 0], 2)
        (back,) = read_samples(tmp_path / "out.json")
    else:
        write_pts([written], tmp_path / "out")
        (back,) = read_samples(tmp_path / "out", schema=SCHEMA)
    np.testing.assert_allclose(back.points, points, atol=2e-6)


@pytest.mark.parametrize(("write", "error"), [(write_coco, ImageError), (write_pts, DataError)])
def test_missing_picture_is_named(tmp_path, faces, write, error):
    """A picture that is not there is named."""
    faces[0].path.unlink()
    with pytest.raises(error, match=r"image_003_1\.png"):
        write(faces, tmp_path / "out")


def test_faces_of_one_name_are_refused(tmp_path, faces):
    """Two faces of a picture without an index would overwrite each other."""
    doubled = [replace(face, attributes={}) for face in faces]
    with pytest.raises(DataError, match="1 names stand for several faces, afw/1_1 first"):
        write_pts(doubled, tmp_path / "out")


def test_convert_reads_and_writes(tmp_path, faces):
    """One call takes a folder to a COCO file and keeps a subset."""
    write_pts(faces, tmp_path / "out")
    assert convert(tmp_path / "out", tmp_path / "test.json", "coco", subset="test") == 1
    assert len(read_samples(tmp_path / "test.json")) == 1


def test_unknown_format_is_named(tmp_path, faces):
    """A format that is not written is refused with those that are."""
    write_pts(faces, tmp_path / "out")
    with pytest.raises(DataError, match=r"no format 'voc' to convert to; known: coco, cvat, pts, yolo"):
        convert(tmp_path / "out", tmp_path / "x", "voc")  # type: ignore[arg-type]  # the error is the point
