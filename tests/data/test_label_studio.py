"""Tests of the Label Studio reader, on tasks written field by field as its JSON exports have them."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightmark.data.read import read_samples
from lightmark.errors import DataError


def key_point(name: str, x: float, y: float, **changes: Any) -> dict[str, Any]:
    """One entry of a result, in a picture of 200 × 100 pixels."""
    return {
        "original_width": 200, "original_height": 100, "image_rotation": 0,
        "value": {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]},
        "id": f"{name}{x}", "from_name": "kp", "to_name": "img", "type": "keypointlabels", "origin": "manual",
    } | changes  # fmt: skip


def task(*result: dict[str, Any], image: str = "/data/upload/3/1a2b3c4d-a.jpg", **annotation: Any) -> dict[str, Any]:
    """One task with one annotation."""
    given = {"id": 5, "was_cancelled": False, "ground_truth": False, "result": list(result)} | annotation
    return {
        "id": 12, "annotations": [given],
        "file_upload": "1a2b3c4d-a.jpg", "data": {"image": image}, "meta": {}, "project": 3,
    }  # fmt: skip


def write(folder: Path, *tasks: Any) -> Path:
    """The tasks as a JSON file."""
    path = folder / "project-3.json"
    path.write_text(json.dumps(list(tasks)))
    return path


def test_key_points_are_read_field_by_field(tmp_path):
    """Per cent of width and height from the corner of the first pixel become pixels from its centre."""
    (face,) = read_samples(write(tmp_path, task(key_point("nose", 50, 10), key_point("chin", 0.25, 0.5))))
    assert face.schema.point_names == ("chin", "nose")
    assert face.points.tolist() == [[0, 0], [99.5, 9.5]]
    assert face.attributes["labelled_size"] == (200, 100)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("/data/upload/3/1a2b3c4d-a.jpg", "a.jpg"),
        ("/data/upload/3/1a2b3c4d-a.jpg", "images/1a2b3c4d-a.jpg"),
        ("/data/local-files/?d=faces%2Fa%20b.jpg", "faces/a b.jpg"),
        ("s3://bucket/faces/a.jpg", "a.jpg"),
        ("..\\media\\upload\\3\\a.jpg", "images/a.jpg"),
    ],
)
def test_picture_is_found_by_its_url(tmp_path, url, file):
    """Uploaded under a new name or not, from local files or a bucket."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert read_samples(write(tmp_path, task(key_point("nose", 50, 10), image=url)))[0].path == tmp_path / file


def test_json_min_is_read(tmp_path):
    """JSON-MIN has the key points beside the URL."""
    point = {"x": 50, "y": 10, "width": 0.5, "keypointlabels": ["nose"], "original_width": 200, "original_height": 100}
    path = write(tmp_path, {"image": "/data/upload/1/a.jpg", "id": 1, "kp": [point], "annotator": 1, "lead_time": 3.5})
    assert read_samples(path)[0].points.tolist() == [[99.5, 9.5]]


def relation(first: str, second: str) -> dict[str, Any]:
    """An arrow from one region to another."""
    return {"type": "relation", "from_id": first, "to_id": second, "direction": "right"}


def test_parents_separate_faces(tmp_path):
    """Points are children of a box, or related to one, from either end."""
    box = {"id": "b1", "type": "rectanglelabels", "value": {"x": 1, "y": 1, "width": 9, "height": 9}}
    noses = [key_point("nose", 50, 10, parentID="b1"), key_point("nose", 80, 10), key_point("nose", 90, 10)]
    path = write(tmp_path, task(box, *noses, relation("nose80", "b2"), relation("b3", "nose90")))
    assert [face.points.tolist() for face in read_samples(path)] == [[[99.5, 9.5]], [[159.5, 9.5]], [[179.5, 9.5]]]


def test_related_points_are_no_parents(tmp_path):
    """Arrows between the points of a face draw its contours."""
    nose, chin = key_point("nose", 50, 10), key_point("chin", 50, 20)
    assert len(read_samples(write(tmp_path, task(nose, chin, relation("nose50", "chin50"))))) == 1


def test_cancelled_and_empty_tasks_are_passed_over(tmp_path):
    """A skipped task and one without points are no faces."""
    path = write(
        tmp_path, task(key_point("nose", 1, 1), was_cancelled=True), task(), task(key_point("nose", 50, 10)),
        {"id": 13, "annotations": [], "data": {"image": "/b.jpg"}},
    )  # fmt: skip
    assert len(read_samples(path)) == 1


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ([key_point("nose", 1, 1, image_rotation=90)], "task 12: its picture was turned by 90.0° there"),
        ([key_point("nose", 1, 1), key_point("nose", 9, 9)], "task 12: point 'nose' is there twice"),
        ([key_point("nose", 1, 1, original_width=None)], "task 12: TypeError: .*; expected results with original_"),
    ],
)
def test_broken_task_is_named_or_left_out(tmp_path, result, text):
    """The number of the task is in the sentence."""
    path = write(tmp_path, task(*result), task(key_point("nose", 50, 10)))
    with pytest.raises(DataError, match=text):
        read_samples(path)
    assert len(read_samples(path, left_out=[])) == 1
